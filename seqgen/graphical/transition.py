"""Linear-Gaussian transition factors: what ties a state of a linear dynamical system to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqgen.graphical.exponential_family import Factor
from seqgen.graphical.positive_definite import cholesky, inverse, log_det


@dataclass(frozen=True)
class TransitionFactor(Factor):
    """Transition factor ``exp(x^T Λ_11 x + x^T Λ_12 y + y^T Λ_22 y + c)`` of a state x and the next, y, with statistics
    ``(x x^T, x y^T, y y^T, 1)``. For ``y = A x + N(0, Q)``:

        Λ_11 = -½ A^T Q^-1 A,    Λ_12 = A^T Q^-1,    Λ_22 = -½ Q^-1,    c = -½ ln|Q|

    Attributes:
        before: Λ_11 ``[…, n, n]``. across: Λ_12 ``[…, n, n]``. after: Λ_22 ``[…, n, n]``. constant: c ``[…]``.
    """

    before: Tensor
    across: Tensor
    after: Tensor
    constant: Tensor

    ranks: ClassVar[tuple[int, ...]] = (2, 2, 2, 0)

    @staticmethod
    def of_standard(matrix: Tensor, noise: Tensor) -> TransitionFactor:
        """The density of y given x: A and Q, both ``[…, n, n]``.

        Raises:
            SeqgenError: for a Q that is not positive definite.
        """
        lower = cholesky(noise, of="covariance of a transition's noise")
        precision = inverse(lower)
        across = matrix.mT @ precision
        return TransitionFactor(-0.5 * across @ matrix, across, -0.5 * precision, -0.5 * log_det(lower))

    def where(self, inside: Tensor) -> TransitionFactor:
        """Factors of each transition, bool ``[B, T - 1]``; outside, where a sequence has ended, a state is standard
        normal whatever was before it, which changes no other state and no normaliser."""
        n = self.after.shape[-1]
        still = -0.5 * torch.eye(n).to(self.after)
        shape, real = (*inside.shape, n, n), inside[..., None, None]
        return TransitionFactor(
            self.before.expand(shape) * real,
            self.across.expand(shape) * real,
            torch.where(real, self.after.expand(shape), still),
            self.constant.expand(inside.shape) * inside,
        )

    def standard(self) -> tuple[Tensor, Tensor]:
        """A and Q, ``[…, n, n]``, of a factor that is a density of y given x."""
        lower = cholesky(-2 * self.after, of="precision of a transition's noise")
        covariance = inverse(lower)
        return covariance @ self.across.mT, covariance
