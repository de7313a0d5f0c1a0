"""Batches of pairs, as pure functions of their number: drawn without end, or taken from what there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.tasks.pairs.arrays import VectorPairs
from seqgen.tasks.turns import turns
from seqgen.train.source import Source


@dataclass(frozen=True)
class Batch:
    """K pairs: ``x [K, x_dim]`` and ``y [K, y_dim]`` float32, row by row drawn together, ``ids`` of the pairs, and
    ``label [K, labels]`` int64 where labels of x are known."""

    x: Tensor
    y: Tensor
    ids: tuple[str, ...]
    label: Tensor | None = None


class PairProcess(Protocol):
    """Process whose pairs are drawn without end, and whose information is known."""

    @property
    def dimension(self) -> int:
        """Dimensions of x, as of y."""

    @property
    def information(self) -> float:
        """``I(X; Y)`` in nats."""

    def describe(self) -> str:
        """The process in a few words."""

    def draw(self, key: Key, first: int, count: int) -> tuple[Tensor, ...]:
        """Pairs ``first … first + count - 1``: x and y ``[count, dimension]``, and labels of x where they are known."""


class DrawnPairs(Source):
    """Pairs that a process draws, no pair ever twice.

    Args:
        process: what is drawn from. key: of the split's randomness. rows: pairs of a batch. count: pairs that count as
            the whole.
    """

    def __init__(self, process: PairProcess, *, key: Key, rows: int, count: int) -> None:
        self.process, self.key, self.rows = process, key, rows
        self.count = _require_a_batch(count, rows, "pairs are drawn")

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        return (self._batch(number, rank, world) for number in range(start, stop))

    def whole(self) -> Iterator[Batch]:
        """Whole batches only: with fewer pairs a bound is another one."""
        return self.batches(0, self.count // self.rows, 0, 1)

    def _batch(self, number: int, rank: int, world: int) -> Batch:
        first = number * self.rows
        x, y, *label = (part[rank::world] for part in self.process.draw(self.key, first, self.rows))
        ids = tuple(f"{pair:09d}" for pair in range(first + rank, first + self.rows, world))
        return Batch(x.float(), y.float(), ids, *label)


class StoredPairs(Source):
    """Pairs that are there: all in another order each time, so that no batch holds a pair twice.

    Args:
        pairs: all of the files. numbers: rows of them that are this split's, int64 ``[N]``. rows: pairs of a batch.
        seed: of the run.
    """

    def __init__(self, pairs: VectorPairs, numbers: npt.NDArray[np.int64], *, rows: int, seed: int) -> None:
        self.pairs, self.numbers, self.rows, self.seed = pairs, numbers, rows, seed
        self.count = _require_a_batch(len(numbers), rows, "pairs are there")

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        for places in turns(self.count, self.rows, seed=self.seed, start=start, stop=stop):
            yield self._batch(self.numbers[places][rank::world])

    def whole(self) -> Iterator[Batch]:
        """Whole batches only: with fewer pairs a bound is another one."""
        last = self.count - self.rows
        return (self._batch(self.numbers[first : first + self.rows]) for first in range(0, last + 1, self.rows))

    def _batch(self, numbers: npt.NDArray[np.int64]) -> Batch:
        chosen = torch.from_numpy(numbers)
        return Batch(self.pairs.x[chosen], self.pairs.y[chosen], tuple(f"{number:09d}" for number in numbers))


def _require_a_batch(count: int, rows: int, what: str) -> int:
    if rows < 2:
        raise SeqgenError(f"'train.batch_size' is {rows}", remedy="give 2 or more: pairs are told from each other")
    if count < rows:
        raise SeqgenError(
            f"{count:,} {what}, fewer than a batch of {rows:,}", remedy="lower train.batch_size or give more pairs"
        )
    return count
