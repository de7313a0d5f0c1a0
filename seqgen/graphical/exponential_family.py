"""Exponential families: natural parameters, log normaliser, expected statistics, divergence of two members.

    p(x; η) = exp(<η, t(x)> - log Z(η)),        E t(x) = ∇ log Z(η)
    KL(η ‖ η') = <η - η', E_η t> - log Z(η) + log Z(η')

Families are frozen dataclasses whose fields are the natural parameters, with any batch dimensions before those of an
event. Expected statistics are a tuple in the order of the fields, so that they can be added to the natural parameters
of a conjugate prior. The base measure of real vectors is ``(2π)^{-n/2} dx``: no factor holds a power of 2π.

Source: Wainwright and Jordan, "Graphical models, exponential families, and variational inference", 2008, chapter 3;
Johnson et al., arXiv 1603.06277, section 2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import torch
from torch import Tensor

Statistics = tuple[Tensor, ...]


@dataclass(frozen=True)
class Factor:
    """Factor ``exp <η, t(x)>`` of a graphical model: natural parameters that need not make a density.

    Attributes:
        ranks: of each field, how many of its dimensions belong to one event.
    """

    ranks: ClassVar[tuple[int, ...]]

    @property
    def natural(self) -> Statistics:
        """Natural parameters in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def __add__(self, other: Self) -> Self:
        """Product of two factors over the same variables: the sum of natural parameters, which broadcast."""
        return type(self)(*(mine + its for mine, its in zip(self.natural, other.natural, strict=True)))

    def __sub__(self, other: Self) -> Self:
        """Quotient of two factors: the difference of natural parameters."""
        return type(self)(*(mine - its for mine, its in zip(self.natural, other.natural, strict=True)))

    def __getitem__(self, index: object) -> Self:
        """Factors of some places of the batch; ``index`` is one of the batch dimensions."""
        return type(self)(*(parameter[index] for parameter in self.natural))

    def plus(self, statistics: Statistics, weight: float | Tensor = 1.0) -> Self:
        """Natural parameters plus ``weight · statistics``: of a conjugate prior it is the posterior."""
        return type(self)(*(mine + weight * its for mine, its in zip(self.natural, statistics, strict=True)))

    def inner(self, statistics: Statistics) -> Tensor:
        """``<η, t>``, summed over the dimensions of an event; batches broadcast."""
        return torch.stack(torch.broadcast_tensors(*self._products(statistics))).sum(dim=0)

    def mixed(self, weights: Tensor) -> Self:
        """Weighted sums of K factors: ``[…, K]`` weights over the first dimension of each field ``→ […]``."""
        return type(self)(*(torch.tensordot(weights, parameter, dims=1) for parameter in self.natural))

    def detached(self) -> Self:
        """The same values, through which no gradient runs."""
        return type(self)(*(parameter.detach() for parameter in self.natural))

    def _products(self, statistics: Statistics) -> list[Tensor]:
        products = []
        for rank, parameter, statistic in zip(self.ranks, self.natural, statistics, strict=True):
            each = parameter * statistic
            products.append(each.flatten(-rank).sum(dim=-1) if rank else each)
        return products


@dataclass(frozen=True)
class ExponentialFamily(Factor, ABC):
    """Member of an exponential family, or a batch of them."""

    @abstractmethod
    def log_normaliser(self) -> Tensor:
        """``log Z(η)`` of each member of the batch."""

    @abstractmethod
    def expected(self) -> Statistics:
        """``E t(x)``, the gradient of ``log_normaliser`` by the natural parameters, in their order."""

    def kl(self, other: Self) -> Tensor:
        """``KL(self ‖ other)`` in nats of each member of the batch, 0 or more."""
        return (self - other).inner(self.expected()) - self.log_normaliser() + other.log_normaliser()


def averaged(statistics: Statistics, weights: Tensor, ranks: tuple[int, ...]) -> Statistics:
    """Sums of statistics over a batch for each of K components, ``weights [N, K]``: fields ``[N, …] → [K, …]``.

    Statistics of no event dimensions are expanded to the batch, for those that are 1 everywhere.
    """
    summed = []
    for rank, statistic in zip(ranks, statistics, strict=True):
        event = statistic.shape[statistic.dim() - rank :]
        summed.append(torch.tensordot(weights.mT, statistic.expand(len(weights), *event), dims=1))
    return tuple(summed)
