"""Matrix products in 8 bits, as the native engine makes them of int8 weights, and how one trains through them.

Whole numbers q stand for real ones, ``x ≈ q · absmax / top``:

    weights      q = round(127 w / absmax),      absmax the largest |w| of a row
    state        q = round(127 h),             |h| <= 1
    rectified    q = round(254 y / absmax),      absmax the largest y of a vector, y >= 0
    W x        ≈ (W_q x_q) · unit_W · unit_x,  unit = absmax / top

Gates are read from a table of 16 quadratics, within 2e-4 of σ and tanh, and saturate beyond |x| = 9.3.

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
# σ(STRETCH·y) - 1/2 for |y| in [k - 1/2, k + 1/2]: constant, slope and curvature at k; the engine's kernels have these.
STRETCH = 0.6
PIECES = (
    (0.0, 0.150475934, -0.0030972797),
    (0.145646676, 0.136698112, -0.0118026389),
    (0.268516302, 0.106655806, -0.0170172937),
    (0.358145535, 0.0732560381, -0.0156268887),
    (0.416827738, 0.0460309647, -0.011451263),
    (0.452575684, 0.0273281056, -0.00739187142),
    (0.473404437, 0.0156815406, -0.00444070809),
    (0.485226959, 0.00882333331, -0.00256231194),
    (0.491838038, 0.00490971096, -0.00144563708),
    (0.495504081, 0.00271513173, -0.000805546355),
    (0.497527629, 0.00149642804, -0.000446068181),
    (0.49864164, 0.000823154813, -0.000245934876),
    (0.499254048, 0.000452317909, -0.000135230919),
    (0.499590456, 0.000248414784, -7.4295167e-05),
    (0.499775201, 0.000136386967, -4.08354172e-05),
    (0.499900105, 0.000168812998, 7.1538691e-05),
)
LAST = 15.49  # from there on σ is 0 or 1


def _half_sigmoid(y: Tensor) -> Tensor:
    """``σ(STRETCH·y) - 1/2`` from the table."""
    size = y.abs().clamp_max(LAST)
    whole = size.round()
    rest = size - whole
    constant, slope, curve = y.new_tensor(PIECES).t()[:, whole.long()]
    return ((curve * rest + slope) * rest + constant).copysign(y)


class _Gate(torch.autograd.Function):
    """Gate from a table: the table's value forwards, the slope that the function has there backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, squash: bool) -> Tensor:
        made = 2 * _half_sigmoid(2 / STRETCH * x) if squash else _half_sigmoid(x / STRETCH) + 0.5
        ctx.squash = squash
        ctx.save_for_backward(made)
        return made

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (made,) = ctx.saved_tensors
        return grad * (1 - made * made if ctx.squash else made * (1 - made)), None


def sigmoid(x: Tensor) -> Tensor:
    """σ as the engine reads it from its table beside int8 weights; the gradient is ``y·(1 - y)``."""
    made: Tensor = _Gate.apply(x, False)
    return made


def tanh(x: Tensor) -> Tensor:
    """tanh as ``2 σ(2x) - 1`` from the same table; the gradient is ``1 - y²``."""
    made: Tensor = _Gate.apply(x, True)
    return made


class Levels(NamedTuple):
    """Quantized tensor: whole numbers, the real number that ``top`` of them stand for (along rows or vectors), and
    ``top``."""

    whole: Tensor
    absmax: Tensor
    top: int

    @property
    def unit(self) -> Tensor:
        """Weight that the integer 1 stands for."""
        return self.absmax / self.top

    @property
    def values(self) -> Tensor:
        """The real numbers."""
        return self.whole * self.unit


def weights(matrix: Tensor) -> Levels:
    """A matrix in 8 bits with one absmax a row; these are the very numbers that a bundle holds.

    Shapes: ``[R, C]`` → whole ``[R, C]``, absmax ``[R, 1]``. A row of zeros stays one.
    """
    absmax = matrix.detach().abs().amax(dim=1, keepdim=True)
    safe = torch.where(absmax > 0, absmax, 1).double()  # in float64 as in the engine: ties fall the same way
    return Levels((matrix.detach().double() / safe * TOP).round().to(matrix.dtype), absmax, TOP)


def state(hidden: Tensor) -> Levels:
    """States in 8 bits; ``[…, H]``, within [-1, 1]."""
    return Levels((hidden.detach() * TOP).round(), hidden.new_ones(()), TOP)


def rectified(y: Tensor) -> Levels:
    """Vectors of numbers from 0 in 8 bits; ``[…, H]``, one absmax a vector."""
    absmax = y.detach().amax(dim=-1, keepdim=True)
    safe = torch.where(absmax > 0, absmax, 1)
    return Levels((y.detach() * (RECTIFIED_TOP / safe)).round(), absmax, RECTIFIED_TOP)


class _Product(torch.autograd.Function):
    """Matrix product ``W x`` in 8 bits; under autocast the sums of whole numbers, which bfloat16 holds exactly, are
    rounded last."""

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


class FakeQuantizable(nn.Module):
    """A network that can make its products in 8 bits.

    Attributes:
        fake_quantized: whether it does. Set by training (:mod:`seqgen.train.quantization`) and never saved: the weights
            stay real numbers, of which an export makes whole ones.
    """

    fake_quantized: bool = False
