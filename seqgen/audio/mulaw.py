"""µ-law companding: 8-bit symbols whose error follows the loudness of speech."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# The largest float32 below 1: waveforms live in [-1, 1).
_TOP = np.nextafter(np.float32(1), np.float32(0))


def encode(audio: npt.NDArray[Any], levels: int = 256) -> npt.NDArray[np.int64]:
    """Waveform to µ-law symbols.

    ``y = sign(x) · ln(1 + µ|x|) / ln(1 + µ)``, ``symbol = floor((y + 1)/2 · µ + 1/2)``, ``µ = levels - 1``.

    Args:
        audio: ``[..., N]``, real; values outside [-1, 1] are clamped.
        levels: number of symbols.

    Returns:
        int64 ``[..., N]`` in ``[0, levels)``; zero becomes ``levels // 2``.

    Source: ITU-T G.711 in its continuous form, as in van den Oord et al., arXiv 1609.03499, section 2.2.

    Example:
        >>> encode(np.array([-1.0, 0.0, 1.0]))
        array([  0, 128, 255])
    """
    mu = levels - 1
    x = np.clip(np.asarray(audio, dtype=np.float64), -1, 1)
    y = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
    symbols: npt.NDArray[np.int64] = np.floor((y + 1) / 2 * mu + 0.5).astype(np.int64)
    return symbols


def decode(symbols: npt.NDArray[Any], levels: int = 256) -> npt.NDArray[np.float32]:
    """µ-law symbols to waveform, the centre of each symbol's interval on the companded axis.

    ``y = 2·symbol/µ - 1``, ``x = sign(y) · ((1 + µ)^|y| - 1) / µ``.

    Args:
        symbols: integers ``[..., N]`` in ``[0, levels)``.
        levels: number of symbols.

    Returns:
        float32 ``[..., N]`` in [-1, 1); ``encode(decode(symbols)) == symbols``.

    Raises:
        ValueError: for a symbol outside the alphabet.
    """
    s = np.asarray(symbols)
    if s.size and (s.min() < 0 or s.max() >= levels):
        raise ValueError(f"µ-law symbols must lie in [0, {levels}), got [{s.min()}, {s.max()}]")
    mu = levels - 1
    y = 2 * s.astype(np.float64) / mu - 1
    x = np.sign(y) * np.expm1(np.abs(y) * np.log1p(mu)) / mu
    audio: npt.NDArray[np.float32] = np.minimum(x.astype(np.float32), _TOP)
    return audio
