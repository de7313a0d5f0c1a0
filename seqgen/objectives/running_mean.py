"""Running means of what batches tell: buffers of an objective that decide what its players do next."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RunningMean(nn.Module):
    """Running mean of a value per row, which forgets:

        m_n ← m_{n-1} + max(rate, 1 / n) (mean of the n-th batch - m_{n-1})

    so that the first few batches weigh alike. It is saved with the objective's weights.

    Shapes: ``value`` and ``batches`` are scalars.

    Example:
        >>> mean = RunningMean(0.1)
        >>> mean.follow(torch.tensor(6.0), torch.tensor(4.0))  # in Objective.after_update: a sum, and its rows
        >>> float(mean.value)
        1.5
    """

    value: Tensor
    batches: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("value", torch.zeros(()))
        self.register_buffer("batches", torch.zeros(()))

    @torch.no_grad()
    def follow(self, total: Tensor, rows: Tensor) -> None:
        """Take in the sum over a batch, of so many rows."""
        self.batches += 1
        share = (1 / self.batches).clamp_min(self.rate)
        self.value.lerp_((total / rows.clamp_min(1)).to(self.value.dtype), share)
