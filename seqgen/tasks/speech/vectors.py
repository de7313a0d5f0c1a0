"""Recordings in short, as vectors of one length."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from seqgen.audio import io
from seqgen.audio.features import log_mel
from seqgen.data.directory import Utterance
from seqgen.spec import FeatureSpec

_WINDOW, _HOP, _BANDS, _FLOOR = 0.032, 0.016, 20, 1e-3  # seconds, seconds, bands, magnitude
_PARTS = 4


def summary(utterance: Utterance) -> npt.NDArray[np.float32]:
    """Log-mel frames of a recording in the mean over each of its quarters, ``[4 · 20]`` nats."""
    audio, rate = io.read(utterance.path, start=utterance.start, count=utterance.samples)
    window, hop = (2 * round(seconds * rate / 2) for seconds in (_WINDOW, _HOP))
    size = max(512, 1 << (window - 1).bit_length())
    frames = log_mel(audio, FeatureSpec(rate, size, window, hop, _BANDS, floor=_FLOOR))  # [F, bands]
    edges = np.linspace(0, len(frames), _PARTS + 1)
    parts = [frames[int(first) : max(int(last), int(first) + 1)] for first, last in pairwise(edges)]
    return np.concatenate([part.mean(axis=0) for part in parts])
