"""Changing the sample rate of a waveform: whole, or block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from seqgen.audio.io import RATES
from seqgen.errors import SeqgenError


def _check(*rates: int) -> None:
    for rate in rates:
        if rate not in RATES:
            raise SeqgenError(
                f"unsupported sample rate {rate} Hz", remedy=f"choose a whole number from {RATES[0]} to {RATES[-1]} Hz"
            )


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """Samples after resampling: ``ceil(samples · to_rate / from_rate)``."""
    return -(-samples * to_rate // from_rate)


def resample(audio: npt.NDArray[Any], from_rate: int, to_rate: int) -> npt.NDArray[np.float32]:
    """Resample a waveform with the SoX resampler (linear phase, no delay).

    Args:
        audio: ``[N]``. from_rate, to_rate: Hz.

    Returns:
        float32 ``[resampled_length(N)]``. Peaks between samples may exceed full scale slightly.

    Raises:
        SeqgenError: for a rate outside ``seqgen.audio.io.RATES``.

    Example:
        >>> resample(np.zeros(8000, np.float32), 8000, 22050).shape
        (22050,)
    """
    _check(from_rate, to_rate)
    x = np.asarray(audio, np.float32)
    if from_rate == to_rate:
        return x
    return _fit(
        np.asarray(soxr.resample(x, from_rate, to_rate), np.float32), resampled_length(x.size, from_rate, to_rate)
    )


def resample_blocks(
    audio: Iterable[npt.NDArray[Any]], from_rate: int, to_rate: int
) -> Iterator[npt.NDArray[np.float32]]:
    """As :func:`resample`, over successive blocks in constant memory; the blocks given out vary in length.

    Raises:
        SeqgenError: for a rate outside ``seqgen.audio.io.RATES``.
    """
    _check(from_rate, to_rate)
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32")
    taken = given = 0
    for block in audio:
        out = stream.resample_chunk(np.asarray(block, np.float32))
        taken, given = taken + len(block), given + len(out)
        if len(out):
            yield out
    yield _fit(
        stream.resample_chunk(np.zeros(0, np.float32), last=True), resampled_length(taken, from_rate, to_rate) - given
    )


def _fit(audio: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.float32]:
    # soxr rounds the length to the nearest sample; the promise is to cover the last input sample.
    return np.pad(audio, (0, length - audio.size))
