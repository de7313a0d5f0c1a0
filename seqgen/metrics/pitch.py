"""Errors of fundamental frequency and voicing: whether a resynthesis keeps the melody."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.audio.pitch import LOWEST, Track, f0
from seqgen.metrics.pair import aligned

SHORTEST = 2 / LOWEST
"""Seconds of the shortest utterance that has a pitch: two periods of the lowest voice."""


class F0Errors(NamedTuple):
    """Errors of pitch: ``log_f0_rmse`` in nats (0.0578 is a semitone; NaN without a common voiced frame), ``vuv_error``
    in [0, 1]."""

    log_f0_rmse: float
    vuv_error: float


def f0_errors(
    reference: npt.NDArray[Any],
    synthetic: npt.NDArray[Any],
    rate: int,
    tracker: Callable[[npt.NDArray[Any], int], Track] = f0,
) -> F0Errors:
    """Root-mean-square error of ln F0 over frames voiced in both, and the share of frames whose voicing differs.

    Octave errors are kept: they are heard. Both pitch tracks come from one tracker, every 5 ms.

    Args:
        reference, synthetic: ``[N]``; the longer is trimmed. rate: Hz.
        tracker: :func:`seqgen.audio.pitch.f0` or :func:`seqgen.audio.pitch.harvest`.
    """
    first, second = aligned(reference, synthetic)
    (hz, voiced), (other_hz, other_voiced) = (_tracked(tracker, one.tobytes(), rate) for one in (first, second))
    both = voiced & other_voiced
    rmse = float(np.sqrt(np.square(np.log(hz[both] / other_hz[both])).mean())) if both.any() else math.nan
    return F0Errors(rmse, float((voiced != other_voiced).mean()))


@functools.lru_cache(maxsize=4)  # a recording is compared with several resyntheses of it, one after the other
def _tracked(tracker: Callable[[npt.NDArray[Any], int], Track], samples: bytes, rate: int) -> Track:
    return tracker(np.frombuffer(samples, np.float64), rate)
