"""Batches of ratings, as pure functions of their number, each beside all that is known of the matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.models.observed_matrix import ObservedMatrix
from seqgen.tasks.ratings.triples import Integers, Triples
from seqgen.tasks.turns import turns
from seqgen.train.source import Source


@dataclass(frozen=True)
class Batch:
    """B ratings.

    Attributes:
        user, item: int64 ``[B]``. rating: ``[B]``, standardised. observed: what is known, standardised too.
        ids: the ratings by the names of their users and items. deviation: of a rating, that is, what 1 stands for.
    """

    user: Tensor
    item: Tensor
    rating: Tensor
    observed: ObservedMatrix
    ids: tuple[str, ...]
    deviation: float


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of the training ratings."""

    mean: float
    deviation: float

    def standardised(self, triples: Triples) -> tuple[Tensor, Tensor, Tensor]:
        """User, item and rating of triples, ``[N]`` each, the ratings float32."""
        rating = (triples.rating - self.mean) / self.deviation
        return torch.from_numpy(triples.user), torch.from_numpy(triples.item), torch.from_numpy(rating).float()


class RatingSource(Source):
    """Ratings of a split: for training all in another order each time.

    Args:
        triples: those of the split. observed: what is known. scale: of ratings. rows: of a batch. seed: of the run.
        users, items: names.
    """

    def __init__(
        self,
        triples: Triples,
        observed: ObservedMatrix,
        scale: Scale,
        *,
        names: tuple[tuple[str, ...], tuple[str, ...]],
        rows: int,
        seed: int = 0,
    ) -> None:
        self.triples, self.observed, self.scale, self.names = triples, observed, scale, names
        self.rows, self.seed, self.count = rows, seed, len(triples.user)
        self._entries = scale.standardised(triples)

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        if self.count < self.rows:
            raise SeqgenError(
                f"{self.count:,} training ratings, fewer than a batch of {self.rows:,}",
                remedy="lower train.batch_size or give more ratings",
            )
        for places in turns(self.count, self.rows, seed=self.seed, start=start, stop=stop):
            yield self._batch(places[rank::world])

    def whole(self) -> Iterator[Batch]:
        for first in range(0, self.count, self.rows):
            yield self._batch(np.arange(first, min(first + self.rows, self.count)))

    def _batch(self, places: Integers) -> Batch:
        users, items = self.names
        chosen = self.triples.chosen(places)
        ids = tuple(f"{users[i]}/{items[j]}" for i, j in zip(chosen.user, chosen.item, strict=True))
        user, item, rating = (column[torch.from_numpy(places)] for column in self._entries)
        return Batch(user, item, rating, self.observed, ids, self.scale.deviation)
