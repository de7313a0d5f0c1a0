"""Rows of consecutive sentences, each filled up to the same number of symbols, as functions of their number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.tasks.text.batches import Batch
from seqgen.text.directory import Encoded
from seqgen.text.tokenizer import Tokenizer
from seqgen.train.source import Source

_STREAM = noise.name_to_stream("seqgen.text.sentences")


class Sentences(Source):
    """Source of rows of sentences: lines of documents that are not empty, those that follow each other in one document.

    A sentence is ``length`` symbols, cut there or filled up with the symbol behind the last one of the tokenizer. For
    training rows begin at random places; the whole is each sentence once but for those that fill no row or no batch,
    since with fewer rows there would be fewer sentences to be told apart.

    Args:
        encoded: symbols of all documents and where each begins and ends. tokenizer: theirs.
        segment: sentences of a row. length: symbols of a sentence. rows: of a batch. seed: of the run.

    Raises:
        SeqgenError: for a tokenizer whose line break is no symbol, and for documents without a row of sentences.
    """

    def __init__(
        self, encoded: Encoded, tokenizer: Tokenizer, *, segment: int, length: int, rows: int, seed: int
    ) -> None:
        self.symbols, self.padding = encoded.symbols, tokenizer.vocab_size
        self.segment, self.length, self.rows, self.seed = segment, length, rows, seed
        lines = _lines(encoded, _line_break(tokenizer))
        self.bounds = np.concatenate(lines)  # [S, 2]
        counts = np.array([len(one) for one in lines])
        self._firsts = np.cumsum(counts) - counts  # of each document
        every = np.arange(len(self.bounds))
        left = np.repeat(self._firsts + counts, counts) - every  # sentences from here to the end of the document
        self.places = every[left >= segment]
        self._whole = every[(left >= segment) & ((every - np.repeat(self._firsts, counts)) % segment == 0)]
        if not len(self.places):
            raise SeqgenError(
                f"no document has {segment} lines in succession that are not empty; the longest has {counts.max()}",
                remedy="lower task.segment",
            )

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        for number in range(start, stop):
            numbers = number * self.rows + np.arange(rank, self.rows, world)
            u, v = (noise.uniforms(self.seed, _STREAM, 2 * numbers + word) for word in (0, 1))
            chosen = ((u + v * 2.0**-24) * len(self.places)).astype(np.int64)
            yield self._batch(self.places[np.minimum(chosen, len(self.places) - 1)])

    def whole(self, limit: int | None = None) -> Iterator[Batch]:
        """Every row once, or the first so many, in whole batches."""
        places = self._whole[:limit]
        for first in range(0, len(places) - self.rows + 1, self.rows):
            yield self._batch(places[first : first + self.rows])

    def _batch(self, places: npt.NDArray[np.int64]) -> Batch:
        x = np.full((len(places), self.segment, self.length), self.padding, np.int64)
        for row, place in enumerate(places):
            for index, (start, end) in enumerate(self.bounds[place : place + self.segment]):
                piece = self.symbols[start : min(end, start + self.length)]
                x[row, index, : len(piece)] = piece
        count = self.segment * self.length
        ids = tuple(f"{place:09d}" for place in places)
        return Batch(torch.from_numpy(x.reshape(len(places), count)), torch.full((len(places),), count), ids)


def _lines(encoded: Encoded, line_break: int) -> list[npt.NDArray[np.int64]]:
    """Bounds of the lines of each document, ``[lines, 2]``, without empty ones."""
    found = []
    for start, stop in zip(encoded.bounds[:-1], encoded.bounds[1:], strict=True):
        breaks = start + np.flatnonzero(encoded.symbols[start:stop] == line_break)
        pairs = np.stack([np.concatenate([[start], breaks + 1]), np.concatenate([breaks, [stop]])], axis=1)
        found.append(pairs[pairs[:, 1] > pairs[:, 0]])
    return found


def _line_break(tokenizer: Tokenizer) -> int:
    symbols = tokenizer.encode(b"\n").symbols
    if len(symbols) != 1 or symbols[0] == tokenizer.unknown:
        raise SeqgenError(
            f"a line break is no symbol of this tokenizer of {tokenizer.unit}s",
            remedy="prepare a text of several lines by characters or bytes",
        )
    return int(symbols[0])
