"""A process with a long season whose entropy is known: what came a season before tells most of what comes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from seqgen import noise


@dataclass(frozen=True)
class Seasonal:
    """``x_t = a x_{t-season} + ε_t`` with Gaussian noise, of standard deviation ``deviation``, cut into equal levels.

    Level ``j`` of L is ``2j/(L-1) - 1``. Cells are small against the noise, so the entropy of the levels is that of
    the density less the logarithm of a cell's width: ``½ log2(2πe·deviation²) - log2(2/(L-1))`` without the past, and
    ``½ log2(1/(1 - a²))`` less given the season before (with 256 levels 0.0006 bits remain, the noise that the cells
    add to the past).
    """

    season: int = 64
    a: float = 0.95
    deviation: float = 0.25
    levels: int = 256

    @property
    def marginal_bits(self) -> float:
        """Entropy of one element, nothing known."""
        return 0.5 * math.log2(2 * math.pi * math.e * self.deviation**2) - math.log2(2 / (self.levels - 1))

    @property
    def rate_bits(self) -> float:
        """Entropy of one element given the whole past."""
        return self.marginal_bits - 0.5 * math.log2(1 / (1 - self.a**2))

    def draw(self, rows: int, length: int, stream: int, block: int) -> Tensor:
        """Stationary rows of levels, int64 ``[rows, length]``; other blocks of a stream are independent."""
        seasons = -(-length // self.season)
        count = rows * seasons * self.season
        u = noise.block(0, stream, block * count, count)
        fresh = ndtri(np.clip(u, 2.0**-25, None)).reshape(seasons, rows, self.season)
        x = [self.deviation * fresh[0]]
        for new in fresh[1:]:
            x.append(self.a * x[-1] + self.deviation * math.sqrt(1 - self.a**2) * new)
        row = np.concatenate(x, axis=1)[:, :length]
        top = self.levels - 1
        return torch.from_numpy(np.rint((row.clip(-1, 1) + 1) * (top / 2)).astype(np.int64))
