"""Loudness of made audio beside a recording: in all, and in equal bands of frequency."""

from __future__ import annotations

import torch
from torch import Tensor

from seqgen.objectives.power import spectrum

BANDS, _WINDOW = 8, 256


def level(x: Tensor, y: Tensor) -> float:
    """Power of ``x`` over that of ``y`` in dB."""
    return float(10 * torch.log10((x.square().mean() + 1e-12) / (y.square().mean() + 1e-12)))


def band_levels(x: Tensor, y: Tensor) -> Tensor:
    """Power of ``x`` over that of ``y`` in eight equal bands, ``[B, T, 1]`` twice ``→ [8]`` in dB."""
    return _decibels(x) - _decibels(y)


def _decibels(x: Tensor) -> Tensor:
    power = spectrum(x[..., 0], _WINDOW, "power").mean(dim=(0, 2))[1:].view(BANDS, -1).mean(dim=1)
    return 10 * torch.log10(power + 1e-12)
