"""Sequences of symbols that a known process draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from seqgen import noise
from seqgen.noise import Key
from seqgen.tasks.processes.batch import Batch
from seqgen.tasks.processes.hidden_markov import Reals, Symbols
from seqgen.train.source import Source


class DrawnSequences(Source):
    """Source of sequences that a process draws, each a function of the noise's key and of its number.

    Args:
        draw: sequences of uniforms, ``[B, num_uniforms] → [B, T]``. num_uniforms: that one sequence takes.
        rows: of a batch. key: of the noise. count: sequences of the whole.
    """

    def __init__(self, draw: Callable[[Reals], Symbols], num_uniforms: int, *, rows: int, key: Key, count: int) -> None:
        self.draw, self.num_uniforms = draw, num_uniforms
        self.rows, self.key, self.count = rows, key, count

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        return (self._rows(number * self.rows + np.arange(rank, self.rows, world)) for number in range(start, stop))

    def whole(self) -> Iterator[Batch]:
        firsts = range(0, self.count, self.rows)
        return (self._rows(np.arange(first, min(first + self.rows, self.count))) for first in firsts)

    def _rows(self, numbers: Symbols) -> Batch:
        positions = self.num_uniforms * numbers[:, None] + np.arange(self.num_uniforms)
        x = self.draw(noise.uniforms(*self.key, positions))  # [B, T]
        lengths = torch.full((len(numbers),), x.shape[1])
        return Batch(torch.from_numpy(x), lengths, tuple(f"{number:09d}" for number in numbers))


def written(sequences: Symbols) -> str:
    """Sequences as numbers, one a line."""
    return "".join(" ".join(map(str, row)) + "\n" for row in sequences.tolist())
