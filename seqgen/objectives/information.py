"""Estimation of mutual information: a critic climbs a lower bound of what two variables tell of each other."""

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
from seqgen.estimators.contract import Estimator
from seqgen.models.critic import Critic
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement, Rows
from seqgen.spec import Facts


class Information(Objective):
    """``L = -bound(F)`` with ``F[i, j] = f(x_j, y_i)``, the critic's scores of a batch's K pairs, in nats.

    Batches have ``x [K, x_dim]`` and ``y [K, y_dim]``. The pairs of a batch are each other's contrast. Scores are taken
    to float64 before the bound, since some bounds exponentiate them.

    Terms: ``information``, the bound in nats, and ``cap``, the most that it can be with so many pairs, where there is
    such.
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
        drawn = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
        batch = Rows(drawn[:, :3], torch.ones(5, dtype=torch.int64), y=drawn[:, 3:])
        for name in registry.MODELS:  # nwj heeds a constant summand of the scores, so every weight has a gradient
            kind = registry.MODELS.load(name)
            for critic in kind.examples() if issubclass(kind, Critic) else ():
                yield ObjectiveExample(cls(cls.Config(Component("nwj")), {"critic": critic}, Facts()), batch)

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts)
        self.bound: Estimator = configs.construct(config.bound, registry.ESTIMATORS, source="objective.bound")

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        value, cap = self.bound.value(self._scores(batch)), self.bound.cap(len(batch.x))
        terms = {"information": value.detach()} | ({"cap": value.new_tensor(cap)} if math.isfinite(cap) else {})
        return Loss(-value, terms, value.new_tensor(len(batch.x)))

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        """The bound on a batch, and the variance from batch to batch as this batch alone tells it."""
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
