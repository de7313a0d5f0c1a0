"""Batches of pictures, functions of their number: every picture once in each pass, in another order each time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.pictures.directory import PictureSet
from seqgen.tasks.turns import passes
from seqgen.train.source import Source


@dataclass(frozen=True)
class Batch:
    """B pictures of T = C·H·W pixels each, channel by channel, row by row.

    Attributes:
        x: symbols ``[B, T]`` int64, or real numbers ``[B, T, 1]`` float32 in [-1, 1].
        lengths: T for each. ids: of the pictures.
        index: ``[B]`` int64, row numbers among the training pictures, for methods that remember something of each; -1
            of a picture that is held out.
        label: ``[B]`` int64, numbers of their classes. factors: ``[B, F]`` int64, further known properties; both where
            they are known.
    """

    x: Tensor
    lengths: Tensor
    ids: tuple[str, ...]
    index: Tensor
    label: Tensor | None = None
    factors: Tensor | None = None
    skip: None = None
    cond: None = None


class StoredPictures(Source):
    """Pictures of a split. Passes follow each other without a gap: a batch may have the last pictures of one and the
    first of the next.

    Args:
        pictures: of the split. levels: of a pixel. rows: pictures of a batch. seed: of the run. real: whether pixels
            become real numbers. learnt: whether these are the pictures that are learnt from.
    """

    def __init__(
        self, pictures: PictureSet, levels: int, *, rows: int, seed: int, real: bool = False, learnt: bool = False
    ) -> None:
        self.pictures, self.levels, self.rows, self.seed = pictures, levels, rows, seed
        self.real, self.learnt = real, learnt

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        for chosen in passes(len(self.pictures), self.rows, seed=self.seed, start=start, stop=stop):
            yield self._batch(chosen[rank::world])

    def whole(self, limit: int | None = None) -> Iterator[Batch]:
        """Every picture once, or the first so many."""
        numbers = np.arange(len(self.pictures))[:limit]
        return (self._batch(numbers[first : first + self.rows]) for first in range(0, len(numbers), self.rows))

    def first(self, count: int) -> Batch:
        """The first so many pictures, as one batch."""
        return self._batch(np.arange(len(self.pictures))[:count])

    def _batch(self, numbers: npt.NDArray[np.int64]) -> Batch:
        chosen = self.pictures.rows(numbers)
        pixels = torch.from_numpy(chosen.x).flatten(1)  # [B, T]
        index = torch.from_numpy(numbers)
        return Batch(
            scaled(pixels, self.levels)[..., None] if self.real else pixels.long(),
            torch.full((len(numbers),), pixels.shape[1]),
            chosen.ids,
            index if self.learnt else torch.full_like(index, -1),
            None if chosen.y is None else torch.from_numpy(chosen.y),
            None if chosen.factors is None else torch.from_numpy(chosen.factors),
        )


def scaled(symbols: Tensor, levels: int) -> Tensor:
    """Values of pixels as real numbers, the lowest -1 and the highest 1, float32."""
    return symbols.float() * (2 / (levels - 1)) - 1
