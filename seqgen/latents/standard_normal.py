"""The standard normal prior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.latents.contract import GaussianMarginals, Marginals, Prior

_LOG_TAU = math.log(2 * math.pi)


class StandardNormal(Prior):
    """Prior ``p(z) = N(z; 0, 1)``, independent from number to number and position to position.

    Shapes: z ``[S, B, N, dim]``, u ``[B, N, dim]``.

    Example:
        >>> StandardNormal(StandardNormal.Config(dim=2)).log_prob(torch.zeros(1, 1, 1, 2))
        tensor([[[-1.8379]]])
    """

    @dataclass(frozen=True)
    class Config:
        """``dim``: numbers of a position."""

        dim: int = 2

    def __init__(self, config: Config) -> None:
        if config.dim < 1:
            raise SeqgenError(f"a normal prior of {config.dim} numbers", remedy="give 1 or more")
        super().__init__()
        self.dim = self.num_uniforms = config.dim

    def committed_rate(self, positions: Tensor, largest_scale: float = math.inf) -> Tensor | None:
        """``½ (s² - 1 - ln s²)`` of each number, with s the largest scale, where that is below 1."""
        if largest_scale >= 1:
            return None
        each = 0.5 * (largest_scale**2 - 1) - math.log(largest_scale)
        return positions * (each * self.dim)

    def log_prob(self, z: Tensor, given: Any = None) -> Tensor:
        return -0.5 * (z.square() + _LOG_TAU).sum(dim=-1)

    def cross_entropy(self, q: Marginals, given: Any = None) -> Tensor | None:
        if not isinstance(q, GaussianMarginals):
            return None
        return 0.5 * (q.mean.square() + q.scale.square() + _LOG_TAU).sum(dim=-1)

    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        return quantile(u)
