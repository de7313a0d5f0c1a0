"""Batches of recordings with the tokens that are spoken in them, functions of their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from seqgen.data.directory import Utterance
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec
from seqgen.tasks.alignment.transcripts import Transcript
from seqgen.tasks.features.batches import Frames, frames_of
from seqgen.tasks.passes import Numbers, Passes, padded


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


class SpokenRecordings(Passes):
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
        super().__init__(rows=rows, seed=seed)
        self.utterances, self.transcripts, self.spec = tuple(utterances), transcripts, spec
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

    def __len__(self) -> int:
        return len(self.utterances)

    def batch(self, numbers: Numbers) -> Batch:
        """The recordings of these numbers."""
        ids = tuple(self.utterances[number].id for number in numbers)
        frames, given = [self.frames[number] for number in numbers], [self.transcripts[name] for name in ids]
        return Batch(
            torch.from_numpy(padded(frames)),
            torch.tensor([len(one) for one in frames]),
            torch.from_numpy(padded([np.array(one.tokens) for one in given])),
            torch.tensor([len(one.tokens) for one in given]),
            torch.from_numpy(padded([np.array(one.optional) for one in given])),
            ids,
        )
