"""Pairs of waveforms in the form that every metric takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError

Waveform = npt.NDArray[np.float64]


def aligned(reference: npt.NDArray[Any], synthetic: npt.NDArray[Any]) -> tuple[Waveform, Waveform]:
    """Both as float64 ``[N]`` with the longer one trimmed at its end.

    Raises:
        SeqgenError: when either holds NaN or infinity, or there is not one sample in common.
        ValueError: for anything but mono waveforms.
    """
    first, second = np.asarray(reference, np.float64), np.asarray(synthetic, np.float64)
    if first.ndim != 1 or second.ndim != 1:
        raise ValueError(f"expected two mono waveforms [N], got shapes {first.shape} and {second.shape}")
    length = min(first.size, second.size)
    if not length:
        raise SeqgenError("nothing to compare: a waveform of 0 samples", remedy="check the synthesis")
    for name, x in (("reference", first), ("synthetic", second)):
        if not np.isfinite(x).all():
            raise SeqgenError(f"the {name} waveform holds NaN or infinity", remedy="check what made it")
    return first[:length], second[:length]
