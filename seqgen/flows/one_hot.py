"""Arithmetic modulo K on one-hot vectors, so that gradients pass through additions and multiplications of symbols.

For hard one-hots the operations are those of integers modulo K; for soft ones, probabilities of independent choices,
they are the probabilities of the result. Straight-through vectors are hard where they are computed with and soft where
they are differentiated.

Source: Tran et al., "Discrete Flows: Invertible Generative Models of Discrete Data", arXiv 1905.10347, section 4;
Bengio et al., arXiv 1308.3432 (the straight-through estimator).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.errors import SeqgenError


class _Hardened(torch.autograd.Function):
    """The largest entry's one-hot forwards, the identity backwards."""

    @staticmethod
    def forward(ctx: Any, soft: Tensor) -> Tensor:
        return one_hot(soft.argmax(dim=-1), soft.shape[-1], soft.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]  # one input, one output
        return gradient


def one_hot(symbols: Tensor, vocab_size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """One-hot vectors of symbols: int64 ``[…] → […, K]``."""
    return F.one_hot(symbols, vocab_size).to(dtype)


def hardened(soft: Tensor) -> Tensor:
    """The one-hot of the largest entry (the first of equals), exactly; its gradient is that of ``soft``.

    Example:
        >>> hardened(torch.tensor([0.2, 0.5, 0.3]))
        tensor([0., 1., 0.])
    """
    hard: Tensor = _Hardened.apply(soft)  # type: ignore[no-untyped-call]
    return hard


def straight_through(logits: Tensor, temperature: float) -> Tensor:
    """The one-hot of the largest logit, with the gradient of ``softmax(logits / τ)``: ``[…, K] → […, K]``.

    The gradient is a biased estimate: it is exact only for what is linear in the one-hot.
    """
    return hardened(torch.softmax(logits / temperature, dim=-1))


def add(x: Tensor, s: Tensor) -> Tensor:
    """``(x + s) mod K``: ``add(x, s)[u] = Σ_v x[v] s[(u - v) mod K]``, a circular convolution, ``[…, K]`` twice ``→ […,
    K]``.

    By Fourier transforms: at K = 27 and 91 they take a seventh and a fiftieth of the time of sums over K² products, at
    K = 5 the same. Their rounding is for :func:`hardened` to take away.
    """
    return torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(s), n=x.shape[-1])


def minus(x: Tensor, s: Tensor) -> Tensor:
    """``(x - s) mod K``: ``minus(x, s)[u] = Σ_v x[v] s[(v - u) mod K]``, the inverse of :func:`add` for hard ``s``."""
    return torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(s).conj(), n=x.shape[-1])


def mul(x: Tensor, a: Tensor, factors: tuple[int, ...]) -> Tensor:
    """``(a · x) mod K``: ``mul(x, a)[u] = Σ_k a[k] Σ_v x[v] 1{(k v) mod K = u}``, ``[…, K], […, F] → […, K]``.

    Args:
        a: one-hot over the factors. factors: what its entries stand for; 0, which has no inverse, is none of them.

    Raises:
        SeqgenError: where 0 is a factor.
    """
    size = x.shape[-1]
    if any(factor % size == 0 for factor in factors):
        raise SeqgenError(f"a factor of 0 modulo {size} has no inverse", remedy="leave it out")
    products = x @ _multiples(size, factors).to(x)  # [..., F·K]
    return (a[..., None, :] @ products.unflatten(-1, (len(factors), size)))[..., 0, :]


@functools.cache
def _multiples(size: int, factors: tuple[int, ...]) -> Tensor:
    """``[K, F·K]``: row v has a 1 at every multiple of v by a factor."""
    products = torch.arange(size)[:, None] * torch.tensor(factors) % size  # [K, F]
    return one_hot(products, size).flatten(1)


def units(size: int) -> tuple[int, ...]:
    """Numbers below K that are coprime to it: those that multiplication modulo K can be undone of.

    Example:
        >>> units(9)
        (1, 2, 4, 5, 7, 8)
    """
    return tuple(factor for factor in range(1, size) if math.gcd(factor, size) == 1)


def inverses(factors: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The modular inverses ``σ⁻¹`` with ``σ · σ⁻¹ ≡ 1 (mod K)``, in the factors' order.

    Raises:
        SeqgenError: for a factor that has none.
    """
    for factor in factors:
        if math.gcd(factor, size) != 1:
            raise SeqgenError(
                f"{factor} has no inverse modulo {size}: they have the divisor {math.gcd(factor, size)}",
                remedy="choose factors that are coprime to the size of the alphabet",
            )
    return tuple(pow(factor, -1, size) for factor in factors)
