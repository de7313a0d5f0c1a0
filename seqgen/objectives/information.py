"""Estimation of mutual information: a critic is trained to tell what two variables say of each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seqgen import config as configs
from seqgen import registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.estimators.contract import Estimator, joint_mean, product_mean
from seqgen.models.conditional_density import ConditionalDensity
from seqgen.models.critic import Critic
from seqgen.nets.spectral_norm import follow
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement, Rows
from seqgen.objectives.lipschitz import LipschitzPenalty
from seqgen.objectives.running_mean import RunningMean
from seqgen.spec import Facts


class Information(Objective):
    """``L = -bound(F)`` with ``F[i, j] = f(x_j, y_i)``, the critic's scores of a batch's K pairs, in nats; with a
    Lipschitz penalty P on the critic ``L = -bound(F) + weight · P``.

    Batches have ``x [K, x_dim]`` and ``y [K, y_dim]``. The pairs of a batch are each other's contrast. Scores are taken
    to float64 before the bound, since some bounds exponentiate them. The gradient is that of what the bound climbs,
    which need not be its value; a running mean over batches that it needs is a buffer. With InfoNCE and the penalty it
    is Wasserstein predictive coding: what is left of the bound is no estimate of the information, but the encoders of a
    critic that may not be steep have less reason to leave out what is there.

    Terms: ``information``, the estimate in nats, and ``cap``, the most that it can be with so many pairs, where there
    is such; with a penalty ``penalty`` and ``slope``, the mean norm of the critic's gradient.

    Raises:
        SeqgenError: for a critic that does not say what the bound takes.

    Source: Wasserstein predictive coding: Ozair et al., "Wasserstein dependency measure for representation learning",
    arXiv 1903.11780.
    """

    @dataclass(frozen=True)
    class Config:
        """``bound``: registered estimator and its options. ``lipschitz``: constraint of the critic, if there is one."""

        bound: Component = field(default_factory=lambda: Component("infonce"))
        lipschitz: LipschitzPenalty | None = None

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"critic": ("critic",)})
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"critic": Critic})
    couples_rows = True
    config: Config
    critic: Critic

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        heeding, *others = (
            Component("nwj"),  # a constant summand of the scores too, so that every weight has a gradient
            Component("donsker-varadhan", {"forgetting": 0.1}),
            Component("jensen-shannon"),
        )
        kinds = [kind for name in registry.MODELS if issubclass(kind := registry.MODELS.load(name), Critic)]
        critics = [one for kind in kinds for one in kind.examples() if next(one.parameters(), None) is not None]
        yield from (_example(cls, heeding, critic) for critic in critics)
        yield from (_example(cls, bound, critics[0]) for bound in others)
        penalties = (LipschitzPenalty(target=0.01), LipschitzPenalty(2.0, ("product",), one_sided=False))
        yield from (_example(cls, heeding, critic, penalty) for critic in critics[:2] for penalty in penalties)

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts)
        self.bound: Estimator = configs.construct(config.bound, registry.ESTIMATORS, source="objective.bound")
        _require_scores(config.bound.name, self.bound, self.critic)
        if self.bound.forgetting:
            self.followed = RunningMean(self.bound.forgetting, dtype=torch.float64)

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        scores, cap = self._scores(batch), self.bound.cap(len(batch.x))
        one, aux, mean = scores.new_ones(()), None, None
        if self.bound.forgetting:
            aux = {"followed": self.bound.followed(scores.detach()), "batches": one}
            mean = self.followed.after(aux["followed"], one)
        value = self.bound.trained(scores, mean)
        terms = {"information": value.detach()} | ({"cap": value.new_tensor(cap)} if math.isfinite(cap) else {})
        loss = -value
        if self.config.lipschitz is not None:
            penalty, slope = self._steepness(self.config.lipschitz, batch, rng)
            loss = loss + self.config.lipschitz.weight * penalty
            terms |= {"penalty": penalty.detach(), "slope": slope.detach()}
        return Loss(loss, terms, len(batch.x) * one, aux)

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        follow(self.critic)
        if aux:
            self.followed.follow(aux["followed"], aux["batches"])

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        """The estimate of a batch, and the variance from batch to batch as this batch alone tells it; of a constrained
        critic ``dependency`` too, ``E f(x, y) - E f(x, y')``: below the Wasserstein dependency where no slope is above
        1, and no nats."""
        scores, pairs = self._scores(batch), len(batch.x)
        value, variance = self.bound.value(scores)[None], self.bound.variance(scores)[None]
        words = f"{self.bound.cap_formula}, K = {pairs} pairs of a batch" if self.bound.cap_formula else ""
        one = value.new_ones(1)
        found = {
            "information": Measure(value, one, "nats", self.bound.cap(pairs), words),
            "variance_of_a_batch": Measure(variance, one, "nats²"),
        }
        if self.config.lipschitz is not None:
            penalty, slope = self._steepness(self.config.lipschitz, batch, rng)
            dual = joint_mean(scores) - product_mean(scores)
            found["dependency"] = Measure(dual[None], one, "of distance")
            found |= {"penalty": Measure(penalty[None], one), "slope": Measure(slope[None], one)}
        return found

    def _steepness(self, lipschitz: LipschitzPenalty, batch: Any, rng: Key) -> tuple[Tensor, Tensor]:
        """The penalty on the critic's slopes at pairs of a batch, and their mean."""
        slopes = lipschitz.slopes(self.critic, batch.x, batch.y, rng).double()
        return lipschitz.penalty(slopes), slopes.mean()

    def _scores(self, batch: Any) -> Tensor:
        scores: Tensor = self.critic(batch.x, batch.y)
        return scores.double()


def _example(
    kind: type[Information], bound: Component, critic: Critic, lipschitz: LipschitzPenalty | None = None
) -> ObjectiveExample:
    """Five pairs that a critic of these dimensions learns from."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(5, dimension, generator=generator) for dimension in (critic.x_dim, critic.y_dim))
    batch = Rows(x, torch.ones(5, dtype=torch.int64), y=y)
    return ObjectiveExample(kind(kind.Config(bound, lipschitz), {"critic": critic}, Facts()), batch)


def _require_scores(name: str, bound: Estimator, critic: Critic) -> None:
    """Refuse a critic whose scores the bound cannot take."""
    fits = {
        "any": True,
        "density": isinstance(critic, ConditionalDensity),
        "known density": isinstance(critic, ConditionalDensity) and critic.known,
    }
    if not fits[bound.takes]:
        kinds = {one: registry.MODELS.load(one) for one in registry.MODELS}
        densities = {one: kind.known for one, kind in kinds.items() if issubclass(kind, ConditionalDensity)}
        fitting = [one for one, known in densities.items() if known or bound.takes == "density"]
        raise SeqgenError(
            f"objective.bound {name} takes a {bound.takes} of y given x, which {type(critic).__name__} is not",
            remedy=f"give the critic {' or '.join(fitting)}, or another bound",
        )
