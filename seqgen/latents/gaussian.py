"""Normal posteriors, independent from number to number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.latents.contract import Draw, GaussianMarginals, Posterior, Setting, equal_shares

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class GaussianPosterior(Posterior):
    """Normal distributions ``q(z | x) = Π_d N(z_d; µ_d(x), s_d(x)²)``, drawn as ``z = µ + s Φ⁻¹(u)``.

        s = exp(½ v),    v the second half of the network's outputs, held at -14 … 14

    Shapes: params ``[B, N, 2 D]`` (``[B, N, D]`` with a fixed scale), z ``[S, B, N, D]``, u the same.

    Attributes:
        largest_scale: that a number can have.

    Raises:
        SeqgenError: for a code of no numbers.

    Source: Kingma and Welling, "Auto-encoding variational Bayes", arXiv 1312.6114, section 3 and appendix C.2.

    Example:
        >>> GaussianPosterior(GaussianPosterior.Config(dim=8)).num_params
        16
    """

    @dataclass(frozen=True)
    class Config:
        """``dim``: numbers of a position. ``scale``: of all of them, where it is not learnt (0: it is)."""

        dim: int = 2
        scale: float = 0.0

    @classmethod
    def examples(cls) -> Iterable[GaussianPosterior]:
        return [cls(cls.Config(dim=2)), cls(cls.Config(dim=3, scale=1.0))]

    def __init__(self, config: Config) -> None:
        if config.dim < 1 or config.scale < 0:
            raise SeqgenError(f"a normal posterior of {config}", remedy="give 1 or more numbers, and a positive scale")
        super().__init__()
        self.dim, self.scale = config.dim, config.scale
        self.largest_scale = config.scale or math.inf
        self.num_params, self.num_uniforms = config.dim * (1 if config.scale else 2), config.dim

    def marginals(self, params: Tensor) -> GaussianMarginals:
        params = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        if self.scale:
            return GaussianMarginals(params, torch.full_like(params, self.scale))
        mean, log_variance = params.chunk(2, dim=-1)
        return GaussianMarginals(mean, torch.exp(0.5 * log_variance.clamp(-14, 14)))

    def draw(self, params: Tensor, u: Tensor, setting: Setting, *, exact: bool = False) -> Draw:
        mean, scale = self.marginals(params)
        z = mean + scale * quantile(u.to(mean.dtype))  # [S, B, N, D]
        return Draw(z, equal_shares(z))

    def log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        mean, scale = self.marginals(params)
        return normal_log_prob(z, mean, scale).sum(dim=-1)

    def entropy(self, params: Tensor) -> Tensor:
        _, scale = self.marginals(params)
        return (scale.log() + _HALF_LOG_TAU + 0.5).sum(dim=-1)

    def committed_rate(self, setting: Setting) -> Tensor | None:
        return setting.prior.committed_rate(setting.inside.sum(dim=1), self.largest_scale)

    def code(self, params: Tensor, setting: Setting) -> Tensor:
        return self.marginals(params).mean


def normal_log_prob(z: Tensor, mean: Tensor | float, scale: Tensor) -> Tensor:
    """``ln N(z; mean, scale²)``, number by number."""
    return -0.5 * ((z - mean) / scale).square() - scale.log() - _HALF_LOG_TAU
