"""The prior of slow codes: a first-order autoregressive process of normal numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.latents.contract import GaussianMarginals, Marginals, Prior

_LOG_TAU = math.log(2 * math.pi)


class AutoregressiveProcess(Prior):
    """Prior that is a first-order autoregressive process along the positions, independent from number to number:

        z_1 ~ N(0, 1),    z_n | z_n-1 ~ N(α z_n-1, 1 - α²),    α of each number's own, from ``low`` to ``high`` evenly

    Each z_n is standard normal by itself, and has a correlation of α with the one before it. Normal posteriors whose
    positions are independent cannot match it: they have a rate of δ nats at least (:meth:`committed_rate`), so that a
    decoder never learns to ignore its code. Numbers of a large α that change fast cost much.

    Shapes: z ``[S, B, N, dim]``, u ``[B, N, dim]``.

    Raises:
        SeqgenError: for coefficients outside of 0 … 1, 1 itself excluded.

    Source: Razavi, van den Oord, Poole and Vinyals, "Preventing posterior collapse with delta-VAEs", arXiv 1901.03416.
    The divergence and its optimum are derived anew.

    Example:
        >>> slow = AutoregressiveProcess(AutoregressiveProcess.Config(dim=2, low=0.9, high=0.9))
        >>> slow.committed_rate(torch.tensor([8]))
        tensor([5.2208])
    """

    @dataclass(frozen=True)
    class Config:
        """``dim``: numbers of a position. ``low``, ``high``: coefficients of the first and the last (or only) one."""

        dim: int = 2
        low: float = 0.5
        high: float = 0.95

    alpha: Tensor

    @classmethod
    def examples(cls) -> Iterable[AutoregressiveProcess]:
        return [cls(cls.Config(dim=3)), cls(cls.Config(dim=1, low=0.0, high=0.9))]

    def __init__(self, config: Config) -> None:
        if config.dim < 1 or not 0 <= config.low <= config.high < 1:
            raise SeqgenError(
                f"an autoregressive process of {config}",
                remedy="give 1 number or more, and coefficients with 0 <= low <= high < 1",
            )
        super().__init__()
        self.dim = self.num_uniforms = config.dim
        spread = torch.linspace(config.low, config.high, config.dim, dtype=torch.float64)
        alpha = spread if config.dim > 1 else torch.full_like(spread, config.high)
        self.register_buffer("alpha", alpha.to(torch.get_default_dtype()), persistent=False)

    def committed_rate(self, positions: Tensor, largest_scale: float = math.inf) -> Tensor:
        """Rate that no independent normal posteriors get below, in nats:

            δ = ½ Σ_k [(N - 2) ln(1 + α_k²) - ln(1 - α_k²)],    0 of one position

        It is had with means of 0, variances ``(1 - α²) / (1 + α²)`` inside and ``1 - α²`` at both ends.
        """
        alpha = self.alpha.double().square()
        inner = torch.log1p(alpha).sum() * (positions.double()[..., None] - 2)
        found = 0.5 * (inner[..., 0] - torch.log1p(-alpha).sum())
        return torch.where(positions > 1, found, torch.zeros_like(found)).to(self.alpha.dtype)

    def log_prob(self, z: Tensor, given: Any = None) -> Tensor:
        first, later = z[..., :1, :], z[..., 1:, :] - self.alpha * z[..., :-1, :]
        log_variance = torch.log1p(-self.alpha.square())
        starts = -0.5 * (first.square() + _LOG_TAU)  # [S, B, 1, D]
        steps = -0.5 * (later.square() / log_variance.exp() + log_variance + _LOG_TAU)  # [S, B, N - 1, D]
        return torch.cat([starts, steps], dim=-2).sum(dim=-1)

    def cross_entropy(self, q: Marginals, given: Any = None) -> Tensor | None:
        """``½ [ln 2π + s_1² + µ_1²]`` of the first position, and of each later one

        ``½ [ln 2π(1 - α²) + (s_n² + α² s_n-1² + (µ_n - α µ_n-1)²) / (1 - α²)]``.
        """
        if not isinstance(q, GaussianMarginals):
            return None
        alpha, variance = self.alpha, q.scale.square()
        log_variance = torch.log1p(-alpha.square())
        apart = (q.mean[:, 1:] - alpha * q.mean[:, :-1]).square()
        spread = variance[:, 1:] + alpha.square() * variance[:, :-1]
        starts = 0.5 * (q.mean[:, :1].square() + variance[:, :1] + _LOG_TAU)  # [B, 1, D]
        steps = 0.5 * ((spread + apart) / log_variance.exp() + log_variance + _LOG_TAU)  # [B, N - 1, D]
        return torch.cat([starts, steps], dim=1).sum(dim=-1)

    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        fresh = quantile(u).unbind(dim=1)
        deviation = torch.sqrt(1 - self.alpha.square())
        z = [fresh[0]]
        for one in fresh[1:]:
            z.append(self.alpha * z[-1] + deviation * one)
        return torch.stack(z, dim=1)
