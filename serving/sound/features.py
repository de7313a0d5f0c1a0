"""Feature extraction for a voice: audio or features pushed block by block, log-mel frames out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soxr

from seqgen.audio.features import MelStream
from seqgen.audio.io import RATES
from seqgen.audio.resample import resampled_length
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec

Frames = npt.NDArray[np.float32]


class FeatureExtractor(Protocol):
    """Streaming extractor of log-mel frames ``[F, bands]``, which counts the samples that the voice owes for them."""

    @property
    def samples(self) -> int:
        """Samples owed for what was pushed so far, at the voice's rate."""

    def push(self, block: npt.NDArray[Any]) -> Frames:
        """Frames that are complete now (often none)."""

    def finish(self) -> Frames:
        """Frames still owed at the end."""


def feature_extractor(spec: FeatureSpec, rate: int | None) -> FeatureExtractor:
    """Feature extractor for audio at ``rate`` Hz, or for frames where ``rate`` is ``None``.

    Raises:
        SeqgenError: for a rate outside ``seqgen.audio.io.RATES``.
    """
    return FrameValidator(spec) if rate is None else AudioFeatureExtractor(spec, rate)


def require_rate(rate: int) -> None:
    """Refuse audio at a rate outside ``seqgen.audio.io.RATES``.

    Raises:
        SeqgenError: naming those that are taken.
    """
    if rate not in RATES:
        raise SeqgenError(f"unsupported sample rate {rate} Hz", remedy=f"choose {RATES[0]} to {RATES[-1]} Hz")


class AudioFeatureExtractor:
    """Log-mel extractor of audio at any rate, resampled to the voice's; the same frames however the audio was cut."""

    def __init__(self, spec: FeatureSpec, rate: int) -> None:
        require_rate(rate)
        self._spec, self._rate, self._taken = spec, rate, 0
        self._mel = MelStream(spec)
        self._state = self._mel.init()
        same = rate == spec.sample_rate
        self._resampler = None if same else soxr.ResampleStream(rate, spec.sample_rate, 1, dtype="float32")

    @property
    def samples(self) -> int:
        return resampled_length(self._taken, self._rate, self._spec.sample_rate)

    def push(self, block: npt.NDArray[Any]) -> Frames:
        audio = np.asarray(block, np.float32)
        if audio.ndim != 1:
            raise SeqgenError(f"expected mono audio [N], got shape {audio.shape}", remedy="mix the channels down")
        if not np.isfinite(audio).all():
            first = self._taken + int(np.argmin(np.isfinite(audio)))
            raise SeqgenError(f"NaN or infinity at sample {first}", remedy="export the recording again")
        self._taken += len(audio)
        if self._resampler is not None:
            audio = self._resampler.resample_chunk(audio)
        frames, self._state = self._mel.push(self._state, audio)
        return frames

    def finish(self) -> Frames:
        frames = np.zeros((0, self._spec.bands), np.float32)
        if self._resampler is not None:
            tail = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            # The resampler rounds the length; the voice owes a sample for every one begun.
            missing = self.samples - self._state.samples
            tail = tail[:missing] if len(tail) >= missing else np.pad(tail, (0, missing - len(tail)))
            frames, self._state = self._mel.push(self._state, tail)
        return np.concatenate([frames, self._mel.flush(self._state)])


class FrameValidator:
    """Extractor that passes frames on as they are, once they are checked."""

    def __init__(self, spec: FeatureSpec) -> None:
        self._spec, self._taken = spec, 0

    @property
    def samples(self) -> int:
        return self._taken * self._spec.hop

    def push(self, block: npt.NDArray[Any]) -> Frames:
        frames = np.asarray(block, np.float32)
        if frames.ndim != 2 or frames.shape[1] != self._spec.bands:
            raise SeqgenError(
                f"expected frames [F, {self._spec.bands}], got shape {frames.shape}",
                remedy="prepare the features with the voice's own parameters",
            )
        if not np.isfinite(frames).all():
            first = self._taken + int(np.argmin(np.isfinite(frames).all(axis=1)))
            raise SeqgenError(f"NaN or infinity in frame {first}", remedy="make the features again")
        self._taken += len(frames)
        return frames

    def finish(self) -> Frames:
        return np.zeros((0, self._spec.bands), np.float32)
