"""The unnormalised posterior of a latent-variable model: what inference is about, with the observations held fixed."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from seqgen import noise
from seqgen.distributions.normal_quantile import quantile
from seqgen.noise import Key


class UnnormalisedPosterior(Protocol):
    """Joint density ``p(z) p(x|z)`` of a latent-variable model as a function of z, for a fixed batch of B examples x.

    Its integral over z is the evidence ``p(x)``; divided by that, it is the posterior ``p(z|x)``. Every z of example b
    stands at place b of the batch axis, whatever else is sampled side by side.

    Shapes: ``z [S, B, D] → [S, B]`` in nats, differentiable in z; examples and samples must not see each other.
    """

    def log_prior(self, z: Tensor) -> Tensor:
        """``ln p(z)``."""

    def log_likelihood(self, z: Tensor) -> Tensor:
        """``ln p(x|z)`` of each place's own x."""


def uniforms(key: Key, start: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) of a stream from position ``start`` on, of a shape, as ``like`` is."""
    drawn = noise.block(key.seed, key.stream, start, math.prod(shape))
    return torch.from_numpy(drawn).to(like).view(shape)


def normals(key: Key, start: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Standard normal numbers of a stream from position ``start`` on, one for each uniform ``u``: ``Φ⁻¹(u)``.

    Example:
        >>> normals(Key(0, 0), 0, (2, 3), torch.zeros(())).shape
        torch.Size([2, 3])
    """
    return quantile(uniforms(key, start, shape, like))


def log_mean_exp(values: Tensor, dim: int = 0) -> Tensor:
    """``ln (1/n Σ e^values)`` over an axis."""
    return torch.logsumexp(values, dim=dim) - math.log(values.shape[dim])
