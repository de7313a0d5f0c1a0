"""Batches of pairs of symbol sequences, of like lengths, as pure functions of their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.generation.encoder_decoder import Sources
from seqgen.text.pairs import Pair
from seqgen.text.tokenizer import Tokenizer
from seqgen.train.batch import rows as rows_of
from seqgen.train.source import Source

_ORDER = noise.name_to_stream("seqgen.translation.order")
_BATCHES = noise.name_to_stream("seqgen.translation.batches")
_POOL = 50  # batches among whose rows those of like lengths are found

Symbols = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Batch of B pairs: targets ``x [B, T]`` int64 with their stop symbols, ``lengths [B]`` of what is no padding, the
    sources that they are conditioned on, and ``ids`` of the pairs."""

    x: Tensor
    lengths: Tensor
    cond: Sources
    ids: tuple[str, ...]


class EncodedPairs:
    """Pairs as symbols, one for each target of each source.

    Args:
        pairs: texts. source, target: tokenizers. stop: the symbol that ends a target.

    Attributes:
        sources: symbols of each source. targets: of each target, the stop symbol included. owner: int64 ``[N]``, the
            source of each target. ids: ``line.target`` of each, counted from 1.
    """

    def __init__(self, pairs: Sequence[Pair], source: Tokenizer, target: Tokenizer, stop: int) -> None:
        end = np.array([stop], np.int64)
        self.sources: list[Symbols] = [source.encode(pair.source.encode()).symbols for pair in pairs]
        self.targets: list[Symbols] = []
        owners, self.ids = [], []
        for number, pair in enumerate(pairs):
            for index, text in enumerate(pair.targets):
                self.targets.append(np.concatenate([target.encode(text.encode()).symbols, end]))
                owners.append(number)
                self.ids.append(f"{number + 1:07d}.{index + 1}")
        self.owner = np.array(owners, np.int64)
        self.lengths = np.array(
            [len(one) + len(self.sources[owner]) for one, owner in zip(self.targets, owners, strict=True)], np.int64
        )

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> Batch:
        """The batch of these targets."""
        x, lengths = padded([self.targets[number] for number in numbers])
        sources = Sources(*padded([self.sources[self.owner[number]] for number in numbers]))
        return Batch(x, lengths, sources, tuple(self.ids[number] for number in numbers))


def padded(rows: Sequence[Symbols]) -> tuple[Tensor, Tensor]:
    """Sequences as one tensor ``[B, longest]``, zeros behind their ends, and their lengths ``[B]``."""
    lengths = np.array([len(row) for row in rows], np.int64)
    made = np.zeros((len(rows), int(lengths.max(initial=0))), np.int64)
    for line, row in zip(made, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(made), torch.from_numpy(lengths)


class PairBatches(Source):
    """Source of pairs: all of them in another order each time, cut into batches of like lengths.

    Args:
        pairs: the split's. rows: of a batch. seed: of the run.

    Raises:
        SeqgenError: for fewer pairs than a batch has, once training asks for one.
    """

    def __init__(self, pairs: EncodedPairs, *, rows: int, seed: int) -> None:
        self.pairs, self.rows, self.seed = pairs, rows, seed

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        each = len(self.pairs) // self.rows  # whole batches of a pass; what is left over is other pairs each time
        if not each:
            raise SeqgenError(
                f"{len(self.pairs):,} pairs, fewer than a batch of {self.rows:,}",
                remedy="lower train.batch_size or give more pairs",
            )
        order, current = np.zeros((0, self.rows), np.int64), -1
        for number in range(start, stop):
            turn, place = divmod(number, each)
            if turn != current:
                order, current = self._order(turn, each), turn
            yield rows_of(self.pairs.batch(order[place]), rank, world)

    def whole(self) -> Iterator[Batch]:
        order = np.argsort(self.pairs.lengths, kind="stable")
        return (self.pairs.batch(order[first : first + self.rows]) for first in range(0, len(order), self.rows))

    def _order(self, turn: int, each: int) -> npt.NDArray[np.int64]:
        """Pairs of every batch of a pass, ``[batches, rows]``: neighbours by length among those of a pool."""
        chosen = _shuffled(len(self.pairs), self.seed, _ORDER, turn)[: each * self.rows]
        size = _POOL * self.rows
        pools = [chosen[first : first + size] for first in range(0, len(chosen), size)]
        alike = [pool[np.argsort(self.pairs.lengths[pool], kind="stable")] for pool in pools]
        batches = np.concatenate(alike).reshape(each, self.rows)
        return batches[_shuffled(each, self.seed, _BATCHES, turn)]


def _shuffled(count: int, seed: int, stream: int, turn: int) -> npt.NDArray[np.int64]:
    """The numbers below ``count`` in an order of its own for each turn."""
    places = turn * count + np.arange(count, dtype=np.int64)
    return np.argsort(noise.words(seed, stream, places), kind="stable")
