"""Power loss: how far the power of made audio is from that of a recording, band by band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seqgen.errors import SeqgenError


@dataclass(frozen=True)
class PowerConfig:
    """Options of :func:`power_loss`.

    Attributes:
        weight: of the loss in the objective's total (0: none).
        windows: lengths of the transforms in samples; the loss is the mean over them. Hops are a quarter of each.
        spectrum: φ is the "power" |STFT|², as published, or the "magnitude" |STFT|, which loud bands dominate less.
        pooled: φ is averaged over a row's frames before it is compared: then a row may be another utterance of the
            same kind than the recording, for only the bands' mean power matters.
        floor: recordings quieter than white noise of this deviation count as that loud: what a network makes of silence
            would else outweigh all that it makes of speech.
    """

    weight: float = 1.0
    windows: tuple[int, ...] = (64, 256)
    spectrum: Literal["power", "magnitude"] = "magnitude"
    pooled: bool = False
    floor: float = 0.01

    def __post_init__(self) -> None:
        if self.weight < 0 or not self.windows or min(self.windows) < 8 or self.floor <= 0:
            raise SeqgenError(
                f"'power' has weight {self.weight}, windows {list(self.windows)} and floor {self.floor}",
                remedy="give a weight of at least 0, windows of at least 8 samples and a positive floor",
            )


def spectrum(audio: Tensor, window: int, kind: str) -> Tensor:
    """``|STFT|²`` or ``|STFT|`` of Hann windows, scaled so that a full-scale sine has power 0.25: ``[B, T] → [B, K,
    F]``."""
    shape = torch.hann_window(window, dtype=audio.dtype, device=audio.device)
    padded = torch.nn.functional.pad(audio, (0, max(0, window - audio.shape[1])))
    made = torch.stft(padded, window, window // 4, window=shape / shape.sum(), center=False, return_complex=True)
    power = made.real.square() + made.imag.square()
    return power if kind == "power" else torch.sqrt(power + 1e-12)  # a root has no gradient at zero


def power_loss(made: Tensor, recorded: Tensor, options: PowerConfig) -> Tensor:
    """``Σ (φ(made) - φ(recorded))² / (Σ φ(recorded)² + Σ φ(floor)²)`` for each row, 0 for equal audio, 1 for none.

    φ is the power or the magnitude of a short-time spectrum, so neither phase nor sign matters. The published loss has
    no denominator; with it the weight means the same for loud and quiet recordings.

    Shapes: ``[B, T], [B, T] → [B]``; samples beyond the end of a recording are zero in both.

    Source: arXiv 1711.10433, section 4.1 (power loss).
    """
    rows = []
    for window in options.windows:
        x, y = (spectrum(audio, window, options.spectrum) for audio in (made, recorded))
        if options.pooled:
            x, y = x.mean(dim=2), y.mean(dim=2)
        # Mean power of white noise in a bin: Σ w² / (Σ w)² is 1.5 / window for a Hann window.
        quiet = options.floor**2 * 1.5 / window
        floor = quiet if options.spectrum == "magnitude" else quiet**2
        x, y = x.flatten(1), y.flatten(1)
        rows.append((x - y).square().mean(dim=1) / (y.square().mean(dim=1) + floor))
    return torch.stack(rows).mean(dim=0)
