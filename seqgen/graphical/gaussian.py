"""Gaussian factors in information form: products are sums of natural parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqgen.graphical.exponential_family import ExponentialFamily, Statistics
from seqgen.graphical.positive_definite import cholesky, inverse, log_det, outer, solve, whitened


@dataclass(frozen=True)
class GaussianFactor(ExponentialFamily):
    """Gaussian factor ``exp(x^T Λ x + h^T x + c)`` of vectors x, with statistics ``(x x^T, x, 1)``.

        Λ = -J/2,    log Z = c + ½ h^T J^-1 h - ½ ln|J|,    E x = J^-1 h,    E x x^T = J^-1 + E x E x^T

    J is the precision. An evidence potential may have any J of no negative eigenvalue, 0 included; a density has a
    positive definite one, and is normalised where ``log Z`` is 0.

    Attributes:
        quadratic: Λ ``[…, n, n]``. linear: h ``[…, n]``. constant: c ``[…]``.
    """

    quadratic: Tensor
    linear: Tensor
    constant: Tensor

    ranks: ClassVar[tuple[int, ...]] = (2, 1, 0)

    @staticmethod
    def of_standard(mean: Tensor, covariance: Tensor) -> GaussianFactor:
        """The normalised density of a mean ``[…, n]`` and a covariance ``[…, n, n]``.

        Raises:
            SeqgenError: for a covariance that is not positive definite.
        """
        lower = cholesky(covariance, of="covariance of a Gaussian")
        linear = solve(lower, mean)
        constant = -0.5 * (mean * linear).sum(dim=-1) - 0.5 * log_det(lower)
        return GaussianFactor(-0.5 * inverse(lower), linear, constant)

    @staticmethod
    def of_evidence(precision: Tensor, linear: Tensor) -> GaussianFactor:
        """The evidence potential of a diagonal precision and h, both ``[…, n]``; zeros where nothing was seen."""
        return GaussianFactor(-0.5 * torch.diag_embed(precision), linear, torch.zeros_like(linear[..., 0]))

    def standard(self) -> tuple[Tensor, Tensor]:
        """Mean ``[…, n]`` and covariance ``[…, n, n]``."""
        lower = self._lower()
        return solve(lower, self.linear), inverse(lower)

    @property
    def precision(self) -> Tensor:
        """J, ``[…, n, n]``."""
        return -(self.quadratic + self.quadratic.mT)

    def log_normaliser(self) -> Tensor:
        return self.inferred()[1]

    def expected(self) -> Statistics:
        return self.inferred()[0]

    def inferred(self) -> tuple[Statistics, Tensor]:
        """Expected statistics and ``log Z``, by one factorisation."""
        lower = self._lower()
        mean = solve(lower, self.linear)
        log_normaliser = self.constant + 0.5 * (self.linear * mean).sum(dim=-1) - 0.5 * log_det(lower)
        return (inverse(lower) + outer(mean, mean), mean, torch.ones_like(mean[..., 0])), log_normaliser

    def sample(self, normals: Tensor) -> Tensor:
        """Draws, a function of standard normals ``[…, n]``, which broadcast with the batch."""
        lower = self._lower()
        return solve(lower, self.linear) + whitened(lower, normals)

    def _lower(self) -> Tensor:
        return cholesky(self.precision, of="precision of a Gaussian")
