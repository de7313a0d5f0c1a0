"""Matrix products in 8 bits, as the native engine makes them of int8 weights, and how one trains through them.

Whole numbers q stand for real ones, ``x ≈ q · peak / top``:

    weights      q = round(127 w / peak),      peak the largest |w| of a row
    state        q = round(127 h),             |h| <= 1
    rectified    q = round(254 y / peak),      peak the largest y of a vector, y >= 0
    W x        ≈ (W_q x_q) · unit_W · unit_x,  unit = peak / top

The sum of whole numbers is exact. Backwards the rounding counts as the identity (straight-through estimator; Bengio,
Léonard & Courville, arXiv 1308.3432, section 4), the products are those of the rounded numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOP = 127
RECTIFIED_TOP = 254


class Levels(NamedTuple):
    """Whole numbers, the real number that ``top`` of them stand for (along rows or vectors), and ``top``."""

    whole: Tensor
    peak: Tensor
    top: int

    @property
    def unit(self) -> Tensor:
        """What 1 stands for."""
        return self.peak / self.top

    @property
    def values(self) -> Tensor:
        """The real numbers."""
        return self.whole * self.unit


def weights(matrix: Tensor) -> Levels:
    """A matrix in 8 bits with one peak a row; these are the very numbers that a bundle holds.

    Shapes: ``[R, C]`` → whole ``[R, C]``, peak ``[R, 1]``. A row of zeros stays one.
    """
    peak = matrix.detach().abs().amax(dim=1, keepdim=True)
    safe = torch.where(peak > 0, peak, 1).double()  # in float64 as in the engine: ties fall the same way
    return Levels((matrix.detach().double() / safe * TOP).round().to(matrix.dtype), peak, TOP)


def state(hidden: Tensor) -> Levels:
    """States in 8 bits; ``[…, H]``, within [-1, 1]."""
    return Levels((hidden.detach() * TOP).round(), hidden.new_ones(()), TOP)


def rectified(y: Tensor) -> Levels:
    """Vectors of numbers from 0 in 8 bits; ``[…, H]``, one peak a vector."""
    peak = y.detach().amax(dim=-1, keepdim=True)
    safe = torch.where(peak > 0, peak, 1)
    return Levels((y.detach() * (RECTIFIED_TOP / safe)).round(), peak, RECTIFIED_TOP)


class _Product(torch.autograd.Function):
    """``W x`` in 8 bits; under autocast the sums of whole numbers, which bfloat16 holds exactly, are rounded last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, small: Callable[[Tensor], Levels]) -> Tensor:
        left, right = weights(weight), small(x)
        ctx.save_for_backward(left.values, right.values)
        return F.linear(right.whole, left.whole) * left.unit[:, 0] * right.unit

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        weight, x = ctx.saved_tensors
        grad_weight = grad.flatten(0, -2).t() @ x.flatten(0, -2)
        return grad @ weight, grad_weight, None


def product(x: Tensor, weight: Tensor, small: Callable[[Tensor], Levels]) -> Tensor:
    """``W x`` with both in 8 bits, differentiable in both; ``small`` is :func:`state` or :func:`rectified`.

    Shapes: ``[…, C]``, ``[R, C] → […, R]``.

    Example:
        >>> product(torch.tensor([[0.5, 1.0]]), torch.tensor([[1.0, -1.0]]), state)
        tensor([[-0.4961]])
    """
    made: Tensor = _Product.apply(x, weight, small)
    return made


def head(y: Tensor, inner: nn.Linear, outer: nn.Linear) -> Tensor:
    """``outer(relu(inner(y)))`` of a state in 8 bits. Shapes: ``[…, H] → […, outputs]``."""
    between = torch.relu(product(y, inner.weight, state) + inner.bias)
    return product(between, outer.weight, rectified) + outer.bias


class Roundable(nn.Module):
    """A network that can make its products in 8 bits.

    Attributes:
        rounded: whether it does. Set by training (:mod:`seqgen.train.quantise`) and never saved: the weights stay real
            numbers, of which an export makes whole ones.
    """

    rounded: bool = False
