"""Batches of recordings whose phones have their times, functions of their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen import noise
from seqgen.data.ctm import Stretch
from seqgen.data.directory import DataDir, Utterance
from seqgen.errors import SeqgenError
from seqgen.generation.spoken import Phones
from seqgen.spec import FeatureSpec
from seqgen.tasks.features.batches import Frames, frames_of
from seqgen.tasks.passes import Numbers, Passes, padded

Floats = npt.NDArray[np.float64]
Target = Literal["frames", "prosody"]
_VOICED = 0.25  # mean squared clarity of a phone from which on it has a pitch
_HALF_STEP = 2.0**-25  # uniforms are multiples of 2^-24, from 0 on


@dataclass(frozen=True)
class Batch:
    """B recordings.

    Attributes:
        x: what is learnt, ``[B, T, 1]`` float32: log-mel bands of all frames one after the other, or of each phone the
            logarithm of its frames (:func:`dequantised`), its pitch and its loudness (:func:`manner`); zeros behind a
            row's end.
        lengths: ``[B]``, numbers of each row.
        cond: the phones and their prosody. ids: of the utterances.
    """

    x: Tensor
    lengths: Tensor
    cond: Phones
    ids: tuple[str, ...]
    skip: None = None


class TimedRecordings(Passes):
    """Source of recordings with the times of their phones. Passes follow without a gap, each in another order.

    Args:
        data: recordings. times: the phones of each, by its id. numbers: of the phones, by name.
        spec: of the frames. target: what is learnt. rows: of a batch. seed: of the orders.

    Raises:
        SeqgenError: for a recording without times, for a phone of another alphabet, and for times of other frames.
    """

    def __init__(
        self,
        data: DataDir,
        times: Mapping[str, Sequence[Stretch]],
        numbers: Mapping[str, int],
        spec: FeatureSpec,
        *,
        target: Target,
        rows: int,
        seed: int = 0,
    ) -> None:
        super().__init__(rows=rows, seed=seed)
        self.data, self.spec, self.target = data, spec, target
        self.spoken = [_spoken(one, times.get(one.id, ()), numbers, spec) for one in self.data]

    @cached_property
    def heard(self) -> list[tuple[Frames, Floats]]:
        """Numbers that are learnt of every recording, flat, and the manner of its phones."""
        return [self._heard(one, durations) for one, (_, durations) in zip(self.data, self.spoken, strict=True)]

    def _heard(self, one: Utterance, durations: Numbers) -> tuple[Frames, Floats]:
        frames = frames_of(one, replace(self.spec, pitch=True))
        told = manner(frames, durations, self.spec)
        if self.target == "frames":
            return frames[:, : self.spec.bands].reshape(-1), told
        return np.column_stack([dequantised(durations, one.id), told]).astype(np.float32).reshape(-1), told

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, numbers: Numbers) -> Batch:
        """The recordings of these numbers."""
        x, manners = zip(*(self.heard[number] for number in numbers), strict=True)
        tokens, durations = zip(*(self.spoken[number] for number in numbers), strict=True)
        return Batch(
            torch.from_numpy(padded(x))[..., None],
            torch.tensor([len(one) for one in x]),
            phones_of(tokens, durations, manners),
            tuple(self.data[number].id for number in numbers),
        )


def dequantised(durations: Numbers, name: str) -> npt.NDArray[np.float32]:
    """``ln(d - ½ + u)`` of so many frames, u uniform and always the same for a name: of whole numbers themselves a
    density could be as high as it likes."""
    u = noise.block(0, noise.name_to_stream(f"seqgen.durations.{name}"), 0, len(durations))
    made: npt.NDArray[np.float32] = np.log(durations - 0.5 + u + _HALF_STEP).astype(np.float32)
    return made


def manner(frames: Frames, durations: Numbers, spec: FeatureSpec) -> Floats:
    """Pitch and loudness of each phone, of frames that tell their pitch.

    The pitch of a phone, from 0 (60 Hz) to 1 (600 Hz), is the mean of its frames', the clearer ones counting more; of
    one that is hardly voiced it lies on a line between the voiced phones around it, and is 0 where none is. The
    loudness is the mean of all bands of its frames, 0 where they are silent and 1 at full scale.

    Shapes: ``[F, n_mels + 2], [N] → [N, 2]``.
    """
    heard = 1 - frames.astype(np.float64) / spec.silence
    weighed, clarity = heard[:, spec.n_mels], heard[:, spec.n_mels + 1]
    each = np.stack([weighed, np.square(clarity), heard[:, : spec.n_mels].mean(axis=1)], axis=1)
    pitch, certainty, loud = phone_means(each, durations).T
    voiced = np.flatnonzero(certainty > _VOICED)
    line = np.zeros(len(pitch))
    if voiced.size:
        line = np.interp(np.arange(len(pitch)), voiced, pitch[voiced] / certainty[voiced])
    return np.stack([line, loud], axis=1)


def phone_means(values: Floats, durations: Numbers) -> Floats:
    """Means of frames' values over each phone, ``[F, M] → [N, M]``.

    Example:
        >>> phone_means(np.array([[1.0], [3.0], [5.0]]), np.array([2, 1])).tolist()
        [[2.0], [5.0]]
    """
    sums = np.add.reduceat(values, np.cumsum(durations) - durations, axis=0)
    made: Floats = sums / durations[:, None]
    return made


def phones_of(tokens: Sequence[Numbers], durations: Sequence[Numbers], manners: Sequence[Floats]) -> Phones:
    """Phones of some rows, as networks read them."""
    counts = torch.tensor([len(one) for one in tokens])
    told = padded([one.astype(np.float32) for one in manners])
    return Phones(torch.from_numpy(padded(tokens)), counts, torch.from_numpy(padded(durations)), torch.from_numpy(told))


def _spoken(
    one: Utterance, times: Sequence[Stretch], numbers: Mapping[str, int], spec: FeatureSpec
) -> tuple[Numbers, Numbers]:
    """Tokens of an utterance and how many frames each has."""
    unknown = [stretch.label for stretch in times if stretch.label not in numbers]
    if unknown or not times:
        problem = f"'{one.id}' has the phone '{unknown[0]}'" if unknown else f"'{one.id}' has no times of phones"
        raise SeqgenError(problem, remedy="align the recordings with `seqgen align`, and give its folder")
    seconds = spec.hop / spec.sample_rate
    ends = np.rint([(stretch.start + stretch.duration) / seconds for stretch in times]).astype(np.int64)
    durations, frames = np.diff(ends, prepend=0), spec.frames(one.samples)
    if ends[-1] != frames or durations.min() < 1:
        raise SeqgenError(
            f"'{one.id}' has {frames} frames, the times of its phones end at frame {ends[-1]}",
            remedy="align with the same hop, so that every phone has a frame",
        )
    return np.array([numbers[stretch.label] for stretch in times]), durations
