"""Fundamental frequency of speech, for evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.audio import compiled

LOWEST, HIGHEST = 60.0, 600.0
"""Range searched in Hz: men's creak to children's shouts."""
HOP_SECONDS = 0.005
# Pitch candidates per 0.2 semitone: five times finer than the errors that matter, and 3x faster than librosa's 0.1.
_RESOLUTION = 0.2


Track = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]


def f0(audio: npt.NDArray[Any], rate: int) -> Track:
    """Fundamental frequency and voicing every 5 ms by probabilistic YIN (librosa's, Viterbi-smoothed).

    Costs about 0.15 s per second of audio on one core. Pitch is quantised to 0.2 semitones.

    Args:
        audio: ``[N]``.
        rate: Hz, at least 2400.

    Returns:
        Hz ``[1 + N // hop]``, 0 where unvoiced, and a boolean voicing of the same length; frame ``i`` is centred on
        sample ``i · hop``, ``hop = round(0.005 · rate)``. Digital silence is unvoiced.

    Source: Mauch & Dixon 2014, "pYIN: a fundamental frequency estimator using probabilistic threshold distributions".

    Example:
        >>> hz, voiced = f0(np.sin(2 * np.pi * 200 * np.arange(16000) / 16000), 16000)
    """
    librosa = compiled.librosa()

    x = np.asarray(audio, np.float64)
    hop = round(HOP_SECONDS * rate)
    if not x.any():
        frames = 1 + x.size // hop
        return np.zeros(frames), np.zeros(frames, bool)
    length = 1 << int(np.ceil(np.log2(2 * rate / LOWEST)))
    hz, voiced, _ = librosa.pyin(
        x,
        fmin=LOWEST,
        fmax=HIGHEST,
        sr=rate,
        frame_length=length,
        hop_length=hop,
        resolution=_RESOLUTION,
        fill_na=0.0,
    )
    return np.where(voiced, hz, 0.0), np.asarray(voiced, bool)


def harvest(audio: npt.NDArray[Any], rate: int) -> Track:
    """Fundamental frequency and voicing every 5 ms by Harvest, WORLD's tracker: candidates from many band-pass filters,
    refined by instantaneous frequency.

    It shares nothing with :func:`f0` but the range of pitch, so a fault of one tracker shows where they disagree.

    Args:
        audio: ``[N]``. rate: Hz.

    Returns:
        As :func:`f0`, not quantised.

    Source: Morise 2017, "Harvest: a high-performance fundamental frequency estimator from speech signals".

    Example:
        >>> hz, voiced = harvest(np.sin(2 * np.pi * 200 * np.arange(16000) / 16000), 16000)
    """
    import pyworld

    x = np.ascontiguousarray(audio, np.float64)
    hz, _ = pyworld.harvest(x, rate, f0_floor=LOWEST, f0_ceil=HIGHEST, frame_period=1000 * HOP_SECONDS)
    return hz, hz > 0


def frame_pitch(track: Track, frames: int, hop: int, rate: int) -> npt.NDArray[np.float64]:
    """Pitch in octaves, ``log2 Hz``, at the middle of each frame of ``hop`` samples, ``[frames]``; NaN where the track
    is unvoiced, or has ended.

    Example:
        >>> frame_pitch((np.array([0.0, 128.0, 256.0, 0.0]), np.array([False, True, True, False])), 3, 80, 8000)
        array([ 7., nan, nan])
    """
    hz, voiced = track
    places = np.rint((np.arange(frames) + 0.5) * hop / round(HOP_SECONDS * rate)).astype(np.int64)
    inside = places < len(hz)
    places = np.minimum(places, len(hz) - 1)
    heard = voiced[places] & inside
    return np.where(heard, np.log2(np.where(heard, hz[places], 1.0)), np.nan)
