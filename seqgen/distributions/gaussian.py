"""A normal distribution over real-valued samples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.distributions.contract import LocationScale, full
from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError


class Gaussian(LocationScale):
    """Normal distribution ``ln p(x) = -½((x-m)/s)² - ln s - ½ ln 2π`` with ``s = exp(max(params_1 + origin,
    min_log_scale))``.

    Sampling inverts the distribution function: ``x = m + τ·s·Φ⁻¹(u)``, clipped to ``-limit … limit``.

    Shapes: params ``[…, 2]`` (mean, log-scale), value ``[…]``, u ``[…, 1]``. Nats of a density, not of 16-bit codes.

    Raises:
        SeqgenError: for a limit that leaves no values.
    """

    @dataclass(frozen=True)
    class Config:
        """``min_log_scale``: lower bound that keeps the density finite; ``origin``: log-scale of an output of 0;
        ``limit``: the largest amplitude of a sample (``.inf``: none, for numbers that are no audio)."""

        min_log_scale: float = -9.0
        origin: float = 0.0
        limit: float = 1.0

    def __init__(self, config: Config) -> None:
        if not config.limit > 0:
            raise SeqgenError(f"samples limited to an amplitude of {config.limit}", remedy="give a limit above 0")
        self.num_params, self.num_uniforms, self.vocab_size = 2, 1, 0
        self.min_log_scale, self.origin, self.limit = config.min_log_scale, config.origin, config.limit

    @classmethod
    def examples(cls) -> Iterable[Gaussian]:
        return [cls(cls.Config()), cls(cls.Config(origin=-3.0))]

    def _log_scale(self, params: Tensor) -> Tensor:
        return (params[..., 1] + self.origin).clamp_min(self.min_log_scale)

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        params = full(params)
        log_scale = self._log_scale(params)
        z = (value - params[..., 0]) * torch.exp(-log_scale)
        return -0.5 * z * z - log_scale - 0.5 * math.log(2 * math.pi)

    def log_density(self, params: Tensor, value: Tensor) -> Tensor:
        return self.log_prob(params, value)

    def scaled(self, params: Tensor, log_gain: Tensor) -> Tensor:
        mean, log_scale = full(params).chunk(2, dim=-1)
        return torch.cat([mean * torch.exp(log_gain), log_scale + log_gain], dim=-1)

    def sample(self, params: Tensor, u: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
        scale = torch.exp(self._log_scale(params))
        # u is a multiple of 2^-24 and may be 0, where the quantile is that of half a step inwards.
        return (params[..., 0] + temperature * scale * quantile(u[..., 0])).clamp(-self.limit, self.limit)

    def kl(self, params: Tensor, other: Tensor) -> Tensor:
        """``ln s_q - ln s_p + (s_p² + (m_p - m_q)²) / (2 s_q²) - ½``."""
        p, q = full(params), full(other)
        log_p, log_q = self._log_scale(p), self._log_scale(q)
        apart = (p[..., 0] - q[..., 0]) * torch.exp(-log_q)
        return log_q - log_p + 0.5 * (torch.exp(2 * (log_p - log_q)) + apart * apart - 1)
