"""The bound between InfoNCE and an unnormalised one: what it gains in range it pays in variance, by one number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.estimators.contract import Estimator


class Interpolated(Estimator):
    """``1 + 1/K(K-1) Σ_{i≠j} [F_ii - A_ij - e^{F_ij - A_ii}]`` with a baseline between a batch's own and 1:

        A_ij = ln(α 1/(K-1) Σ_{l≠j} e^{F_il} + 1 - α)

    Column j is held out of its own baseline, which keeps this a bound for every α; the average is over all that can be
    held out. At α = 1 it is an InfoNCE with K - 1 pairs whose negatives are drawn apart, at α = 0 it is
    ``1 + E F_ii - E e^{F_ij}``, without bias at the best critic. No batch gives more than ``1 + ln (K-1)/α``.

    Raises:
        SeqgenError: for an α outside [0, 1].

    Source: Poole et al., arXiv 1905.06922, section 2.3; the form with columns held out is that of the authors'
    notebook.
    """

    @dataclass(frozen=True)
    class Config:
        """``alpha``: share of the batch's own baseline."""

        alpha: float = 0.01

        def __post_init__(self) -> None:
            if not 0 <= self.alpha <= 1:
                raise SeqgenError(f"'alpha' is {self.alpha}", remedy="give a share from 0 to 1")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.alpha = config.alpha
        self.ignores_marginal = config.alpha == 1
        self.cap_formula = f"1 + ln (K-1)/{config.alpha:g}" if config.alpha else ""

    @classmethod
    def examples(cls) -> Iterable[Interpolated]:
        return [cls(cls.Config(alpha)) for alpha in (0.0, 0.01, 1.0)]

    def value(self, scores: Tensor) -> Tensor:
        pairs = scores.shape[-1]
        baseline = self._baseline(scores)  # […, K, K]
        own = torch.eye(pairs, dtype=torch.bool, device=scores.device)
        chosen, held_out_own = (one.diagonal(dim1=-2, dim2=-1)[..., None] for one in (scores, baseline))
        terms = chosen - baseline - torch.exp(scores.masked_fill(own, -math.inf) - held_out_own)
        return 1 + terms.masked_fill(own, 0).sum(dim=(-2, -1)) / (pairs * (pairs - 1))

    def cap(self, pairs: int) -> float:
        return 1 + math.log((pairs - 1) / self.alpha) if self.alpha else math.inf

    def _baseline(self, scores: Tensor) -> Tensor:
        """A ``[…, K, K]``: of row i with column j held out."""
        if self.alpha == 0:
            return torch.zeros_like(scores)
        mean = _without_each(scores) - math.log(scores.shape[-1] - 1) + math.log(self.alpha)
        if self.alpha == 1:
            return mean
        return torch.logaddexp(mean, torch.full_like(mean, math.log1p(-self.alpha)))


def _without_each(scores: Tensor) -> Tensor:
    """``ln Σ_{l≠j} e^{F_il}`` of every row i and column j, ``[…, K, K]``.

    A column's share is taken out of the whole sum, where it is at most half of it; the largest is left out of the sum.
    """
    largest = scores.argmax(dim=-1, keepdim=True)
    is_largest = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, largest, True)
    whole = torch.logsumexp(scores, dim=-1, keepdim=True)
    others = torch.logsumexp(scores.masked_fill(is_largest, -math.inf), dim=-1, keepdim=True)
    share = torch.exp((scores - whole).masked_fill(is_largest, -math.inf))
    return torch.where(is_largest, others, whole + torch.log1p(-share))
