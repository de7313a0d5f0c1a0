"""Sequences of symbols that a known process draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from seqgen import noise
from seqgen.noise import Key
from seqgen.objectives.contract import Objective
from seqgen.tasks.processes.batch import Batch
from seqgen.tasks.processes.hidden_markov import Reals, Symbols
from seqgen.tasks.table import Figure, Gathered
from seqgen.train.source import Source

_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step


class DrawnSequences(Source):
    """Source of sequences that a process draws, each a function of the noise's key and of its number.

    Args:
        draw: sequences of uniforms, ``[B, num_uniforms] → [B, T]``. num_uniforms: that one sequence takes.
        rows: of a batch. key: of the noise. count: sequences of the whole.
        labels: hidden classes of sequences, of the same uniforms, ``→ [B]``, where there are any.
    """

    def __init__(
        self,
        draw: Callable[[Reals], Symbols],
        num_uniforms: int,
        *,
        rows: int,
        key: Key,
        count: int,
        labels: Callable[[Reals], Symbols] | None = None,
    ) -> None:
        self.draw, self.num_uniforms, self.labels = draw, num_uniforms, labels
        self.rows, self.key, self.count = rows, key, count

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        return (self._rows(number * self.rows + np.arange(rank, self.rows, world)) for number in range(start, stop))

    def whole(self) -> Iterator[Batch]:
        firsts = range(0, self.count, self.rows)
        return (self._rows(np.arange(first, min(first + self.rows, self.count))) for first in firsts)

    def _rows(self, numbers: Symbols) -> Batch:
        positions = self.num_uniforms * numbers[:, None] + np.arange(self.num_uniforms)
        u = noise.uniforms(*self.key, positions)
        x = self.draw(u)  # [B, T]
        lengths = torch.full((len(numbers),), x.shape[1])
        label = None if self.labels is None else torch.from_numpy(self.labels(u))
        return Batch(torch.from_numpy(x), lengths, tuple(f"{number:09d}" for number in numbers), label=label)


def measured(source: DrawnSequences, objective: Objective, seed: int, limit: int) -> tuple[Symbols, dict[str, Figure]]:
    """Sequences of the whole, ``[N, T]``, and the figures that a method measures on them; of the first ``limit`` alone,
    where that is not 0."""
    given, found = [], Gathered()
    source.count = min(limit or source.count, source.count)
    for index, batch in enumerate(source.whole()):
        found.add(objective.measure(batch, Key(seed, _EVALUATION + index), index), batch.ids)
        given.append(batch.x.numpy())
    return np.concatenate(given), found.figures


def written(sequences: Symbols) -> str:
    """Sequences as numbers, one a line."""
    return "".join(" ".join(map(str, row)) + "\n" for row in sequences.tolist())
