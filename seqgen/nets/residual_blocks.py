"""Residual blocks of dilated convolutions over sequences: rectified, and multiplicative.

A block is cut where its convolution reads a line of positions: ``enter`` makes what is kept of each position,
``leave`` what the block adds. Who runs it says what stands beside the line: the past alone (a causal network), or
padding on both sides.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqgen.nets.dilated import DropBytes, dilated, product
from seqgen.nets.normalization import Kind, normalization


def weights(outputs: int, inputs: int, *, gain: float = 1.0) -> nn.Parameter:
    """A matrix of fresh weights that keeps the size of what it is multiplied with, times ``gain``."""
    return nn.Parameter(torch.randn(outputs, inputs) * (gain * inputs**-0.5))


class ResidualBlock(nn.Module, ABC):
    """Bottleneck between residual streams of 2d channels: ``x + leave(line of enter(x))``.

    Args:
        channels: d. kernel, dilation: taps of the convolution and positions between them. norm: see
            :mod:`seqgen.nets.normalization`. dropout: probability with which what the last product reads is dropped.
        share: what the block's outputs are scaled by at first, so that many blocks add up to the size of one.
    """

    def __init__(self, channels: int, *, kernel: int, dilation: int, norm: Kind, dropout: float, share: float) -> None:
        super().__init__()
        self.dilation, self.reach = dilation, (kernel - 1) * dilation
        self.input_norm = normalization(norm, 2 * channels)
        self.narrow = weights(channels, 2 * channels, gain=math.sqrt(2))
        self.widen = weights(2 * channels, channels, gain=share)
        self.widen_bias = nn.Parameter(torch.zeros(2 * channels))
        self.dropout = DropBytes(dropout)

    @abstractmethod
    def enter(self, x: Tensor) -> Tensor:
        """Input of the convolution at each position: ``[B, T, 2d] → [B, T, d]``."""

    @abstractmethod
    def convolved(self, line: Tensor) -> Tensor:
        """The middle of the block: ``[B, T + reach, d] → [B, T, d]``."""

    def leave(self, line: Tensor) -> Tensor:
        """Residual that the block adds: ``[B, T + reach, d] → [B, T, 2d]``."""
        return product(self.dropout(self.convolved(line)), self.widen, self.widen_bias)


class RectifiedBlock(ResidualBlock):
    """Pre-activation bottleneck with rectifiers; its matrices hold (k/4 + 1)·(2d)² weights.

        enter = ReLU(LN(W_1 ReLU(LN x)))        leave = W_3 ReLU(LN(W_2 *_r line))

    Source: Kalchbrenner et al., arXiv 1610.10099, section 3 and figure 3, left; He et al., arXiv 1603.05027.
    """

    def __init__(self, channels: int, *, kernel: int, dilation: int, norm: Kind, dropout: float, share: float) -> None:
        super().__init__(channels, kernel=kernel, dilation=dilation, norm=norm, dropout=dropout, share=share)
        self.inner_norm = normalization(norm, channels)
        self.taps = weights(channels, kernel * channels, gain=math.sqrt(2))
        self.output_norm = normalization(norm, channels)

    def enter(self, x: Tensor) -> Tensor:
        narrow = product(self.input_norm(x).relu(), self.narrow)
        return self.inner_norm(narrow).relu()

    def convolved(self, line: Tensor) -> Tensor:
        return self.output_norm(dilated(line, self.taps, dilation=self.dilation)).relu()


def _opened(n: Tensor, h: Tensor, gain: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Gates and candidate ``(g1, g2, g3, u) [..., 4, d]`` and ``t = tanh(g2 ∘ h + g3 ∘ u)``; the gain and bias of u are
    doubled.

    tanh is ``2σ(2x) - 1``: torch's sigmoid takes a tenth of the time of its tanh on a CPU.
    """
    opened = torch.addcmul(bias, n, gain).sigmoid_()
    opened[..., 3, :].mul_(2).sub_(1)
    _, g2, g3, u = opened.unbind(-2)
    inner = torch.addcmul(g2 * h, g3, u)
    return opened, inner.mul_(2).sigmoid_().mul_(2).sub_(1)


