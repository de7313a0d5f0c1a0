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

    def __init__(self, rate: float, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("value", torch.zeros((), dtype=dtype))
        self.register_buffer("batches", torch.zeros(()))

    @torch.no_grad()
    def after(self, total: Tensor, rows: Tensor) -> Tensor:
        """The value that it has when the sum over a batch, of so many rows, is taken in."""
        share = (1 / (self.batches + 1)).clamp_min(self.rate).to(self.value.dtype)
        return self.value.lerp((total / rows.clamp_min(1)).to(self.value.dtype), share)

    @torch.no_grad()
    def follow(self, total: Tensor, rows: Tensor) -> None:
        """Take in the sum over a batch, of so many rows."""
        self.value.copy_(self.after(total, rows))
        self.batches += 1
