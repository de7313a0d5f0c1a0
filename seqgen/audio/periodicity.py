"""Periodicity of stretches of sound: how high they are and how clearly, of each by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LOWEST, HIGHEST = 60.0, 600.0
"""Range of pitch in Hz."""
_NEAR = 0.85  # share of the highest peak that makes an earlier one the period, not a fraction of it
_FAINT = 1e-10  # mean square of a sample below which nothing is periodic, of full scale: -100 dB


def periodicity(windows: npt.NDArray[Any], rate: int) -> npt.NDArray[np.float64]:
    """Pitch and clarity of each window, both from 0 to 1, by the normalised square difference function.

        n(τ) = 2 Σ_t x_t x_{t+τ} / Σ_t (x_t² + x_{t+τ}²)          t = 0 … W - 1 - τ

    The period is the first peak that is nearly as high as the highest, between two samples by a parabola; the clarity c
    is its height, 1 of what repeats itself exactly. The pitch is ``c² · log(f / 60 Hz) / log(10)``: what is hardly
    periodic has hardly a pitch, so that the numbers of a noise are small and no other than those of silence, 0 and 0.

    A window has to be as long as two periods of its pitch, and 33 ms for every pitch in the range.

    Shapes: ``[F, W] → [F, 2]``. Rate in Hz.

    Source: McLeod & Wyvill 2005, "A smarter way to find pitch", sections 3 to 6.

    Example:
        >>> tone = np.sin(2 * np.pi * 120 * np.arange(960) / 24000)
        >>> periodicity(tone[None], 24000).round(2)  # log10(2) = 0.30
        array([[0.3, 1. ]])
    """
    x = np.asarray(windows, np.float64)
    x = x - x.mean(axis=1, keepdims=True)
    width = x.shape[1]
    first, last = max(2, int(rate / HIGHEST)), min(int(np.ceil(rate / LOWEST)), width - 2)
    lags = np.arange(first - 1, last + 2)  # with a neighbour on either side
    size = 1 << int(np.ceil(np.log2(width + last + 2)))
    spectrum = np.fft.rfft(x, n=size, axis=1)
    products = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, n=size, axis=1)[:, lags]
    energy = np.pad(np.cumsum(np.square(x), axis=1), ((0, 0), (1, 0)))
    squares = energy[:, width - lags] + energy[:, -1:] - energy[:, lags]
    heights = 2 * products / (squares + _FAINT * width)  # [F, lags]
    before, inner, behind = heights[:, :-2], heights[:, 1:-1], heights[:, 2:]
    peaks = np.where((inner > before) & (inner >= behind) & (inner > 0), inner, 0.0)
    chosen = np.argmax(peaks >= np.maximum(_NEAR * peaks.max(axis=1, keepdims=True), 1e-9), axis=1)
    rows = np.arange(len(x))
    low, top, high = before[rows, chosen], inner[rows, chosen], behind[rows, chosen]
    found = peaks[rows, chosen] > 0
    shift = np.where(found, 0.5 * (low - high) / np.where(found, low - 2 * top + high, -1.0), 0.0)
    clarity = np.where(found, np.clip(top - 0.25 * (low - high) * shift, 0, 1), 0.0)
    octaves = np.log(rate / (lags[1 + chosen] + shift) / LOWEST) / np.log(HIGHEST / LOWEST)
    return np.stack([np.clip(octaves, 0, 1) * np.square(clarity), clarity], axis=1)
