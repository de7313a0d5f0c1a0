"""WORLD: a recording taken apart into pitch, envelope and aperiodicity, and put together of those, without learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.audio.pitch import HIGHEST, HOP_SECONDS, LOWEST


def copy_synthesis(audio: npt.NDArray[Any], rate: int) -> npt.NDArray[np.float32]:
    """Recording taken apart and put together again by WORLD: what a signal model keeps of it.

    Pitch by Harvest (60 to 600 Hz), envelope by CheapTrick, aperiodicity by D4C, every 5 ms; synthesis from pulses and
    noise with minimum phase. A yardstick beside Griffin–Lim: it sees the recording itself, not a vocoder's features.

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

    x = np.ascontiguousarray(audio, np.float64)
    period = 1000 * HOP_SECONDS
    hz, times = pyworld.harvest(x, rate, f0_floor=LOWEST, f0_ceil=HIGHEST, frame_period=period)
    envelope = pyworld.cheaptrick(x, hz, times, rate, f0_floor=LOWEST)
    aperiodicity = pyworld.d4c(x, hz, times, rate, fft_size=2 * (envelope.shape[1] - 1))
    made = pyworld.synthesize(hz, envelope, aperiodicity, rate, period)
    return np.pad(made[: x.size], (0, max(0, x.size - made.size))).astype(np.float32)
