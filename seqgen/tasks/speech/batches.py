"""Batches of windows of raw audio, as functions of their number."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen import noise
from seqgen.audio import io
from seqgen.data.directory import DataDir, Utterance
from seqgen.data.loader import loader
from seqgen.errors import SeqgenError
from seqgen.train.source import Source

_STREAM = noise.name_to_stream("seqgen.speech.windows")
_ORDER = noise.name_to_stream("seqgen.speech.order")

ItemT = TypeVar("ItemT")
Place = tuple[Utterance, int]
"""An utterance, and the first sample of a window in it."""


@dataclass(frozen=True)
class Batch:
    """Batch of B windows of raw audio.

    Attributes:
        x: ``[B, T, 1]`` float32 in [-1, 1]; behind the end of a recording zeros. lengths: ``[B]``, samples that are
            none of these. speaker: ``[B]`` int64, numbers among the speakers of the data. ids: of the windows.
    """

    x: Tensor
    lengths: Tensor
    speaker: Tensor
    ids: tuple[str, ...]


class Windows(Source):
    """Source of windows of recordings: for training at random places, for the rest each recording cut up once.

    A recording is as likely as its share of all samples, then each place in it. Rows come in groups of ``together``,
    each group of one speaker. What is cut up comes in whole batches of such groups, in an order of its
    own that does not change: with fewer rows there would be fewer negatives, and figures of another task.

    Args:
        data: recordings. window: samples of a row; shorter recordings are filled up. rows: of a batch.
        together: rows in succession of one speaker. seed: of the run. workers: loading processes.
        limit: most windows of the whole (0: all).

    Raises:
        SeqgenError: for a batch of no whole number of groups, and for data that do not fill one.
    """

    def __init__(
        self, data: DataDir, *, window: int, rows: int, together: int, seed: int, workers: int = 0, limit: int = 0
    ) -> None:
        if rows % together:
            raise SeqgenError(
                f"'train.batch_size' is {rows}, 'task.speaker_rows' {together}",
                remedy=f"make the one a multiple of the other: {max(1, round(rows / together)) * together} rows",
            )
        self.window, self.rows, self.together = window, rows, together
        self.seed, self.workers, self.limit = seed, workers, limit
        self.utterances = sorted(data, key=lambda one: (one.speaker.encode(), one.id.encode()))
        self.speakers, self.path = data.speakers, data.path
        self._ends = np.cumsum([one.samples for one in self.utterances])
        last = {one.speaker: int(end) for one, end in zip(self.utterances, self._ends, strict=True)}
        self._bounds = np.array([0, *(last[speaker] for speaker in self.speakers)])  # where each speaker's begin

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        return loader(_Share(self, rank, world), start, stop, self.workers)

    def drawn(self, number: int) -> list[Place]:
        """Windows of the batch of a number."""
        rows = np.arange(self.rows, dtype=np.int64)
        leading = rows // self.together * self.together  # whose window decides whose windows the group's are
        whose = self._below(self._ends[-1:], number * self.rows + leading, 0)
        speaker = np.searchsorted(self._bounds, whose, side="right") - 1
        low, high = self._bounds[speaker], self._bounds[speaker + 1]
        return [self._place(int(one)) for one in low + self._below(high - low, number * self.rows + rows, 2)]

    def _below(self, bound: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], word: int) -> npt.NDArray[np.int64]:
        """Integers below a bound for each row, of two 24-bit words: one would not reach every place of an hour."""
        coarse, fine = (noise.uniforms(self.seed, _STREAM, 4 * rows + one) for one in (word, word + 1))
        made: npt.NDArray[np.int64] = np.minimum(((coarse + fine * 2.0**-24) * bound).astype(np.int64), bound - 1)
        return made

    def _place(self, number: int) -> Place:
        index = int(np.searchsorted(self._ends, number, side="right"))
        one, before = self.utterances[index], number - int(self._ends[index - 1]) if index else number
        return one, before * max(1, one.samples - self.window + 1) // one.samples

    def whole(self) -> Iterator[Batch]:
        places = list(itertools.chain.from_iterable(self._groups))
        for first in range(0, len(places) - self.rows + 1, self.rows):
            yield self.batch(places[first : first + self.rows])

    @cached_property
    def _groups(self) -> list[list[Place]]:
        """Groups of windows of one speaker each, in the order in which they come.

        Raises:
            SeqgenError: where they do not fill a batch.
        """
        groups: list[list[Place]] = []
        for _, mine in itertools.groupby(self.utterances, lambda one: one.speaker):
            places = [
                (one, start) for one in mine for start in range(0, max(1, one.samples - self.window + 1), self.window)
            ]
            groups += _cut(_shuffled(places), self.together)
        groups = _shuffled(groups)[: self.limit // self.together or None]
        if len(groups) * self.together < self.rows:
            raise SeqgenError(
                f"{self.path}: {len(groups) * self.together} windows in groups of {self.together} of one speaker, "
                f"fewer than the {self.rows} rows of a batch",
                remedy="lower train.batch_size or task.speaker_rows, raise task.held_out, or give more recordings",
            )
        return groups

    def batch(self, places: Sequence[Place]) -> Batch:
        """The windows at these places."""
        pieces = [_read(one, start, self.window) for one, start in places]
        audio = np.stack([np.pad(piece, (0, self.window - len(piece))) for piece in pieces])  # [B, T]
        return Batch(
            torch.from_numpy(audio)[..., None],
            torch.tensor([len(piece) for piece in pieces]),
            torch.tensor([self.speakers.index(one.speaker) for one, _ in places]),
            tuple(f"{one.id}:{start}" for one, start in places),
        )


@dataclass(frozen=True)
class _Share:
    """Rows ``rank::world`` of a source's batches, by number."""

    source: Windows
    rank: int
    world: int

    def __getitem__(self, number: int) -> Batch:
        return self.source.batch(self.source.drawn(number)[self.rank :: self.world])


def _read(utterance: Utterance, start: int, window: int) -> npt.NDArray[np.float32]:
    count = min(window, utterance.samples - start)
    return io.read(utterance.path, start=utterance.start + start, count=count)[0]


def _cut(items: list[ItemT], size: int) -> list[list[ItemT]]:
    """Groups of so many items in succession, whole ones alone."""
    return [items[first : first + size] for first in range(0, len(items) - size + 1, size)]


def _shuffled(items: list[ItemT]) -> list[ItemT]:
    order = np.argsort(noise.words(0, _ORDER, np.arange(len(items), dtype=np.int64)), kind="stable")
    return [items[number] for number in order]
