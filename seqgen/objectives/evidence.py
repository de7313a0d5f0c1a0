"""Training of latent-variable models: a bound of the evidence is climbed, by an estimator of its gradient, under
control of the rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqgen import config as configs
from seqgen import noise, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.latents.contract import Draw, Setting
from seqgen.latents.examples import ELEMENTS, EXAMPLES, SYMBOLS, fitting, small
from seqgen.latents.variable import LatentVariable
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement, Rows, scored
from seqgen.spec import Facts
from seqgen.variational.contract import Bound, Evidence, GradientEstimator, RateControl
from seqgen.variational.weighted import Weighted

_CHUNK = 50  # samples of an evaluation that are looked at side by side
_COLLAPSED = 0.01  # nats a row
_PARTS = ("posterior", "prior", "control", "estimator")


class MaximumEvidence(Objective):
    """``L = -bound(x; S samples of q(z | x))`` in nats of a row, its elements and its code's positions added up.

        bound:    'elbo'  E_q ln p(x | z) - β KL(q ‖ p),  or 'importance-weighted'  ln mean_s w_s
        gradient: how it is estimated by the parameters of q
        rate:     how the rate ``KL(q ‖ p)`` counts

    The rate is taken in closed form where there is one, unless the bound, the gradient or ``closed: false`` ask for
    that of the samples. Terms: ``distortion``, ``rate``, both nats a row, ``nats_per_sample`` of the bound (by what the
    task calls a sample; the mean of the rows'), and ``committed_rate``, which the family of posteriors cannot get below,
    where it has one.

    A conjugate prior is a player of its own, ``prior``, beside ``model``, the networks.

    In evaluation codes are drawn from the family itself, never from a relaxation, and further samples, where there is
    anything to draw, give the importance-weighted bound, ``evidence``. Of codes of symbols the ``perplexity`` of their
    use over all that is evaluated says how many are in use. Rate and distortion are told a row, an element, a position
    of the code, and a second where data have a sample rate.

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
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"model": LatentVariable})
    evaluation_rows: ClassVar[int] = 50
    config: Config
    model: LatentVariable

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        generator, facts = torch.Generator().manual_seed(0), Facts(examples=EXAMPLES, vocab_size=SYMBOLS)
        x = torch.randint(SYMBOLS, (3, ELEMENTS), generator=generator)
        batch = Rows(x, torch.tensor([ELEMENTS, 4, 1]), index=torch.arange(3))
        for model, config in _examples(cls.Config):
            yield ObjectiveExample(cls(config, {"model": model}, facts), batch)

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts)
        if config.samples < 1 or config.evaluation_samples < 0:
            raise SeqgenError(
                f"evidence: {config.samples} samples, {config.evaluation_samples} in evaluation",
                remedy="give 1 or more, and 0 or more",
            )
        self.bound: Bound = configs.construct(config.bound, registry.BOUNDS, source="objective.bound")
        self.estimator: GradientEstimator = configs.construct(
            config.gradient, registry.GRADIENTS, source="objective.gradient"
        )
        self.control: RateControl = configs.construct(config.rate, registry.RATES, source="objective.rate")
        self.estimator.require_fit(self.model.posterior, self.bound)
        if self.bound.sampled:
            self.control.weight()  # refuses what is none
        self.couples_rows = self.control.couples_rows
        if self.model.prior.conjugate:
            networks = (name for name, part in self.model.named_children() if any(True for _ in part.parameters()))
            others = tuple(f"model.{name}" for name in networks if name != "prior")
            self.players = {"model": others, "prior": ("model.prior",)}
        self._plain = Weighted(Weighted.Config())

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        params, setting = self.model.encoded(batch)
        sampled = self.bound.sampled or self.estimator.sampled or self.control.sampled or not self.config.closed
        held: list[Tensor] = []
        evidence = self._evidence(batch, params, setting, rng, self.config.samples, closed=not sampled, held=held)
        if self.estimator.reweights:
            held.append(self.bound.weights(evidence, self.control))
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
        """A line where the decoder ignores its code."""
        rate, committed = means.get("rate", math.inf), means.get("committed_rate", 0.0)
        if rate >= committed + _COLLAPSED:
            return []
        told = f"posterior collapse: the rate is {rate:.2g} nats a row, the decoder ignores its code"
        return [f"{told}; lower the rate's weight, set a target or free bits, or take a weaker decoder"]

    @torch.no_grad()
    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        """Rate, distortion and their bound of each row, and the importance-weighted bound of more samples."""
        params, setting = self.model.encoded(batch)
        evidence = self._evidence(batch, params, setting, rng, self.config.samples, closed=True, exact=True)
        rate, distortion = evidence.rate, evidence.distortion
        rows, elements = torch.ones_like(rate), self._elements(batch)
        figures = {"elbo": -(rate + distortion), "rate": rate, "distortion": distortion}
        committed = self.model.posterior.committed_rate(setting)
        if committed is not None:
            figures["committed_rate"] = committed
        found = {name: Measure(value, rows, "nats") for name, value in figures.items()}
        unit, positions = self.facts.unit, setting.inside.sum(dim=1)
        found |= {f"{name}_per_{unit}": Measure(value, elements, "nats") for name, value in figures.items()}
        found["rate_per_position"] = Measure(rate, positions, "nats")
        second = self._sample_rate()
        if second:
            found |= {f"{n}_per_second": Measure(figures[n], elements / second, "nats") for n in ("rate", "distortion")}
        usage = self.model.posterior.usage(params, setting)
        if usage is not None:
            found["perplexity"] = Measure(usage, positions, function=perplexity)
        if self.config.evaluation_samples and self.model.posterior.scored and self.model.posterior.num_uniforms:
            evidences = self._importance_weighted(batch, params, setting, rng, self.config.evaluation_samples)
            found["evidence"] = Measure(evidences, rows, f"nats, by {self.config.evaluation_samples} samples")
            found["evidence_bits_per_" + unit] = Measure(-evidences / math.log(2), elements)
        return found | self._information(evidence)

    def _information(self, evidence: Evidence) -> dict[str, Measure]:
        """What codes tell of the row that they are of, bounded from both sides by the other rows of the batch:

            ln q(z_i | x_i) - ln 1/B Σ_j q(z_i | x_j)  ≤  I(x; z)  ≤  ln q(z_i | x_i) - ln 1/(B-1) Σ_{j≠i} q(z_i | x_j)

        in the mean (Poole et al., arXiv 1905.06922, sections 2.1 and 2.3).
        """
        rows, posterior = len(evidence.params), evidence.posterior
        if rows < 2 or not posterior.scored or len(evidence.z) > 1:
            return {}
        each = evidence.z[0][:, None].expand(-1, rows, -1, -1)  # [B, B, N, D], code i for row j
        pairs = (posterior.log_prob(evidence.params, each) * evidence.setting.inside).sum(dim=-1)  # [B, B]
        own, none = pairs.diagonal(), torch.full_like(pairs, -math.inf)
        others = torch.where(torch.eye(rows, dtype=torch.bool, device=pairs.device), none, pairs)
        lower = own - torch.logsumexp(pairs, dim=1) + math.log(rows)
        upper = own - torch.logsumexp(others, dim=1) + math.log(rows - 1)
        one, words = pairs.new_ones(1), f"ln B, B = {rows} rows of a batch"
        return {
            "information_at_least": Measure(lower.mean()[None], one, "nats", math.log(rows), words),
            "information_at_most": Measure(upper.mean()[None], one, "nats"),
        }

    def _importance_weighted(self, batch: Any, params: Tensor, setting: Setting, rng: Key, samples: int) -> Tensor:
        """Importance-weighted bound of so many samples, ``[B]``."""
        parts, done = [], 0
        while done < samples:
            count = min(_CHUNK, samples - done)
            key = Key(rng.seed, rng.stream + noise.name_to_stream(f"seqgen.evidence.{done}"))
            one = self._evidence(batch, params, setting, key, count, closed=False, exact=True)
            parts.append(torch.logsumexp(one.log_shares + one.log_weights(), dim=0) + math.log(count))
            done += count
        return torch.logsumexp(torch.stack(parts), dim=0) - math.log(samples)

    def _evidence(
        self,
        batch: Any,
        params: Tensor,
        setting: Setting,
        rng: Key,
        samples: int,
        *,
        closed: bool,
        exact: bool = False,
        held: list[Tensor] | None = None,
    ) -> Evidence:
        """What samples tell of a batch; the closed form of the rate is taken where that is asked for and there is one.

        By the time of the backward pass ``held`` has how much each sample counts, where the estimator reweights.
        """
        posterior, prior = self.model.posterior, self.model.prior
        u = self._uniforms(params, rng, samples)
        draw: Draw = posterior.draw(params, u, setting, exact=exact)
        z, frames = draw.z, draw.frames
        if self.estimator.detaches:
            z, frames = z.detach(), None
        if held is not None and self.estimator.reweights:
            for drawn in (z, frames):
                if drawn is not None and drawn.requires_grad:
                    drawn.register_hook(lambda gradient: gradient * held[0][..., None, None])
        scores = self.model.log_likelihood(batch, z, frames)  # [S, B, T]
        likelihood = (scores * scored(batch, scores[0], length=self.model.decoder.length)).sum(dim=-1)
        kl = posterior.kl(params, setting) if closed else None
        log_prior = log_posterior = None
        if kl is None or self.estimator.detaches:
            score = posterior.stopped_log_prob if self.estimator.stops else posterior.log_prob
            log_prior = prior.log_prob(z, setting.given) * setting.inside
            log_posterior = score(params, z) * setting.inside
        if kl is not None:
            kl = kl * setting.inside
        return Evidence(
            likelihood, log_prior, log_posterior, draw.log_shares, kl, z, params, posterior, setting,
            self.facts.examples,
        )  # fmt: skip

    def _uniforms(self, params: Tensor, rng: Key, samples: int) -> Tensor:
        """Uniforms of the samples, ``[S, B, N, num_uniforms]``."""
        shape = (samples, *params.shape[:2], self.model.posterior.num_uniforms)
        drawn = noise.block(rng.seed, rng.stream, 0, math.prod(shape))
        return torch.from_numpy(drawn).view(shape).to(params.device, params.dtype)

    def _elements(self, batch: Any) -> Tensor:
        """Samples of each row that count, ``[B]``."""
        return scored(batch, torch.zeros(batch.x.shape[:2])).sum(dim=1) / self.facts.symbols_per_sample

    def _sample_rate(self) -> int:
        return self.facts.features.sample_rate if self.facts.features is not None else self.facts.sample_rate

    def _terms(self, batch: Any, evidence: Evidence) -> dict[str, Tensor]:
        rate, distortion = evidence.rate.detach(), evidence.distortion.detach()
        each = ((rate + distortion) / self._elements(batch).clamp_min(1 / self.facts.symbols_per_sample)).mean()
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
            model.prior.noted(model.posterior.code(params.detach(), setting), batch),
            self.control.noted(evidence),
            self.estimator.noted(self.bound, evidence, self.control),
        )
        rows = {"rows": params.new_tensor(float(len(batch.x)))}
        return rows | {f"{part}/{name}": v for part, one in zip(_PARTS, noted, strict=True) for name, v in one.items()}


