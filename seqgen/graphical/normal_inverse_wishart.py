"""Normal-inverse-Wishart distributions in natural form: conjugate priors of a Gaussian's mean and covariance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqgen.graphical.exponential_family import ExponentialFamily, Statistics
from seqgen.graphical.gaussian import GaussianFactor
from seqgen.graphical.positive_definite import cholesky, inverse, log_det, outer


@dataclass(frozen=True)
class NormalInverseWishart(ExponentialFamily):
    """Normal-inverse-Wishart distribution: ``Σ ~ IW(S, ν)``, ``µ ~ N(m, Σ/κ)`` in n dimensions, with ``J = Σ^-1``,

        t = (-½ J, J µ, -½ µ^T J µ, ½ ln|J|),        η = (S + κ m m^T, κ m, κ, ν)
        log Z = ½ ν n ln 2 + ln Γ_n(ν/2) - ½ ν ln|S| - ½ n ln κ
        E J = ν S^-1,  E J µ = ν S^-1 m,  E µ^T J µ = n/κ + ν m^T S^-1 m
        E ln|J| = Σ_{i<n} ψ((ν - i)/2) + n ln 2 - ln|S|

    t is what a Gaussian of µ and Σ has as natural parameters, so statistics ``Σ (x x^T, x, 1, 1)`` add to η.

    Attributes:
        second: ``S + κ m m^T``, ``[…, n, n]``. first: κ m ``[…, n]``. count: κ ``[…]``, above 0. degrees: ν ``[…]``,
            above n - 1.

    Source: Murphy, "Conjugate Bayesian analysis of the Gaussian distribution", 2007, section 9.
    """

    second: Tensor
    first: Tensor
    count: Tensor
    degrees: Tensor

    ranks: ClassVar[tuple[int, ...]] = (2, 1, 0, 0)

    @staticmethod
    def of_standard(scatter: Tensor, mean: Tensor, count: Tensor, degrees: Tensor) -> NormalInverseWishart:
        """The family's member of S ``[…, n, n]``, m ``[…, n]``, κ and ν ``[…]``."""
        first = count[..., None] * mean
        return NormalInverseWishart(scatter + outer(first, mean), first, count, degrees)

    def standard(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """S ``[…, n, n]``, m ``[…, n]``, κ and ν ``[…]``."""
        mean = self.first / self.count[..., None]
        return self.second - outer(self.first, mean), mean, self.count, self.degrees

    def log_normaliser(self) -> Tensor:
        scatter, _, count, degrees = self.standard()
        n = scatter.shape[-1]
        volume = wishart_log_normaliser(degrees, log_det(self._lower(scatter)), n)
        return volume - 0.5 * n * count.log()

    def expected(self) -> Statistics:
        scatter, mean, count, degrees = self.standard()
        n = scatter.shape[-1]
        lower = self._lower(scatter)
        precision = degrees[..., None, None] * inverse(lower)  # E J
        information = (precision @ mean[..., None])[..., 0]  # E J µ
        square = n / count + (mean * information).sum(dim=-1)  # E µ^T J µ
        return -0.5 * precision, information, -0.5 * square, 0.5 * wishart_log_det(degrees, log_det(lower), n)

    def expected_factor(self) -> GaussianFactor:
        """``exp E ln N(x; µ, Σ)`` as a factor of x."""
        quadratic, linear, square, volume = self.expected()
        return GaussianFactor(quadratic, linear, square + volume)

    @staticmethod
    def sufficient(statistics: Statistics) -> Statistics:
        """Statistics of Gaussian points, ``(Σ x x^T, Σ x, count)``, as they add to η."""
        second, first, count = statistics
        return second, first, count, count

    @staticmethod
    def _lower(scatter: Tensor) -> Tensor:
        return cholesky(scatter, of="scatter matrix of a normal-inverse-Wishart distribution")


def wishart_log_normaliser(degrees: Tensor, scatter_log_det: Tensor, n: int) -> Tensor:
    """``½ ν n ln 2 + ln Γ_n(ν/2) - ½ ν ln|S|`` of an inverse-Wishart distribution, ``[…]``."""
    volume = torch.mvlgamma(0.5 * degrees, n)
    return 0.5 * degrees * (n * math.log(2) - scatter_log_det) + volume


def wishart_log_det(degrees: Tensor, scatter_log_det: Tensor, n: int) -> Tensor:
    """``E ln|Σ^-1| = Σ_{i<n} ψ((ν - i)/2) + n ln 2 - ln|S|``, ``[…]``."""
    below = torch.arange(n).to(degrees)
    return torch.digamma(0.5 * (degrees[..., None] - below)).sum(dim=-1) + n * math.log(2) - scatter_log_det
