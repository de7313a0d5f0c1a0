"""Training of latent-variable models: a bound of the evidence is climbed, by an estimator of its gradient, under
control of the rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from seqgen import config as configs
from seqgen import registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.latents.contract import Posterior, Setting
from seqgen.latents.examples import ELEMENTS, EXAMPLES, SYMBOLS, fitting, small
from seqgen.latents.variable import LatentVariable, numbers
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, ObjectiveExample, Rows
from seqgen.objectives.latent_objective import LatentObjective
from seqgen.spec import Facts
from seqgen.variational.contract import Bound, Evidence, GradientEstimator, RateControl

_COLLAPSED = 0.01  # nats a row
_SAME = 1.1  # perplexity of symbols
_PARTS = ("posterior", "prior", "control", "estimator")


class MaximumEvidence(LatentObjective):
    """``L = -bound(x; S samples of q(z | x))`` in nats of a row, its elements and its code's positions added up.

        bound:    'elbo'  E_q ln p(x | z) - β KL(q ‖ p),  or 'importance-weighted'  ln mean_s w_s
        gradient: how it is estimated by the parameters of q
        rate:     how the rate ``KL(q ‖ p)`` counts

    The rate is taken in closed form where there is one, unless the bound, the gradient or ``closed: false`` ask for
    that of the samples. Terms: ``distortion``, ``rate``, both nats a row, ``nats_per_sample`` of the bound (by what the
    task calls a sample; the mean of the rows'), and ``committed_rate``, which the family of posteriors cannot get
    below, where it has one.

    A conjugate prior is a player of its own, ``prior``, beside ``model``, the networks.

    An evaluation tells what that of every :class:`LatentObjective` does.

    Raises:
        SeqgenError: for parts that do not fit each other.
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            bound: registered bound. gradient: registered estimator. rate: registered control. samples: S.
            closed: whether the rate's closed form is taken where there is one.
            evaluation_samples: of the importance-weighted bound in an evaluation; 0 for none.
        """

        bound: Component = field(default_factory=lambda: Component("elbo"))
        gradient: Component = field(default_factory=lambda: Component("pathwise"))
        rate: Component = field(default_factory=lambda: Component("weighted"))
        samples: int = 1
        closed: bool = True
        evaluation_samples: int = 50

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"model": ("model",)})
    config: Config

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        generator, facts = torch.Generator().manual_seed(0), Facts(examples=EXAMPLES, vocab_size=SYMBOLS)
        x = torch.randint(SYMBOLS, (3, ELEMENTS), generator=generator)
        batch = Rows(x, torch.tensor([ELEMENTS, 4, 1]), index=torch.arange(3))
        for model, config in _examples(cls.Config):
            yield ObjectiveExample(cls(config, {"model": model}, facts), batch)

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts, config.samples, config.evaluation_samples)
        self.bound: Bound = configs.construct(config.bound, registry.BOUNDS, source="objective.bound")
        self.estimator: GradientEstimator = configs.construct(
            config.gradient, registry.GRADIENTS, source="objective.gradient"
        )
        self.control: RateControl = configs.construct(config.rate, registry.RATES, source="objective.rate")
        self.estimator.require_fit(self.model.posterior, self.bound)
        if self.bound.sampled:
            self.control.weight()  # refuses what is none
        self.couples_rows = self.control.couples_rows or self.model.prior.couples_rows
        if self.model.prior.conjugate:
            networks = (name for name, part in self.model.named_children() if any(True for _ in part.parameters()))
            others = tuple(f"model.{name}" for name in networks if name != "prior")
            self.players = {"model": others, "prior": ("model.prior",)}

    @property
    def settled(self) -> bool:
        return self.control.settled

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        params, setting = self.model.encoded(batch, rng)
        sampled = self.bound.sampled or self.estimator.sampled or self.control.sampled or not self.config.closed
        held: list[Tensor] = []
        evidence = self.evidence(batch, params, setting, rng, self.config.samples, closed=not sampled,
                                  estimator=self.estimator, held=held)  # fmt: skip
        if self.estimator.reweights:
            held.append(self.estimator.factors(self.bound, evidence, self.control))
        total = self.estimator.surrogate(self.bound, evidence, self.control).mean()
        penalty = self.model.posterior.penalty(params, setting)
        regulariser = self.model.prior.regulariser()
        value = total
        if penalty is not None:
            value = value + penalty.mean()
        if regulariser is not None:
            value = value + regulariser / max(self.facts.examples, 1)
        directions = self.model.prior.directions(self.model.posterior, params, setting) if self._moves(player) else {}
        return Loss(
            value,
            self._terms(batch, evidence) | self.model.posterior.terms(params.detach(), setting),
            total.new_tensor(len(batch.x)),
            aux=self._aux(batch, params, setting, evidence),
            directions={f"model.prior.{name}": one for name, one in directions.items()} or None,
        )

    def _moves(self, player: str) -> bool:
        """Whether the prior's parameters are among those of a player."""
        return player == "prior" or "prior" not in self.players

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        if player == "prior":  # its buffers changed when the networks were updated
            return
        parts = (self.model.posterior, self.model.prior, self.control, self.estimator)
        for name, part in zip(_PARTS, parts, strict=True):
            own = {key.partition("/")[2]: value for key, value in aux.items() if key.startswith(f"{name}/")}
            part.after_update({**own, "rows": aux["rows"]})

    def remarks(self, means: Mapping[str, float]) -> list[str]:
        """A line where the decoder ignores its code, or where all codes are the same."""
        rate, committed = means.get("rate", math.inf), means.get("committed_rate", 0.0)
        if rate < committed + _COLLAPSED:
            told = f"posterior collapse: the rate is {rate:.2g} nats a row, the decoder ignores its code"
            return [f"{told}; lower the rate's weight, set a target or free bits, or take a weaker decoder"]
        used = means.get("perplexity", math.inf)
        if used < _SAME:
            told = f"posterior collapse: nearly all symbols are the same (perplexity {used:.3f})"
            return [f"{told}; train longer, or lower the posterior's commitment where it has one"]
        return []

    def _terms(self, batch: Any, evidence: Evidence) -> dict[str, Tensor]:
        rate, distortion = evidence.rate.detach(), evidence.distortion.detach()
        each = ((rate + distortion) / self.elements(batch).clamp_min(1 / self.facts.symbols_per_sample)).mean()
        terms = {"distortion": distortion.mean(), "rate": rate.mean(), f"nats_per_{self.facts.unit}": each}
        committed = evidence.posterior.committed_rate(evidence.setting)
        if committed is not None:
            terms["committed_rate"] = committed.to(rate.dtype).mean()
        return terms | self.control.terms(evidence)

    @torch.no_grad()
    def _aux(self, batch: Any, params: Tensor, setting: Setting, evidence: Evidence) -> dict[str, Tensor]:
        model = self.model
        noted = (
            model.posterior.noted(params.detach(), setting),
            model.prior.noted(model.posterior.code(params.detach(), setting), numbers(batch), setting.given),
            self.control.noted(evidence),
            self.estimator.noted(self.bound, evidence, self.control),
        )
        rows = {"rows": params.new_tensor(float(len(batch.x)))}
        return rows | {f"{part}/{name}": v for part, one in zip(_PARTS, noted, strict=True) for name, v in one.items()}


def _examples(kind: type[MaximumEvidence.Config]) -> Iterator[tuple[LatentVariable, MaximumEvidence.Config]]:
    """Small models with options, so that every registered posterior, bound, estimator and control is there once."""
    for model in LatentVariable.examples():
        yield model, _fitting(kind, model)
    gaussian, categorical = (registry.POSTERIORS.load(name).examples() for name in ("gaussian", "categorical"))
    continuous, discrete = (next(iter(one)) for one in (gaussian, categorical))
    for told in registry.POSTERIORS.load("potentials").examples():
        yield from ((small(LatentVariable, told, prior), kind(samples=2)) for prior in fitting(told))
    for prior in fitting(continuous):
        yield small(LatentVariable, continuous, prior), kind(samples=2)
    for name in registry.RATES:
        yield small(LatentVariable, continuous), kind(rate=Component(name), samples=2)
    for bound in registry.BOUNDS:
        for gradient in registry.GRADIENTS:
            posterior = discrete if registry.GRADIENTS.load(gradient).detaches else continuous
            if _fits(gradient, posterior, bound):
                yield small(LatentVariable, posterior), kind(Component(bound), Component(gradient), samples=2)


def _fitting(kind: type[MaximumEvidence.Config], model: LatentVariable) -> MaximumEvidence.Config:
    """Options that a model can be trained with."""
    name = next(name for name in registry.GRADIENTS if _fits(name, model.posterior, "elbo"))
    return kind(gradient=Component(name), samples=2)


def _fits(gradient: str, posterior: Posterior, bound: str) -> bool:
    estimator = configs.construct(Component(gradient), registry.GRADIENTS, source="example")
    try:
        estimator.require_fit(posterior, configs.construct(Component(bound), registry.BOUNDS, source="example"))
    except SeqgenError:
        return False
    return True