class _Gates(torch.autograd.Function):
    """Gates of a multiplicative unit with a backward pass written out, which keeps a third of what autograd would."""

    @staticmethod
    def forward(ctx: Any, n: Tensor, h: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        opened, t = _opened(n, h, gain, bias)
        ctx.save_for_backward(n, h, gain, opened, t)
        return opened[..., 0, :] * t

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # type: ignore[override]
        n, h, gain, opened, t = ctx.saved_tensors
        g1, g2, g3, u = opened.unbind(-2)
        inner = grad * g1
        inner.addcmul_(inner * t, t, value=-1)  # the gradient of g2 ∘ h + g3 ∘ u
        slope = torch.addcmul(opened, opened, opened, value=-1)  # σ' of the gates
        slope[..., 0, :].mul_(grad * t)
        slope[..., 1, :].mul_(inner * h)
        slope[..., 2, :].mul_(inner * u)
        last = slope[..., 3, :]  # half of tanh', as u is told by the double of its input
        last.copy_(g3).addcmul_(g3 * u, u, value=-1).mul_(inner).mul_(0.5)
        rows = tuple(range(n.dim() - 2))
        return slope * gain, inner * g2, (slope * n).sum(rows), slope.sum(rows)


class MultiplicativeUnit(nn.Module):
    """Multiplicative unit: three gates and a candidate, each a convolution of its own, let a position's input through.

        g_i = σ(LN(W_i *_r h)), i = 1, 2, 3        u = tanh(LN(W_4 *_r h))
        y   = g1 ∘ tanh(g2 ∘ h + g3 ∘ u)

    The four convolutions are one product.

    Shapes: ``[B, T + (kernel - 1)·dilation, d] → [B, T, d]``; ``h`` is the newest position.

    Source: Kalchbrenner et al., "Video pixel networks", arXiv 1610.00527, section 3.2, and arXiv 1610.10099, section 3.
    """

    def __init__(self, channels: int, *, kernel: int, dilation: int, norm: Kind) -> None:
        super().__init__()
        self.dilation, self.reach = dilation, (kernel - 1) * dilation
        self.taps = weights(4 * channels, kernel * channels)
        self.norm = normalization(norm, 4 * channels, groups=4)
        self.register_buffer("scale", torch.tensor([[1.0], [1.0], [1.0], [2.0]]), persistent=False)

    scale: Tensor

    def forward(self, line: Tensor) -> Tensor:
        n = self.norm.standard(dilated(line, self.taps, dilation=self.dilation)).unflatten(-1, (4, -1))
        gain, bias = ((self.scale * p.unflatten(0, (4, -1))).to(n.dtype) for p in (self.norm.gain, self.norm.bias))
        h = line[:, self.reach :]
        if torch.is_grad_enabled():
            y: Tensor = _Gates.apply(n, h, gain, bias)
            return y
        # Nothing is kept here, so nothing is changed where it lies, which traced graphs could not do to a part.
        g1, g2, g3, u = torch.addcmul(bias, n, gain).sigmoid_().unbind(-2)
        t = torch.addcmul(g2 * h, g3, 2 * u - 1).mul_(2).sigmoid_().mul_(2).sub_(1)
        return g1 * t


class MultiplicativeBlock(ResidualBlock):
    """Bottleneck around a multiplicative unit.

        enter = W_1 LN(x)        leave = W_3 MU(line)

    Source: Kalchbrenner et al., arXiv 1610.10099, section 3 and figure 3, right, with one unit.
    """

    def __init__(self, channels: int, *, kernel: int, dilation: int, norm: Kind, dropout: float, share: float) -> None:
        super().__init__(channels, kernel=kernel, dilation=dilation, norm=norm, dropout=dropout, share=share)
        self.unit = MultiplicativeUnit(channels, kernel=kernel, dilation=dilation, norm=norm)

    def enter(self, x: Tensor) -> Tensor:
        return product(self.input_norm(x), self.narrow)

    def convolved(self, line: Tensor) -> Tensor:
        made: Tensor = self.unit(line)
        return made


Form = Literal["relu", "multiplicative"]
BLOCKS: dict[str, type[ResidualBlock]] = {"relu": RectifiedBlock, "multiplicative": MultiplicativeBlock}
