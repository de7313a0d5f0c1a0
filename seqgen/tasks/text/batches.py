"""Batches of text: rows of symbols that never cross a document's end, as functions of their number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen import noise
from seqgen.text.directory import Encoded
from seqgen.train.source import Source

_STREAM = noise.name_to_stream("seqgen.text.segments")


@dataclass(frozen=True)
class Batch:
    """Batch of B stretches of text: ``x [B, T]`` int64 symbols, ``lengths [B]`` of what is no padding, ``skip [B]`` of
    these that are there to be heard only, ``ids`` of the stretches; nothing to be conditioned on."""

    x: Tensor
    lengths: Tensor
    ids: tuple[str, ...]
    skip: Tensor | None = None
    cond: None = None


class Stretches(Source):
    """Source of stretches of documents: for training at random places, which are a function of the batch's number; once
    over the whole in order.

    Each symbol is as likely as any other to be in a row, but for those near the ends of documents: a document of n
    symbols is chosen in proportion to ``max(n, segment)``, then one of its ``max(1, n - segment + 1)`` places.

    Args:
        encoded: symbols of all documents and where each begins and ends. segment: symbols of a row that are learnt
            from. context: symbols before them that are heard only, as far as the document reaches back.
        rows: of a batch. seed: of the run. exact: leave out what is shorter than a segment.
    """

    def __init__(
        self, encoded: Encoded, *, segment: int, context: int = 0, rows: int, seed: int, exact: bool = False
    ) -> None:
        self.encoded, self.segment, self.context = encoded, segment, context
        self.rows, self.seed, self.exact = rows, seed, exact
        sizes = np.diff(encoded.bounds)
        weights = np.where(sizes >= segment, sizes, 0 if exact else segment)
        self._shares = np.cumsum(weights)

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        for number in range(start, stop):
            numbers = number * self.rows + np.arange(rank, self.rows, world)
            u, v = (noise.uniforms(self.seed, _STREAM, 2 * numbers + word) for word in (0, 1))
            # Two 24-bit words: one alone would reach only some places of a long text.
            yield self._rows(self._places(u + v * 2.0**-24))

    def _places(self, u: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
        """Documents and starts in them, for uniforms."""
        total = int(self._shares[-1])
        share = np.minimum((u * total).astype(np.int64), total - 1)
        found = []
        for one in share.tolist():
            document = int(np.searchsorted(self._shares, one, side="right"))
            before = int(self._shares[document - 1]) if document else 0
            size = int(self.encoded.bounds[document + 1] - self.encoded.bounds[document])
            places = max(1, size - self.segment + 1)
            found.append((document, (one - before) * places // (int(self._shares[document]) - before)))
        return found

    def whole(self, limit: int | None = None) -> Iterator[Batch]:
        """Every stretch once, or the first so many."""
        pending: list[tuple[int, int]] = []
        for place in islice(self._every(), limit):
            pending.append(place)
            if len(pending) == self.rows:
                yield self._rows(pending)
                pending = []
        if pending:
            yield self._rows(pending)

    def _every(self) -> Iterator[tuple[int, int]]:
        bounds = self.encoded.bounds
        for document in range(len(bounds) - 1):
            size = int(bounds[document + 1] - bounds[document])
            last = size - self.segment + 1 if self.exact else size
            yield from ((document, start) for start in range(0, last, self.segment))

    def _rows(self, places: list[tuple[int, int]]) -> Batch:
        pieces, skips = [], []
        for document, start in places:
            first, end = (int(bound) for bound in self.encoded.bounds[document : document + 2])
            heard = min(start, self.context)
            at = first + start
            pieces.append(self.encoded.symbols[at - heard : min(at + self.segment, end)].astype(np.int64))
            skips.append(heard)
        longest = max(len(piece) for piece in pieces)
        x = np.stack([np.pad(piece, (0, longest - len(piece))) for piece in pieces])  # [B, T]
        lengths = torch.tensor([len(piece) for piece in pieces])
        ids = tuple(f"{document:07d}:{start:09d}" for document, start in places)
        return Batch(torch.from_numpy(x), lengths, ids, torch.tensor(skips) if self.context else None)
