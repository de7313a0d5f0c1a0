"""Small graphical models with drawn parameters, in float64, whose answers are known in another way."""

from __future__ import annotations

import torch
from torch import Tensor

from seqgen.graphical.gaussian import GaussianFactor
from seqgen.graphical.linear_dynamical import GaussianChain
from seqgen.graphical.transition import TransitionFactor


class Drawn:
    """Numbers of one seed, in the order that they are asked for."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def positive_definite(self, *shape: int, n: int) -> Tensor:
        root = self.normal(*shape, n, n)
        return root @ root.mT / n + 0.5 * torch.eye(n, dtype=torch.float64)

    def gaussian(self, *shape: int, n: int) -> GaussianFactor:
        return GaussianFactor.of_standard(self.normal(*shape, n), self.positive_definite(*shape, n=n))

    def transition(self, *shape: int, n: int) -> TransitionFactor:
        return TransitionFactor.of_standard(0.7 * self.normal(*shape, n, n), self.positive_definite(*shape, n=n))

    def evidence(self, *shape: int, n: int) -> GaussianFactor:
        return GaussianFactor.of_evidence(2 * self.uniform(*shape, n), self.normal(*shape, n))


def dense(chain: GaussianChain) -> GaussianFactor:
    """The chain as one Gaussian over all of its frames' numbers, ``[B]`` factors of T·n dimensions."""
    batch, frames, n = chain.nodes.linear.shape
    quadratic = torch.zeros(batch, frames * n, frames * n, dtype=torch.float64)
    linear = chain.nodes.linear.reshape(batch, frames * n).clone()
    constant = chain.nodes.constant.sum(dim=1) + chain.initial.constant
    linear[:, :n] += chain.initial.linear
    quadratic[:, :n, :n] += chain.initial.quadratic
    pairs = [parameter.expand(batch, frames - 1, n, n) for parameter in chain.pairs.natural[:3]]
    for t in range(frames):
        here, there = slice(t * n, t * n + n), slice(t * n + n, t * n + 2 * n)
        quadratic[:, here, here] += chain.nodes.quadratic[:, t]
        if t < frames - 1:
            quadratic[:, here, here] += pairs[0][:, t]
            quadratic[:, here, there] += pairs[1][:, t]
            quadratic[:, there, there] += pairs[2][:, t]
            constant = constant + chain.pairs.constant.expand(batch, frames - 1)[:, t]
    return GaussianFactor(quadratic, linear, constant)
