"""Matrix-normal-inverse-Wishart distributions in natural form: conjugate priors of linear-Gaussian transitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from seqgen.graphical.exponential_family import ExponentialFamily, Statistics
from seqgen.graphical.normal_inverse_wishart import wishart_log_det, wishart_log_normaliser
from seqgen.graphical.positive_definite import cholesky, inverse, log_det
from seqgen.graphical.transition import TransitionFactor


@dataclass(frozen=True)
class MatrixNormalInverseWishart(ExponentialFamily):
    """Matrix-normal-inverse-Wishart distribution of ``y = A x + N(0, Q)``: ``Q ~ IW(S, ν)``, ``A ~ MN(M, Q, K)`` (rows
    as Q, columns as K), n outputs and m inputs:

        t = (-½ A^T Q^-1 A, A^T Q^-1, -½ Q^-1, ½ ln|Q^-1|),        η = (K^-1, K^-1 M^T, S + M K^-1 M^T, ν)
        log Z = ½ ν n ln 2 + ln Γ_n(ν/2) - ½ ν ln|S| + ½ n ln|K|
        E Q^-1 = ν S^-1,  E Q^-1 A = ν S^-1 M,  E A^T Q^-1 A = n K + ν M^T S^-1 M

    t is what a transition of A and Q has as natural parameters, so statistics ``Σ (x x^T, x y^T, y y^T, 1)`` add to η.

    Attributes:
        before: K^-1 ``[…, m, m]``. across: K^-1 M^T ``[…, m, n]``. after: ``S + M K^-1 M^T`` ``[…, n, n]``.
        degrees: ν ``[…]``, above n - 1.

    Source: Fox et al., "Bayesian nonparametric inference of switching dynamic linear models", arXiv 1003.3829.
    """

    before: Tensor
    across: Tensor
    after: Tensor
    degrees: Tensor

    ranks: ClassVar[tuple[int, ...]] = (2, 2, 2, 0)

    @staticmethod
    def of_standard(scatter: Tensor, mean: Tensor, columns: Tensor, degrees: Tensor) -> MatrixNormalInverseWishart:
        """The family's member of S ``[…, n, n]``, M ``[…, n, m]``, K ``[…, m, m]`` and ν ``[…]``."""
        before = inverse(cholesky(columns, of="column covariance of a matrix-normal distribution"))
        across = before @ mean.mT
        return MatrixNormalInverseWishart(before, across, scatter + mean @ across, degrees)

    def standard(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """S ``[…, n, n]``, M ``[…, n, m]``, K ``[…, m, m]`` and ν ``[…]``."""
        columns = inverse(cholesky(self.before, of="column precision of a matrix-normal distribution"))
        mean = self.across.mT @ columns
        return self.after - mean @ self.across, mean, columns, self.degrees

    def log_normaliser(self) -> Tensor:
        scatter, _, columns, degrees = self.standard()
        n = scatter.shape[-1]
        volume = wishart_log_normaliser(degrees, log_det(self._lower(scatter)), n)
        return volume + 0.5 * n * log_det(cholesky(columns, of="column covariance of a matrix-normal distribution"))

    def expected(self) -> Statistics:
        scatter, mean, columns, degrees = self.standard()
        n = scatter.shape[-1]
        lower = self._lower(scatter)
        precision = degrees[..., None, None] * inverse(lower)  # E Q^-1
        across = mean.mT @ precision  # E A^T Q^-1
        before = n * columns + across @ mean  # E A^T Q^-1 A
        return -0.5 * before, across, -0.5 * precision, 0.5 * wishart_log_det(degrees, log_det(lower), n)

    def expected_factor(self) -> TransitionFactor:
        """``exp E ln N(y; A x, Q)`` as a factor of x and y."""
        return TransitionFactor(*self.expected())

    @staticmethod
    def _lower(scatter: Tensor) -> Tensor:
        return cholesky(scatter, of="scatter matrix of a matrix-normal-inverse-Wishart distribution")
