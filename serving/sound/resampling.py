"""Streaming sample-rate conversion: a polyphase filter with a short, declared delay."""

from __future__ import annotations

from functools import lru_cache
from math import gcd

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""Rates in Hz that sound may be asked for in."""
_REACH = 24  # samples to either side of the lower of the two rates
_ROLLOFF = 0.94  # of the lower Nyquist frequency
_BETA = 8.6  # of the Kaiser window: 86 dB
Audio = npt.NDArray[np.float32]


@lru_cache(maxsize=16)
def _bank(up: int, down: int) -> npt.NDArray[np.float64]:
    """Filters ``[up, 2 · reach]``: row ``p`` interpolates ``p / up`` of a sample after its middle."""
    scale = max(1.0, down / up)
    reach = int(np.ceil(_REACH * scale))
    places = np.arange(-reach + 1, reach + 1) - np.arange(up)[:, None] / up
    cut = _ROLLOFF / scale
    window = np.i0(_BETA * np.sqrt(np.maximum(0, 1 - (places / reach) ** 2))) / np.i0(_BETA)
    taps: npt.NDArray[np.float64] = cut * np.sinc(cut * places) * window
    # Each phase passes a constant unchanged, so silence and level stay what they are.
    taps /= taps.sum(axis=1, keepdims=True)
    taps.flags.writeable = False
    return taps


class Resampler:
    """Streaming polyphase resampler: ``[N]`` samples in, ``ceil(N · to / from)`` out, the same for any chunking.

    ``y[n] = Σ_k h_p[k] x[⌊n·down/up⌋ - reach + 1 + k]`` with ``p = n·down mod up`` and the filters of :func:`_bank`.

    Attributes:
        delay: seconds of input that it looks ahead.

    Raises:
        SeqgenError: for a rate that is not offered.

    Example:
        >>> resampler = Resampler(24000, 8000)
        >>> len(resampler.push(np.zeros(24000, np.float32))) + len(resampler.finish())
        8000
    """

    def __init__(self, source: int, target: int) -> None:
        if target not in RATES:
            raise SeqgenError(f"rate {target} Hz is not offered", remedy=f"choose one of: {', '.join(map(str, RATES))}")
        shared = gcd(source, target)
        self._up, self._down = target // shared, source // shared
        self._taps = _bank(self._up, self._down)
        self._reach = self._taps.shape[1] // 2
        self.delay = self._reach / source
        self._held = np.zeros(self._reach - 1, np.float64)  # input from sample `_first` on
        self._first = 1 - self._reach
        self._taken = self._made = 0

    def push(self, audio: Audio) -> Audio:
        """Resampled audio that is decided once these samples are in."""
        self._held = np.concatenate([self._held, audio.astype(np.float64)])
        self._taken += len(audio)
        # Output n needs input up to floor(n * down / up) + reach.
        return self._until(max(self._made, -(-(self._taken - self._reach) * self._up // self._down)))

    def finish(self) -> Audio:
        """The rest: silence follows the last sample."""
        self._held = np.concatenate([self._held, np.zeros(self._reach + 1)])
        return self._until(-(-self._taken * self._up // self._down))

    def _until(self, stop: int) -> Audio:
        numbers = np.arange(self._made, max(stop, self._made), dtype=np.int64) * self._down
        middles, phases = numbers // self._up, numbers % self._up
        if not len(numbers):
            return np.zeros(0, np.float32)
        starts = middles - self._reach + 1 - self._first
        windows = np.lib.stride_tricks.sliding_window_view(self._held, 2 * self._reach)
        out: Audio = (windows[starts] * self._taps[phases]).sum(axis=1).astype(np.float32)
        self._made = max(stop, self._made)
        # What no later output reaches back to is let go.
        gone = max(0, self._made * self._down // self._up - self._reach + 1 - self._first)
        self._held = self._held[gone:]
        self._first += gone
        return out
