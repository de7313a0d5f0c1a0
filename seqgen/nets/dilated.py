"""Dilated convolutions of sequences that lie channels last, ``[B, T, C]``, as they are wherever layers meet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dilated(line: Tensor, weight: Tensor, bias: Tensor | None = None, *, dilation: int = 1) -> Tensor:
    """Convolution of a line by ``K`` taps that lie ``dilation`` positions apart, without any padding.

        y_t = b + Σ_k W_k x_{t + k·dilation}

    The weight holds the taps side by side, the oldest first: a product with it of ``K`` inputs side by side is one
    output. So a step of one position is that product. More positions go through torch's two-dimensional convolution
    of channels-last images one pixel high, which reads them where they lie; in float32 on a CPU it makes twice the
    products a second that a matrix product does, since oneDNN uses the vector registers to their full width.

    Shapes: ``line [B, T + (K-1)·dilation, C]``, ``weight [O, K·C]``, ``bias [O]`` → ``[B, T, O]``.

    Example:
        >>> dilated(torch.ones(1, 5, 2), torch.ones(1, 6)).flatten().tolist()
        [6.0, 6.0, 6.0]
    """
    channels = int(line.shape[2])  # a fixed number in a traced graph too
    taps = weight.shape[1] // channels
    length = line.shape[1] - (taps - 1) * dilation
    if length <= 1:
        beside = [line[:, tap * dilation : tap * dilation + length] for tap in range(taps)]
        return F.linear(torch.cat(beside, dim=2), weight, bias)
    image = line.transpose(1, 2).unsqueeze(2)  # [B, C, 1, T + …], channels last in memory
    kernel = weight.unflatten(1, (taps, channels)).transpose(1, 2).unsqueeze(2)  # [O, C, 1, K], likewise
    made = F.conv2d(image, kernel, bias, dilation=(1, dilation))  # [B, O, 1, T]
    return made.squeeze(2).transpose(1, 2)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Linear layer at every position, ``y_t = W x_t + b``: :func:`dilated` with one tap.

    Shapes: ``x [B, T, C]``, ``weight [O, C]``, ``bias [O]`` → ``[B, T, O]``.
    """
    return dilated(x, weight, bias)


class DropBytes(torch.nn.Module):
    """Dropout: in training each value is zero with the given probability, and the others are made larger so that the
    mean stays.

        y = x · m / (1 - p),    m = 0 with probability p

    The probability is rounded to a 256th: one random byte decides for each value, of which torch's generator makes
    eight at once. Its own dropout takes about five nanoseconds a value on a CPU, as long as a narrow layer's products.

    Source: Srivastava et al., "Dropout", Journal of Machine Learning Research 15, 2014, section 4.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.level = round(256 * probability)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.level == 0:
            return x
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.level
        return x * kept * (256 / (256 - self.level))
