"""Intelligibility of speech as STOI predicts it."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.metrics.pair import aligned

_REPEATS = 16
_STRETCH = 0.3968  # seconds that 30 frames of 25.6 ms cover, each half over the next: pystoi needs more than that
SHORTEST = 0.4096 / _REPEATS
"""Seconds of the shortest utterance that has an index."""


def stoi(reference: npt.NDArray[Any], synthetic: npt.NDArray[Any], rate: int) -> float:
    """Short-time objective intelligibility, about 0 (nothing) to 1 (as the reference), by ``pystoi``.

    pystoi works at 10 kHz and compares stretches of 0.39 s of speech. A shorter utterance (a spoken digit) is
    repeated, both waveforms alike, until one such stretch exists; that is an approximation of ours, and identity
    still gives 1. At 8 kHz the topmost third-octave band lies partly above the signal's band.

    Args:
        reference, synthetic: ``[N]``; the longer is trimmed. rate: Hz.

    Returns:
        The index; NaN where the reference holds no speech (digital silence) or is shorter than :data:`SHORTEST`.

    Source: Taal et al. 2011, "An algorithm for intelligibility prediction of time-frequency weighted noisy speech".
    """
    import pystoi  # type: ignore[import-untyped]

    first, second = aligned(reference, synthetic)
    if not first.any():
        return math.nan
    repeats = 1
    while repeats <= _REPEATS:
        if repeats * len(first) < _STRETCH * rate:
            repeats *= 2
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                return float(pystoi.stoi(np.tile(first, repeats), np.tile(second, repeats), rate))
            except RuntimeWarning:  # pystoi's way of saying that too few frames hold speech
                repeats *= 2
    return math.nan
