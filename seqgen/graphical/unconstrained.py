"""Unconstrained coordinates of conjugate families: numbers of any size stand for a member, for optimisers that follow
plain gradients.

    Dirichlet: ln α.    Normal-inverse-Wishart: S, m, ln κ, ln(ν - n + 1).    Matrix-normal one: S, M, K, ln(ν - n + 1)

A positive definite matrix ``L L^T`` is L with the logarithms of its diagonal; what is above the diagonal has no effect.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.graphical.dirichlet import DirichletFactor
from seqgen.graphical.exponential_family import ExponentialFamily
from seqgen.graphical.matrix_normal_inverse_wishart import MatrixNormalInverseWishart
from seqgen.graphical.normal_inverse_wishart import NormalInverseWishart
from seqgen.graphical.positive_definite import cholesky

Coordinates = tuple[Tensor, ...]


def unconstrained(member: ExponentialFamily) -> Coordinates:
    """Coordinates of a member.

    Raises:
        SeqgenError: for a family that is no conjugate prior.
    """
    if isinstance(member, DirichletFactor):
        return (member.standard().log(),)
    if isinstance(member, NormalInverseWishart):
        scatter, mean, count, degrees = member.standard()
        return _free(scatter), mean, count.log(), _above(degrees, scatter).log()
    if isinstance(member, MatrixNormalInverseWishart):
        scatter, mean, columns, degrees = member.standard()
        return _free(scatter), mean, _free(columns), _above(degrees, scatter).log()
    raise _unknown(type(member))


def constrained(kind: type[ExponentialFamily], coordinates: Coordinates) -> ExponentialFamily:
    """The member of a family that coordinates stand for.

    Raises:
        SeqgenError: for a family that is no conjugate prior.
    """
    if kind is DirichletFactor:
        (logarithm,) = coordinates
        return DirichletFactor.of_standard(logarithm.exp())
    if kind is NormalInverseWishart:
        free, mean, count, degrees = coordinates
        return NormalInverseWishart.of_standard(_bound(free), mean, count.exp(), degrees.exp() + free.shape[-1] - 1)
    if kind is MatrixNormalInverseWishart:
        free, mean, columns, degrees = coordinates
        degrees = degrees.exp() + free.shape[-1] - 1
        return MatrixNormalInverseWishart.of_standard(_bound(free), mean, _bound(columns), degrees)
    raise _unknown(kind)


def _free(matrix: Tensor) -> Tensor:
    lower = cholesky(matrix, of="matrix to be given coordinates")
    return lower.tril(-1) + torch.diag_embed(lower.diagonal(dim1=-2, dim2=-1).log())


def _bound(free: Tensor) -> Tensor:
    lower = free.tril(-1) + torch.diag_embed(free.diagonal(dim1=-2, dim2=-1).exp())
    return lower @ lower.mT


def _above(degrees: Tensor, scatter: Tensor) -> Tensor:
    """Degrees of freedom above their lowest value."""
    return degrees - (scatter.shape[-1] - 1)


def _unknown(kind: type[ExponentialFamily]) -> SeqgenError:
    return SeqgenError(
        f"{kind.__name__} has no unconstrained coordinates",
        remedy="give a Dirichlet, a normal-inverse-Wishart or a matrix-normal-inverse-Wishart distribution",
    )
