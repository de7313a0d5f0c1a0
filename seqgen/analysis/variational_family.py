"""The contract of a variational family, and its Gaussian members: distributions that approximate a posterior."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqgen.distributions.normal_quantile import quantile

_LOG_2PI = math.log(2 * math.pi)


class Samples(NamedTuple):
    """Samples of approximate posteriors: ``z [S, B, D]`` and ``log_q [S, B]`` in nats, both differentiable."""

    z: Tensor
    log_q: Tensor


class VariationalFamily(nn.Module, ABC):
    """Approximate posteriors ``q_b(z)`` of B examples, one row of parameters each.

    Deterministic: all randomness comes in as uniforms.

    Attributes:
        examples: B. latent_dim: D. num_uniforms: uniforms that one sample takes.
    """

    examples: int
    latent_dim: int
    num_uniforms: int

    @abstractmethod
    def sample(self, u: Tensor) -> Samples:
        """Samples from uniforms ``u [S, B, num_uniforms]``.

        ``log_q`` is ``ln q(z)``, or where the family has auxiliary variables v, ``ln q(z, v) - ln r(v|z)``: the mean of
        ``p(x, z) / e^log_q`` is the evidence either way, so the mean of the logarithm is a lower bound.
        """


class FactorisedGaussian(VariationalFamily):
    """Gaussians without correlations: ``z = μ + σ Φ⁻¹(u)``, with ``μ, ln σ²  [B, D]``.

    Example:
        >>> FactorisedGaussian(torch.zeros(1, 2), torch.zeros(1, 2)).sample(torch.full((1, 1, 2), 0.5)).log_q
        tensor([[-1.8379]], grad_fn=...)
    """

    def __init__(self, mean: Tensor, log_variance: Tensor) -> None:
        super().__init__()
        self.examples, self.latent_dim = mean.shape
        self.num_uniforms = self.latent_dim
        self.mean = nn.Parameter(mean.detach().clone())
        self.log_variance = nn.Parameter(log_variance.detach().clone())

    def sample(self, u: Tensor) -> Samples:
        noise = quantile(u)  # [S, B, D]
        z = self.mean + torch.exp(0.5 * self.log_variance) * noise  # [S, B, D]
        return Samples(z, standard_normal(noise) - 0.5 * self.log_variance.sum(dim=-1))


class FullGaussian(VariationalFamily):
    """Gaussians of any covariance: ``z = μ + L Φ⁻¹(u)`` with ``L [B, D, D]`` lower triangular, of positive diagonal.

    Parameters are μ, the logarithm of the diagonal, and what is below it.
    """

    def __init__(self, mean: Tensor, log_variance: Tensor) -> None:
        super().__init__()
        self.examples, self.latent_dim = mean.shape
        self.num_uniforms = self.latent_dim
        self.mean = nn.Parameter(mean.detach().clone())
        self.log_diagonal = nn.Parameter(0.5 * log_variance.detach())
        self.below = nn.Parameter(mean.new_zeros(*mean.shape, self.latent_dim))

    def sample(self, u: Tensor) -> Samples:
        noise = quantile(u)  # [S, B, D]
        root = torch.tril(self.below, diagonal=-1) + torch.diag_embed(self.log_diagonal.exp())  # [B, D, D]
        z = self.mean + torch.einsum("bij,sbj->sbi", root, noise)  # [S, B, D]
        return Samples(z, standard_normal(noise) - self.log_diagonal.sum(dim=-1))


def standard_normal(x: Tensor) -> Tensor:
    """``ln N(x; 0, I)`` over the last axis, in nats."""
    return -0.5 * (x.square() + _LOG_2PI).sum(dim=-1)
