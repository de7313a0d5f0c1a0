"""The contract of an estimator: mutual information from a critic's scores of a batch of pairs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self, final

import torch
from torch import Tensor

Kind = Literal["lower bound", "upper bound", "neither"]
Scores = Literal["any", "density", "known density"]


class Estimator(ABC):
    """An estimate of the mutual information ``I(X; Y)``, in nats, from the scores that a critic f gives K pairs.

        F[i, j] = f(x_j, y_i):  a row for each y, a column for each x
        lower bound:  E value(F) ≤ I(X; Y)    over batches, whatever critic the estimator takes
        upper bound:  E value(F) ≥ I(X; Y)

    The diagonal scores the K pairs, a sample of the joint distribution; the K(K-1) places beside it score what does not
    belong together, a sample of the product of the marginals. Registered estimators are constructed of their options
    alone; the laws of :func:`seqgen.estimators.verify.verify` hold for each of them.

    Attributes:
        kind: what it is. What is "neither" is above the information with some critics and below it with others, and
            comes near it with many pairs and the best critic.
        takes: what scores have to be: "any" function of x and y; ``ln q(y_i | x_j)`` of any "density" q; or that of the
            "known density" by which y was drawn. A function of y may be added where ``ignores_marginal`` says so.
        own_gradient: whether a critic climbs the value itself; if not it climbs :meth:`climbed`, which the same critic
            makes highest.
        forgetting: share of a new batch in the running mean of :meth:`followed`; 0 where nothing is followed.
        offset: the best critic is ``ln p(x, y) - ln p(x) p(y)`` plus this number (of a density ``ln p(y | x)``).
        ignores_marginal: whether ``f(x, y) + c(y)`` gives the same value for every function c. The critic then learns
            ``ln p(y | x)`` up to such a function.
        cap_formula: :meth:`cap` in words; "" where there is none.

    Source: Poole et al., "On variational bounds of mutual information", arXiv 1905.06922.

    Example:
        >>> InfoNCE(InfoNCE.Config()).value(torch.zeros(8, 8))
        tensor(0.)
    """

    Config: ClassVar[type[Any]]
    kind: ClassVar[Kind] = "lower bound"
    takes: ClassVar[Scores] = "any"
    own_gradient: bool = True
    forgetting: float = 0.0
    offset: float = 0.0
    ignores_marginal: bool = False
    cap_formula: str = ""

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """Instances that the laws are run over; by default one of default options."""
        return [cls(cls.Config())]

    @abstractmethod
    def value(self, scores: Tensor) -> Tensor:
        """The estimate of each batch, ``[…, K, K] → […]`` in nats."""

    def climbed(self, scores: Tensor, mean: Tensor | None = None) -> Tensor:
        """Function whose gradient a critic climbs, ``[…, K, K] → […]``: the value, unless ``own_gradient`` is unset.

        ``mean`` is the running mean of what is :meth:`followed`, this batch included, where there is such.
        """
        return self.value(scores)

    def followed(self, scores: Tensor) -> Tensor:
        """Statistic that a running mean follows, ``[…, K, K] → […]``; only where ``forgetting`` is above 0."""
        raise NotImplementedError(f"{type(self).__name__} follows nothing")

    @final
    def trained(self, scores: Tensor, mean: Tensor | None = None) -> Tensor:
        """The value, with the gradient of what is :meth:`climbed`."""
        if self.own_gradient:
            return self.value(scores)
        climbed = self.climbed(scores, mean)
        return climbed + (self.value(scores) - climbed).detach()

    def cap(self, pairs: int) -> float:
        """The largest value that a batch of ``pairs`` pairs can give, whatever the critic, in nats."""
        return math.inf

    @final
    def variance(self, scores: Tensor) -> Tensor:
        """Variance of the value from batch to batch, judged by each batch alone: ``[…, K, K] → […]`` in nats².

        The jackknife: with ``v_k`` the value without pair k, and v̄ their mean,

            (K - 1)/K Σ_k (v_k - v̄)²

        It is rather too large than too small, up to twice as large where a few pairs beside the diagonal decide (Efron
        and Stein, "The jackknife estimate of variance", Annals of Statistics 1981).
        """
        pairs = scores.shape[-1]
        others = torch.arange(pairs - 1, device=scores.device)
        kept = others + (others >= torch.arange(pairs, device=scores.device)[:, None])  # [K, K-1], all but one
        parts = scores[..., kept[:, :, None], kept[:, None, :]]  # […, K, K-1, K-1]
        return (pairs - 1) * self.value(parts).var(dim=-1, correction=0)


def log_partition(scores: Tensor) -> Tensor:
    """``ln 1/K(K-1) Σ_{i≠j} e^{F_ij}``, what a batch says of ``ln E e^f`` over the product of the marginals:
    ``[…, K, K] → […]``."""
    pairs = scores.shape[-1]
    beside = scores.masked_fill(torch.eye(pairs, dtype=torch.bool, device=scores.device), -math.inf)
    return torch.logsumexp(beside.flatten(-2), dim=-1) - math.log(pairs * (pairs - 1))


def joint_mean(scores: Tensor) -> Tensor:
    """``1/K Σ_i F_ii``, the mean over the pairs: ``[…, K, K] → […]``."""
    return scores.diagonal(dim1=-2, dim2=-1).mean(dim=-1)


def product_mean(scores: Tensor) -> Tensor:
    """``1/K(K-1) Σ_{i≠j} F_ij``, the mean over what does not belong together: ``[…, K, K] → […]``."""
    pairs = scores.shape[-1]
    joint = joint_mean(scores)
    return (scores.mean(dim=(-2, -1)) * pairs - joint) / (pairs - 1)
