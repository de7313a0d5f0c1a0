"""Detection of the watermark of synthetic speech, by its key alone, with a proven rate of false alarms.

The spectrum's ripple at the echoes' lags is taken every ``HOP_MS``, freed of what changes slowly with frequency or
time, which is speech, and weighed for each chip and echo: numbers ``a[j, k]`` that know nothing of the key. Then for
every place at which the sequence of signs may begin

    score = Σ s[j, k] a[j, k] / sqrt(Σ a[j, k]²)

A recording without the mark knows nothing of the signs, so they are fair coins to it, and whatever the recording is,
``P(score ≥ x) ≤ c Q(x)`` with ``c = 1 / (4 Q(√2)) = 3.18`` and ``Q`` the tail of the standard normal distribution.
Multiplied by the places that are tried, that is the probability of a false alarm in a recording.

Source of the bound: Bentkus and Dzindzalieta, A tight Gaussian bound for weighted sums of Rademacher random variables,
Bernoulli 21 (2015), theorem 1.1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.audio.resample import resample
from seqgen.audio.watermark import CHIP_MS, LAGS, PERIOD, PUBLIC_KEY, Reals, chips, rise
from seqgen.errors import SeqgenError

FALSE_ALARMS = 1e-6
"""Probability of a false alarm in a recording, at the threshold."""
HOP_MS = 5
_RATE = 16_000  # Hz at which it is looked for
_WINDOW, _POINTS = 384, 1024  # samples of a frame, and of its transform
_BAND = 150.0, 7600.0  # Hz
_SMOOTH = 0.5e-3  # seconds: what a spectrum has of shorter lags is the vocal tract's
_SLOW = 41  # frames over which what changes slowly is averaged
_FLOOR = 1e-5  # of the power of loud frames: below it nothing is to be heard
_ROUNDING = 1e-9  # nepers: of a sound that does not change
_LARGE = 2.0  # usual deviations from which a number counts for less than it is
_HOP = _RATE * HOP_MS // 1000  # samples between two frames
_STEPS = CHIP_MS // HOP_MS  # frames of a chip
_PIECE = 2 * PERIOD * _STEPS  # frames of a piece that is also looked at alone
_BOUND = 1 / (2 * math.erfc(1))


@dataclass(frozen=True, slots=True)
class Detection:
    """Finding about a recording.

    Attributes:
        present: whether it bears the mark. score: the highest, in standard deviations of an unmarked recording.
        threshold: score from which the mark is there, by ``FALSE_ALARMS`` and the recording's length.
        false_alarm: probability, at most, of such a score in such a recording without the mark.
        start, stop: seconds between which it was highest.
    """

    present: bool
    score: float
    threshold: float
    false_alarm: float
    start: float
    stop: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """Stretch of a recording: what there is to be seen of each chip of a mark, whatever its key.

    Attributes:
        start, stop: seconds. folded: by where a period may begin, in steps of ``HOP_MS``, and echo, ``[J, K]``.
    """

    start: float
    stop: float
    folded: Reals


def detect(audio: npt.NDArray[Any], rate: int, key: int = PUBLIC_KEY) -> Detection:
    """Finding about sound ``[N]`` at ``rate`` Hz: whether it bears the mark of a key.

    The whole is looked at, and each piece of some ten seconds, so that speech among other sound is found.

    Raises:
        SeqgenError: for no samples, NaN or infinity, or a rate outside ``seqgen.audio.io.RATES``.

    Example:
        >>> detect(np.zeros(16000), 16000).present
        False
    """
    return judged(stretches(audio, rate), key)


def judged(seen: Sequence[Stretch], key: int = PUBLIC_KEY) -> Detection:
    """Finding by the stretches of a recording, each of which has its chance of a false alarm."""
    highest = [float(scores(stretch.folded, chips(key)).max()) for stretch in seen]
    best = int(np.argmax(highest))
    trials = len(highest) * PERIOD * _STEPS
    threshold = -NormalDist().inv_cdf(FALSE_ALARMS / (_BOUND * trials))
    chance = min(1.0, trials * _BOUND * math.erfc(highest[best] / math.sqrt(2)) / 2)
    there = seen[best]
    return Detection(highest[best] >= threshold, highest[best], threshold, chance, there.start, there.stop)


def stretches(audio: npt.NDArray[Any], rate: int) -> list[Stretch]:
    """Stretches of sound ``[N]`` at ``rate`` Hz: its pieces, and the whole where there are several.

    Raises:
        SeqgenError: as :func:`detect`.
    """
    sound = np.asarray(audio, np.float32)
    if not len(sound):
        raise SeqgenError("a recording of 0 samples has no mark to look for", remedy="give one with sound")
    if not np.isfinite(sound).all():
        raise SeqgenError("the recording holds NaN or infinity", remedy="write it again as 16-bit samples")
    sound = resample(sound / (np.abs(sound).max() or 1.0), rate, _RATE)
    seconds, frames = len(sound) / _RATE, -(-len(sound) // _HOP)
    sound = np.pad(sound, (_WINDOW // 2, _WINDOW))
    # The last piece is at least half as long as the others, where there are several.
    edges = [*range(0, max(1, frames - _PIECE // 2), _PIECE), frames]
    made = []
    for start, stop in itertools.pairwise(edges):
        weighed = _weighed(_ripple(sound[start * _HOP : (stop - 1) * _HOP + _WINDOW]))
        made.append(Stretch(start * HOP_MS / 1000, min(seconds, stop * HOP_MS / 1000), _folded(weighed)))
    if len(made) > 1:
        made.append(Stretch(0.0, seconds, np.sum([one.folded for one in made], axis=0)))
    return made


@lru_cache(maxsize=1)
def _projection() -> tuple[slice, Reals]:
    """Bins of the band, and what gives the ripple of their log magnitudes, ``[F, K]``."""
    frequencies = np.fft.rfftfreq(_POINTS, 1 / _RATE)
    first, last = np.searchsorted(frequencies, _BAND)
    angles = 2 * np.pi * frequencies[first:last, None]
    slow = np.arange(0, _SMOOTH, 1 / _RATE) * angles
    smooth, _ = np.linalg.qr(np.concatenate([np.cos(slow), np.sin(slow[:, 1:])], axis=1))
    ripple = np.cos(angles * LAGS)
    return slice(first, last), (ripple - smooth @ (smooth.T @ ripple)) * (2 / (last - first))


def _ripple(sound: npt.NDArray[np.float32]) -> Reals:
    """Ripple of each frame's spectrum at the echoes' lags, ``[T, K]``."""
    band, projection = _projection()
    frames = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW + 1)[:_WINDOW], _POINTS)[:, band]) ** 2  # [T, F]
    # What is hardly louder than the pauses is noise that came after the mark.
    floor = _FLOOR * np.percentile(power.mean(axis=1), 90) + np.percentile(power, 10, axis=0)
    made: Reals = 0.5 * np.log(power + floor + np.finfo(np.float64).tiny) @ projection
    return made


def _weighed(ripple: Reals) -> Reals:
    """Ripple ``[T, K]`` against a chip that begins at each frame, or before, as far as it reaches, ``[J, K]``."""
    fast = ripple - _averaged(ripple)
    size = np.abs(fast)
    fast[size < _ROUNDING] = 0
    heard = [column[column > _ROUNDING] for column in size.T]
    usual = np.array([np.median(column) if len(column) else 1.0 for column in heard]) / 0.6745
    scaled = fast / usual
    limited = scaled / np.sqrt(1 + (scaled / _LARGE) ** 2)
    up = rise(np.arange(_STEPS) / _STEPS)
    pulse = np.pad(np.concatenate([up, 1 - up]), _SLOW)[:, None]
    pulse = (pulse - _averaged(pulse))[:, 0]
    made = np.stack([np.convolve(column, pulse[::-1]) for column in limited.T], axis=1)
    return made


def _averaged(columns: Reals) -> Reals:
    """Running average of columns ``[T, K]``, the ends held."""
    window = np.hanning(_SLOW + 2)[1:-1]
    held = np.pad(columns, ((_SLOW // 2, _SLOW // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, window / window.sum(), "valid") for column in held.T], axis=1)


def _folded(weighed: Reals) -> Reals:
    """Evidence of chips that are the same in every period added up, ``[PERIOD · steps, K]``."""
    whole = PERIOD * _STEPS
    rows = -(-len(weighed) // whole)
    padded = np.pad(weighed, ((0, rows * whole - len(weighed)), (0, 0)))
    made: Reals = padded.reshape(rows, whole, -1).sum(axis=0)
    return made


def scores(folded: Reals, signs: Reals) -> Reals:
    """Score of every place at which the sequence of signs may begin, ``[steps, PERIOD]``."""
    known = np.conj(np.fft.rfft(signs, axis=0))
    made = np.zeros((_STEPS, PERIOD))
    for step in range(_STEPS):
        own = folded[step::_STEPS]  # [PERIOD, K]
        size = math.sqrt(float((own**2).sum()))
        if size > 0:
            made[step] = np.fft.irfft((np.fft.rfft(own, axis=0) * known).sum(axis=1), PERIOD) / size
    return made
