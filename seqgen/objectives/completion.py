"""Completion of a matrix of ratings: a network learns to predict an entry from the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from seqgen import registry
from seqgen.errors import SeqgenError
from seqgen.models.matrix_completion import EXAMPLE_SHAPE, MatrixCompletion
from seqgen.models.observed_matrix import ObservedMatrix
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement
from seqgen.spec import Facts


@dataclass(frozen=True)
class _Entries:
    """Batch of entries to predict, as examples have them."""

    user: Tensor
    item: Tensor
    rating: Tensor
    observed: ObservedMatrix
    ids: tuple[str, ...]
    deviation: float = 1.0


class Completion(Objective):
    """``L = 1/B Σ_b (R_b - R̂_b)² + λ/N ‖θ‖²`` over a batch of B of the N training ratings, standardised.

    N times the loss is the sum of squares with λ as the prior's precision over the noise's, whatever N is.

    Term: ``squared_error``, without the penalty, by which checkpoints are ranked.

    Its figure is ``rmse``, the root of the mean squared error of estimates, in ratings as they were given.

    Batches have ``user``, ``item`` and ``rating [B]``; ``observed``, all that is known; and ``deviation``, what a
    standardised 1 stands for.
    """

    @dataclass(frozen=True)
    class Config:
        """``weight_decay``: λ, in squared errors of a standardised rating."""

        weight_decay: float = 0.0

        def __post_init__(self) -> None:
            if self.weight_decay < 0:
                raise SeqgenError(f"'weight_decay' is {self.weight_decay}", remedy="give 0 or more")

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"network": ("network",)})
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"network": MatrixCompletion})
    config: Config
    network: MatrixCompletion

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        users, items = EXAMPLE_SHAPE
        place = torch.arange(users * items)
        user, item = place // items, place % items
        seen = (place * 7 % 5 < 3) & (user < users - 1) | (place == len(place) - 1)  # of the last user one rating only
        user, item = user[seen], item[seen]
        rating = torch.randn(len(user), generator=torch.Generator().manual_seed(0))
        observed = ObservedMatrix.of(user, item, rating, EXAMPLE_SHAPE)
        batch = _Entries(user, item, rating, observed, tuple(map(str, range(len(user)))))
        for name in registry.MODELS:
            kind = registry.MODELS.load(name)
            for network in kind.examples() if issubclass(kind, MatrixCompletion) else ():
                made = cls(cls.Config(weight_decay=0.1), {"network": network}, Facts(examples=len(user)))
                yield ObjectiveExample(made, batch)

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts)

    @property
    def monitor(self) -> str:
        return "squared_error"

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        predicted = self.network(batch.user, batch.item, batch.observed, rng)  # [B]
        error = ((predicted - batch.rating) ** 2).mean()
        squares = torch.stack([(parameter**2).sum() for parameter in self.network.parameters()]).sum()
        penalty = self.config.weight_decay / max(self.facts.examples, 1) * squares
        return Loss(error + penalty, {"squared_error": error.detach()}, error.new_tensor(len(batch.user)))

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        estimated = self.network.estimates(batch.user, batch.item, batch.observed, rng)
        errors = (batch.deviation * (estimated - batch.rating)) ** 2
        return {"rmse": Measure(errors, torch.ones_like(errors), function=np.sqrt)}
