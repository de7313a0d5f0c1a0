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
from seqgen.estimators.contract import Estimator
from seqgen.models.conditional_density import ConditionalDensity
from seqgen.models.critic import Critic
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement, Rows
from seqgen.objectives.running_mean import RunningMean
from seqgen.spec import Facts


class Information(Objective):
    """``L = -bound(F)`` with ``F[i, j] = f(x_j, y_i)``, the critic's scores of a batch's K pairs, in nats.

    Batches have ``x [K, x_dim]`` and ``y [K, y_dim]``. The pairs of a batch are each other's contrast. Scores are taken
    to float64 before the bound, since some bounds exponentiate them. The gradient is that of what the bound climbs,
    which need not be its value; a running mean over batches that it needs is a buffer.

    Terms: ``information``, the estimate in nats, and ``cap``, the most that it can be with so many pairs, where there
    is such.

    Raises:
        SeqgenError: for a critic that does not say what the bound takes.
    """

    @dataclass(frozen=True)
    class Config:
        """``bound``: registered estimator and its options."""

        bound: Component = field(default_factory=lambda: Component("infonce"))

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"critic": ("critic",)})
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"critic": Critic})
    couples_rows = True
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
        return Loss(-value, terms, len(batch.x) * one, aux)

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        if aux:
            self.followed.follow(aux["followed"], aux["batches"])

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        """The estimate of a batch, and the variance from batch to batch as this batch alone tells it."""
        scores, pairs = self._scores(batch), len(batch.x)
        value, variance = self.bound.value(scores)[None], self.bound.variance(scores)[None]
        words = f"{self.bound.cap_formula}, K = {pairs} pairs of a batch" if self.bound.cap_formula else ""
        one = value.new_ones(1)
        return {
            "information": Measure(value, one, "nats", self.bound.cap(pairs), words),
            "variance_of_a_batch": Measure(variance, one, "nats²"),
        }

    def _scores(self, batch: Any) -> Tensor:
        scores: Tensor = self.critic(batch.x, batch.y)
        return scores.double()


def _example(kind: type[Information], bound: Component, critic: Critic) -> ObjectiveExample:
    """Five pairs that a critic of these dimensions learns from."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(5, dimension, generator=generator) for dimension in (critic.x_dim, critic.y_dim))
    batch = Rows(x, torch.ones(5, dtype=torch.int64), y=y)
    return ObjectiveExample(kind(kind.Config(bound), {"critic": critic}, Facts()), batch)


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
