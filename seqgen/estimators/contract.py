"""The contract of an estimator: a lower bound of mutual information, from a critic's scores of a batch of pairs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor


class Estimator(ABC):
    """A lower bound of the mutual information ``I(X; Y)``, in nats, from the scores that a critic f gives K pairs.

        F[i, j] = f(x_j, y_i):  a row for each y, a column for each x
        E value(F) ≤ I(X; Y)    over batches, whatever the critic

    The diagonal scores the K pairs, a sample of the joint distribution; the K(K-1) places beside it score what does not
    belong together, a sample of the product of the marginals. Registered estimators are constructed of their options
    alone; the laws of :func:`seqgen.estimators.verify.verify` hold for each of them.

    Attributes:
        offset: the best critic is ``ln p(x, y) - ln p(x) p(y)`` plus this number.
        ignores_marginal: whether ``f(x, y) + c(y)`` gives the same value for every function c. The critic then learns
            ``ln p(y | x)`` up to such a function.
        cap_formula: :meth:`cap` in words; "" where there is none.

    Source: Poole et al., "On variational bounds of mutual information", arXiv 1905.06922.

    Example:
        >>> InfoNCE(InfoNCE.Config()).value(torch.zeros(8, 8))
        tensor(0.)
    """

    Config: ClassVar[type[Any]]
    offset: ClassVar[float] = 0.0
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
        """The bound on each batch, ``[…, K, K] → […]`` in nats; a critic is trained by climbing its gradient."""

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
