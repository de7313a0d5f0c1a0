"""WORLD: a recording taken apart into pitch, envelope and aperiodicity, and put together of those, without learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.audio.pitch import HIGHEST, HOP_SECONDS, LOWEST
from seqgen.audio.resample import resample

# D4C compares powers up to 7.9 kHz; of sound without such frequencies it would read memory that nobody wrote.
_LEAST = 16_000


def copy_synthesis(audio: npt.NDArray[Any], rate: int) -> npt.NDArray[np.float32]:
    """Recording taken apart and put together again by WORLD: what a signal model keeps of it.

    Pitch by Harvest (60 to 600 Hz), envelope by CheapTrick, aperiodicity by D4C, every 5 ms; synthesis from pulses and
    noise with minimum phase; all of it at a multiple of the rate, from 16 kHz on. A yardstick beside Griffin–Lim: it
    sees the recording itself, not a vocoder's features.

    Args:
        audio: ``[N]``. rate: Hz.

    Returns:
        float32 ``[N]``, aligned with the recording. Deterministic.

    Source: Morise, Yokomori & Ozawa 2016, "WORLD: a vocoder-based high-quality speech synthesis system for real-time
    applications"; the authors' implementation, by pyworld.

    Example:
        >>> copy_synthesis(np.zeros(800), 8000).shape
        (800,)
    """
    import pyworld

    within = rate * -(-_LEAST // rate)
    x = np.ascontiguousarray(resample(audio, rate, within), np.float64)
    period = 1000 * HOP_SECONDS
    hz, times = pyworld.harvest(x, within, f0_floor=LOWEST, f0_ceil=HIGHEST, frame_period=period)
    envelope = pyworld.cheaptrick(x, hz, times, within, f0_floor=LOWEST)
    aperiodicity = pyworld.d4c(x, hz, times, within, fft_size=2 * (envelope.shape[1] - 1))
    made = resample(pyworld.synthesize(hz, envelope, aperiodicity, within, period), within, rate)[: len(audio)]
    return np.pad(made, (0, len(audio) - len(made))).astype(np.float32)
