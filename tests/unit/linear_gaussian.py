"""A linear Gaussian model, whose posterior, evidence and gaps of inference are known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.analysis.unnormalised_posterior import normals
from seqgen.analysis.variational_family import FactorisedGaussian, standard_normal
from seqgen.noise import Key

LIKE = torch.zeros((), dtype=torch.float64)
SPREAD = 3.0  # standard errors that a mean may be off


@dataclass(frozen=True)
class LinearGaussian:
    """``x = W z + b + s ε`` with ``z, ε ~ N(0, I)``, for fixed examples ``x [B, E]``; ``weight [E, D]``."""

    weight: Tensor
    bias: Tensor
    scale: float
    x: Tensor

    @classmethod
    def drawn(cls, *, dim: int = 4, width: int = 6, scale: float = 1.0, examples: int = 8) -> LinearGaussian:
        weight = normals(Key(1, 0), 0, (width, dim), LIKE)
        bias = normals(Key(1, 1), 0, (width,), LIKE)
        z, noise = normals(Key(1, 2), 0, (examples, dim), LIKE), normals(Key(1, 3), 0, (examples, width), LIKE)
        return cls(weight, bias, scale, z @ weight.T + bias + scale * noise)

    def log_prior(self, z: Tensor) -> Tensor:
        return standard_normal(z)

    def log_likelihood(self, z: Tensor) -> Tensor:
        apart = (self.x - self.bias - z @ self.weight.T) / self.scale
        return standard_normal(apart) - self.x.shape[-1] * math.log(self.scale)

    @property
    def precision(self) -> Tensor:
        return torch.eye(self.weight.shape[1]).to(LIKE) + self.weight.T @ self.weight / self.scale**2

    @property
    def posterior_mean(self) -> Tensor:
        return torch.linalg.solve(self.precision, self.weight.T @ (self.x - self.bias).T / self.scale**2).T

    @property
    def log_evidence(self) -> Tensor:
        covariance = self.weight @ self.weight.T + self.scale**2 * torch.eye(len(self.bias)).to(LIKE)
        return torch.distributions.MultivariateNormal(self.bias, covariance).log_prob(self.x)

    @property
    def approximation_gap(self) -> float:
        return float(0.5 * (self.precision.diagonal().log().sum() - torch.logdet(self.precision)))

    def amortisation_gap(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        away = mean - self.posterior_mean
        ratio = log_variance.exp() * self.precision.diagonal()
        return 0.5 * ((away @ self.precision) * away).sum(-1) + 0.5 * (ratio - 1 - ratio.log()).sum(-1)

    def best(self) -> FactorisedGaussian:
        return FactorisedGaussian(self.posterior_mean, -self.precision.diagonal().log().expand_as(self.posterior_mean))

    def encoder(self) -> FactorisedGaussian:
        """A worse guess."""
        wrong = normals(Key(2, 0), 0, tuple(self.posterior_mean.shape), LIKE)
        return FactorisedGaussian(self.posterior_mean + 0.1 * wrong, torch.full_like(wrong, -1.8))

    def prior(self, chains: int) -> Tensor:
        return normals(Key(3, 0), 0, (chains, len(self.x), self.weight.shape[1]), LIKE)

    def posterior_samples(self, count: int) -> Tensor:
        root = torch.linalg.cholesky(torch.linalg.inv(self.precision))
        shape = (count, *self.posterior_mean.shape)
        return self.posterior_mean + normals(Key(13, 0), 0, shape, LIKE) @ root.T


def not_above(low: Tensor, high: Tensor) -> bool:
    """Whether the mean of one is not above that of the other, by paired standard errors."""
    more = low - high
    return float(more.mean()) <= SPREAD * float(more.std()) / math.sqrt(len(more)) + 1e-9
