"""Watermark of synthetic speech: faint echoes whose signs a key chooses anew many times a second.

A marked sound is ``y[n] = x[n] + a Σ_k s_k(n) x[n - τ_k]``: K echoes, too soon after the sound to be heard as such, too
faint to colour it, each with a sign that follows a keyed sequence of ±1, one chip of ``CHIP`` seconds after the other.
They put a ripple of ``a sqrt(K / 2)`` nepers onto the spectrum, which lies where the sound itself is loud, so it is
masked by it, and which codecs keep, for they keep spectra. :mod:`seqgen.audio.watermark_detection` finds it.

Sources: Bender, Gruhl, Morimoto and Lu, Techniques for data hiding, IBM Systems Journal 35 (1996), for echoes; Ko,
Nishimura and Suzuki, Time-spread echo method for digital audio watermarking, IEEE Transactions on Multimedia 7 (2005),
for many faint ones behind a key. That the key changes with time, and what finds it, is here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen import noise

PUBLIC_KEY = noise.name_to_stream("seqgen.watermark")
"""Key of the mark that anyone may look for."""
CHIP_MS = 20
"""Milliseconds between two changes of the signs."""
PERIOD = 256
"""Chips after which the sequence begins anew."""
LAGS = 1e-3 * (1 + 0.125 * np.arange(16))
"""Seconds from the sound to its echoes, ``[K]``: behind what a vocal tract does, before what a pitch does."""
STRENGTH = 0.04
"""Amplitude of an echo over the sound's."""
_BLOCK = 4096  # samples of a whole sound that are marked at once
_STREAM = noise.name_to_stream("seqgen.watermark.chips")

Reals = npt.NDArray[np.float64]


@lru_cache(maxsize=16)
def chips(key: int) -> Reals:
    """Signs of the echoes, ``[PERIOD, K]`` of ±1, each a fair coin by the key.

    Example:
        >>> chips(1).shape, float(np.abs(chips(1)).min())
        ((256, 16), 1.0)
    """
    words = noise.words(key, _STREAM, np.arange(PERIOD * len(LAGS), dtype=np.int64))
    signs: Reals = 1.0 - 2.0 * (words & 1).reshape(PERIOD, len(LAGS))
    signs.flags.writeable = False
    return signs


def rise(place: Reals) -> Reals:
    """Share of a chip against the one before, ``3p² - 2p³`` at the place ``p`` in it, from 0 to 1.

    A polynomial, whose bits are the same on every machine.
    """
    smooth: Reals = place * place * (3.0 - 2.0 * place)
    return smooth


class Watermark:
    """Stream that marks the sound of one utterance: ``[N]`` samples in, as many out, at once, the same for any cut.

    Digital silence stays what it is. Loud sound may leave [-1, 1) by a little, as the sound of any filter.

    Args:
        rate: Hz of the samples. key: of the mark; who has it can find the mark, and take it out.

    Example:
        >>> sound = np.sin(np.arange(8000, dtype=np.float32))
        >>> mark = Watermark(8000)
        >>> parts = np.concatenate([mark.push(sound[:7]), mark.push(sound[7:])])
        >>> np.array_equal(parts, watermarked(sound, 8000))
        True
    """

    def __init__(self, rate: int, key: int = PUBLIC_KEY) -> None:
        self._rate, self._signs = rate, np.ascontiguousarray(chips(key).T)
        self._lags = np.round(LAGS * rate).astype(np.int64)
        self._past = np.zeros(int(self._lags.max()), np.float64)  # samples before the next
        self._taken = 0

    def push(self, audio: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """These samples, marked."""
        own = audio.astype(np.float64)
        held, count, reach = np.concatenate([self._past, own]), len(own), len(self._past)
        # In whole numbers: a chip begins at the same sample wherever a stream is cut.
        chip, within = np.divmod(1000 * np.arange(self._taken, self._taken + count), CHIP_MS * self._rate)
        share = rise(within / (CHIP_MS * self._rate))
        before, now = self._signs[:, (chip - 1) % PERIOD], self._signs[:, chip % PERIOD]  # [K, N]
        echoes = np.zeros(count)
        # One product and one sum of a sample after the other, so that no cut changes a bit.
        for lag, gain in zip(self._lags, before + share * (now - before), strict=True):
            echoes += gain * held[reach - lag : reach - lag + count]
        self._past, self._taken = held[count:].copy(), self._taken + count
        return (own + STRENGTH * echoes).astype(np.float32)


def watermarked(audio: npt.NDArray[Any], rate: int, key: int = PUBLIC_KEY) -> npt.NDArray[np.float32]:
    """Sound ``[N]`` at ``rate`` Hz with the mark of a key, as :class:`Watermark` gives it."""
    mark = Watermark(rate, key)
    blocks = [mark.push(audio[start : start + _BLOCK]) for start in range(0, len(audio), _BLOCK)]
    return np.concatenate([np.zeros(0, np.float32), *blocks])
