"""Sequences of symbols that a known process draws, and what a density says of such sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from seqgen import noise
from seqgen.generation.contract import Density
from seqgen.generation.tempered import tempered_log_prob
from seqgen.noise import Key
from seqgen.tasks.processes.batch import Batch
from seqgen.tasks.processes.hidden_markov import Reals, Symbols
from seqgen.train.source import Source

_BLOCK = 4096  # sequences that a density scores or draws at once


class DrawnSequences(Source):
    """Source of sequences that a process draws, each a function of the noise's key and of its number.

    Args:
        draw: sequences of uniforms, ``[B, num_uniforms] → [B, T]``. num_uniforms: that one sequence takes.
        rows: of a batch. key: of the noise. count: sequences of the whole.
    """

    def __init__(
        self, draw: Callable[[Reals], Symbols], num_uniforms: int, *, rows: int, key: Key, count: int
    ) -> None:
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


@torch.no_grad()
def drawn(density: Density, count: int, length: int, *, seed: int, temperature: float) -> Symbols:
    """Sequences of a density, int64 ``[count, length]``; the noise of each is its own."""
    u = torch.from_numpy(noise.block(seed, 0, 0, count * length * density.num_uniforms)).view(count, length, -1)
    device = next(density.parameters()).device
    parts = [density.sample(part.to(device), None, temperature) for part in u.split(_BLOCK)]
    made: Symbols = torch.cat(parts).cpu().numpy()
    return made


@torch.no_grad()
def scored(density: Density, x: Symbols, temperature: float = 1.0) -> Reals:
    """``ln p(x)`` of whole sequences ``[N, T]`` under a density in nats, at a temperature, ``[N]``."""
    device = next(density.parameters()).device
    blocks = torch.from_numpy(x).to(device).split(_BLOCK)
    each = [tempered_log_prob(density, block, temperature).double().sum(dim=1) for block in blocks]
    found: Reals = torch.cat(each).cpu().numpy()
    return found


def written(sequences: Symbols) -> str:
    """Sequences as numbers, one a line."""
    return "".join(" ".join(map(str, row)) + "\n" for row in sequences.tolist())
