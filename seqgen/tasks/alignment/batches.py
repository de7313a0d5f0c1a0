"""Batches of recordings with the tokens that are spoken in them, functions of their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.data.directory import Utterance
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec
from seqgen.tasks.alignment.transcripts import Transcript
from seqgen.tasks.features.batches import Frames, frames_of
from seqgen.tasks.turns import passes
from seqgen.train.batch import rows
from seqgen.train.source import Source


@dataclass(frozen=True)
class Batch:
    """B recordings of up to T frames of D bands, with up to N tokens.

    Attributes:
        x: ``[B, T, D]`` float32 in nats; zeros behind a recording's end.
        lengths: ``[B]`` int64, frames of each. tokens: int64 ``[B, N]``. counts: ``[B]``, tokens of each.
        optional: bool ``[B, N]``, which tokens need not be there. ids: of the utterances.
    """

    x: Tensor
    lengths: Tensor
    tokens: Tensor
    counts: Tensor
    optional: Tensor
    ids: tuple[str, ...]


class SpokenRecordings(Source):
    """Source of recordings with their transcripts, whole. Passes follow without a gap, each in another order.

    Args:
        utterances: recordings. transcripts: of each, by its id. spec: of the frames. rows: of a batch. seed: of the
            orders.

    Raises:
        SeqgenError: for a recording with fewer frames than its transcript has phones.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        transcripts: Mapping[str, Transcript],
        spec: FeatureSpec,
        *,
        rows: int,
        seed: int = 0,
    ) -> None:
        self.utterances, self.transcripts, self.spec = tuple(utterances), transcripts, spec
        self.rows, self.seed = rows, seed
        for one in self.utterances:
            frames, needed = spec.frames(one.samples), sum(not free for free in transcripts[one.id].optional)
            if frames < max(needed, 1):
                raise SeqgenError(
                    f"'{one.id}' has {frames} frames for the {needed} tokens of its transcript '{one.text[:60]}'",
                    remedy="correct the transcript, or leave the recording out",
                )

    @cached_property
    def frames(self) -> list[Frames]:
        """Frames of every recording, ``[T, D]``."""
        return [frames_of(one, self.spec) for one in self.utterances]

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        for chosen in passes(len(self.utterances), self.rows, seed=self.seed, start=start, stop=stop):
            yield rows(self.batch(chosen), rank, world)  # padded as the whole batch is

    def whole(self) -> Iterator[Batch]:
        numbers = np.arange(len(self.utterances))
        return (self.batch(numbers[first : first + self.rows]) for first in range(0, len(numbers), self.rows))

    def batch(self, numbers: npt.NDArray[np.int64]) -> Batch:
        """The recordings of these numbers."""
        ids = tuple(self.utterances[number].id for number in numbers)
        frames, given = [self.frames[number] for number in numbers], [self.transcripts[name] for name in ids]
        return Batch(
            torch.from_numpy(_padded(frames)),
            torch.tensor([len(one) for one in frames]),
            torch.from_numpy(_padded([np.array(one.tokens) for one in given])),
            torch.tensor([len(one.tokens) for one in given]),
            torch.from_numpy(_padded([np.array(one.optional) for one in given])),
            ids,
        )


def _padded(arrays: Sequence[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
    """Arrays ``[n, …]`` side by side, zeros behind the end of each."""
    longest = max(map(len, arrays))
    return np.stack([np.pad(one, ((0, longest - len(one)), *((0, 0),) * (one.ndim - 1))) for one in arrays])
