"""The relaxed categorical distribution: points of a simplex that become symbols as the temperature falls.

Source: Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax", arXiv 1611.01144, section 2;
Maddison, Mnih and Teh, "The Concrete distribution", arXiv 1611.00712.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqgen.distributions.normal_quantile import SMALLEST

LEAST = -80.0
"""Logarithms of a point's entries are held above this, so that no entry is 0 and each point lies inside the simplex."""


def gumbel(u: Tensor) -> Tensor:
    """Standard Gumbel noise from uniforms: ``g = -ln(-ln u)``, with a mean of 0.5772 and a variance of π²/6.

    Shapes: any; u in [0, 1], held at 2^-25 and 1 - 2^-24, so that g is in -2.9 … 16.7.

    Example:
        >>> gumbel(torch.tensor([0.5]))
        tensor([0.3665])
    """
    return -torch.log(-torch.log(u.clamp(SMALLEST, 1 - 2 * SMALLEST)))


def relaxed(perturbed: Tensor, temperature: Tensor | float) -> Tensor:
    """Points ``y = softmax((θ + g) / τ)`` of the simplex, for logits with Gumbel noise on them: ``[…, K] → […, K]``.

    The largest entry is where ``θ + g`` is largest, at every temperature; so it is a symbol of ``softmax(θ)`` exactly.

    Example:
        >>> relaxed(torch.tensor([0.0, 1.0]), 0.5)
        tensor([0.1192, 0.8808])
    """
    return torch.log_softmax(perturbed / temperature, dim=-1).clamp_min(LEAST).exp()


def log_density(log_probs: Tensor, y: Tensor, temperature: Tensor | float) -> Tensor:
    """Density of relaxed samples on the simplex, in nats by the Lebesgue measure of all entries but one:

        ln p(y) = ln Γ(K) + (K - 1) ln τ - K ln Σ_i π_i y_i^-τ + Σ_i (ln π_i - (τ + 1) ln y_i)

    Shapes: normalised log-probabilities ``[…, K]`` and points with entries above 0, ``[…, K] → […]``.

    Source: arXiv 1611.01144, section 2.
    """
    classes = y.shape[-1]
    tau = torch.as_tensor(temperature, dtype=y.dtype, device=y.device)
    logs = torch.log(y)
    total = torch.logsumexp(log_probs - tau * logs, dim=-1)
    each = (log_probs - (tau + 1) * logs).sum(dim=-1)
    return math.lgamma(classes) + (classes - 1) * torch.log(tau) - classes * total + each


def log_prob(log_probs: Tensor, y: Tensor, temperature: Tensor | float) -> Tensor:
    """Probabilities of symbols, ``Σ_i y_i ln π_i`` of one-hots y, and densities of points inside the simplex
    (:func:`log_density`), in nats: ``[…, K], […, K] → […]``."""
    symbol = (y == 0).any(dim=-1)  # […]
    inside = torch.where(symbol[..., None], torch.full_like(y, 1 / y.shape[-1]), y)  # whose logarithms are finite
    return torch.where(symbol, (log_probs * y).sum(dim=-1), log_density(log_probs, inside, temperature))
