"""Batches of log-mel frames of recordings, functions of their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.audio import io
from seqgen.audio.features import log_mel
from seqgen.data.directory import DataDir, Utterance
from seqgen.spec import FeatureSpec
from seqgen.tasks.passes import Numbers, Passes, padded

Frames = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """B stretches of up to F frames of D bands.

    Attributes:
        x: frames one after the other, ``[B, F·D, 1]`` float32 in nats; zeros behind the end of a stretch.
        lengths: ``[B]`` int64, numbers of each stretch. ids: ``utterance:first frame``.
        index: ``[B]`` int64, numbers of the stretches among those that are learnt from; -1 of one that is held out.
    """

    x: Tensor
    lengths: Tensor
    ids: tuple[str, ...]
    index: Tensor
    skip: None = None
    cond: None = None


class FrameStretches(Passes):
    """Source of log-mel frames: recordings whole, or cut up into stretches of ``longest`` frames. All of them come in
    each pass, in another order each time; passes follow without a gap.

    Args:
        data: recordings. spec: of their frames. longest: frames of a stretch (0: recordings are whole).
        centred: whether the mean of each band over a recording is taken off. rows: of a batch. seed: of the orders.
        learnt: whether these are what is learnt from.
    """

    def __init__(
        self,
        data: DataDir,
        spec: FeatureSpec,
        *,
        longest: int,
        centred: bool,
        rows: int,
        seed: int = 0,
        learnt: bool = False,
    ) -> None:
        super().__init__(rows=rows, seed=seed)
        self.spec, self.centred, self.longest, self.learnt = spec, centred, longest, learnt
        self.utterances = tuple(data)

    @cached_property
    def stretches(self) -> list[tuple[str, Frames]]:
        """Every stretch, its id and its frames ``[F, D]``."""
        found = []
        for one in self.utterances:
            pieces = cut(frames_of(one, self.spec, centred=self.centred), self.longest)
            found += [(f"{one.id}:{start}", piece) for start, piece in pieces]
        return found

    def __len__(self) -> int:
        return len(self.stretches)

    def batch(self, numbers: Numbers) -> Batch:
        """The stretches of these numbers."""
        made = batch_of([self.stretches[number] for number in numbers])
        return replace(made, index=torch.from_numpy(numbers)) if self.learnt else made


def batch_of(stretches: Sequence[tuple[str, Frames]]) -> Batch:
    """Batch of stretches that are held out, their ids and frames ``[F, D]``."""
    flat = [frames.reshape(-1) for _, frames in stretches]
    x = padded(flat)  # [B, F·D]
    return Batch(
        torch.from_numpy(x)[..., None],
        torch.tensor([len(one) for one in flat]),
        tuple(name for name, _ in stretches),
        torch.full((len(flat),), -1),
    )


def cut(frames: Frames, longest: int) -> list[tuple[int, Frames]]:
    """Stretches of up to ``longest`` frames (0: one of all), each behind the number of its first one."""
    each = longest or len(frames)
    return [(start, frames[start : start + each]) for start in range(0, len(frames), each)]


def frames_of(utterance: Utterance, spec: FeatureSpec, *, centred: bool = False) -> Frames:
    """Log-mel frames of an utterance, ``[F, D]`` nats; ``centred`` ones less the mean of each band."""
    audio, _ = io.read(utterance.path, start=utterance.start, count=utterance.samples)
    return frames_of_audio(audio, spec, centred=centred)


def frames_of_audio(audio: npt.NDArray[np.float32], spec: FeatureSpec, *, centred: bool) -> Frames:
    """Log-mel frames of samples ``[N]``, as :func:`frames_of` an utterance."""
    frames = log_mel(audio, spec)
    return frames - frames.mean(axis=0) if centred else frames


def count_stretches(data: DataDir, spec: FeatureSpec, longest: int) -> int:
    """Stretches that recordings have, by their lengths alone."""
    return sum(-(-spec.frames(one.samples) // longest) if longest else 1 for one in data)
