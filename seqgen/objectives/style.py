"""Style loss: how far made audio is from a recording in what a frozen network hears in it, wherever it hears it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.errors import SeqgenError


@dataclass(frozen=True)
class StyleConfig:
    """Options of the style loss: ``weight`` in the objective's total (0: none)."""

    weight: float = 0.0

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise SeqgenError(f"'style' has weight {self.weight}", remedy="give a weight of at least 0")


def gram(features: Tensor) -> Tensor:
    """``G = aᵀa / T``: which channels are active together. ``[B, T, C] → [B, C, C]``."""
    return features.transpose(1, 2) @ features / features.shape[1]


def style_loss(made: Sequence[Tensor], recorded: Sequence[Tensor]) -> Tensor:
    """``Σ (G(made) - G(recorded))² / Σ G(recorded)²`` for each row, the mean over layers of a classifier.

    Shapes: features of every layer, ``[B, T, C]`` each → ``[B]``.

    Source: arXiv 1711.10433, section 4.1 (perceptual loss, style); Gatys et al., arXiv 1508.06576 (Gram matrices).
    """
    rows = []
    for x, y in zip(made, recorded, strict=True):
        gx, gy = gram(x).flatten(1), gram(y).flatten(1)
        rows.append((gx - gy).square().sum(dim=1) / (gy.square().sum(dim=1) + 1e-6))
    return torch.stack(rows).mean(dim=0)