def perplexity(shares: npt.NDArray[np.float64]) -> float:
    """Perplexity of symbols whose shares are known, between 1 and K; of several groups ``[G, K]`` the geometric mean.

    Example:
        >>> round(perplexity(np.array([[0.5, 0.5, 0.0]])), 6)
        2.0
    """
    entropies = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=-1)  # [G]
    return math.exp(entropies.mean())


def _examples(kind: type[MaximumEvidence.Config]) -> Iterator[tuple[LatentVariable, MaximumEvidence.Config]]:
    """Small models with options, so that every registered posterior, bound, estimator and control is there once."""
    for model in LatentVariable.examples():
        yield model, _fitting(kind, model)
    gaussian, categorical = (registry.POSTERIORS.load(name).examples() for name in ("gaussian", "categorical"))
    continuous, discrete = (next(iter(one)) for one in (gaussian, categorical))
    for told in registry.POSTERIORS.load("potentials").examples():
        yield from ((small(LatentVariable, told, prior), kind(samples=2)) for prior in fitting(told))
    for name in registry.RATES:
        yield small(LatentVariable, continuous), kind(rate=Component(name), samples=2)
    for bound in registry.BOUNDS:
        for gradient in registry.GRADIENTS:
            posterior = discrete if registry.GRADIENTS.load(gradient).detaches else continuous
            yield small(LatentVariable, posterior), kind(Component(bound), Component(gradient), samples=2)


def _fitting(kind: type[MaximumEvidence.Config], model: LatentVariable) -> MaximumEvidence.Config:
    """Options that a model can be trained with."""
    for name in registry.GRADIENTS:
        estimator = configs.construct(Component(name), registry.GRADIENTS, source="example")
        try:
            estimator.require_fit(model.posterior, configs.construct(Component("elbo"), registry.BOUNDS, source=""))
        except SeqgenError:
            continue
        return kind(gradient=Component(name), samples=2)
    raise AssertionError(f"no estimator fits {type(model.posterior).__name__}")
