"""Cholesky factors of symmetric positive definite matrices, and what is solved and measured by them."""

from __future__ import annotations

import torch
from torch import Tensor

from seqgen.errors import SeqgenError


def cholesky(matrix: Tensor, *, of: str) -> Tensor:
    """Lower triangular L of ``matrix = L L^T``, ``[…, n, n]``; ``of`` names the matrix in a refusal.

    Raises:
        SeqgenError: for a matrix that is not positive definite, or not finite.
    """
    try:
        return torch.linalg.cholesky(matrix)
    except torch.linalg.LinAlgError as error:
        raise SeqgenError(
            f"the {of} is not positive definite",
            remedy="give proper priors and potentials of precision 0 or more; take float64 where it is ill-conditioned",
        ) from error


def log_det(lower: Tensor) -> Tensor:
    """``ln |L L^T|`` of a Cholesky factor, ``[…, n, n] → […]``."""
    return 2 * lower.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)


def solve(lower: Tensor, vector: Tensor) -> Tensor:
    """``(L L^T)^-1 v`` of a vector: ``[…, n, n]``, ``[…, n] → […, n]``."""
    return torch.cholesky_solve(vector[..., None], lower)[..., 0]


def inverse(lower: Tensor) -> Tensor:
    """``(L L^T)^-1``, symmetric to the last bit, ``[…, n, n]``."""
    made = torch.cholesky_inverse(lower)
    return 0.5 * (made + made.mT)


def whitened(lower: Tensor, normals: Tensor) -> Tensor:
    """``L^-T ε``, which has the covariance ``(L L^T)^-1`` when ε is standard normal: ``[…, n, n]``, ``[…, n]``."""
    return torch.linalg.solve_triangular(lower.mT, normals[..., None], upper=True)[..., 0]


def outer(left: Tensor, right: Tensor) -> Tensor:
    """``a b^T`` of vectors, ``[…, n]``, ``[…, m] → […, n, m]``."""
    return left[..., :, None] * right[..., None, :]
