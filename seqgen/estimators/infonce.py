"""InfoNCE: how well a critic picks the x that belongs to a y out of K."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.estimators.contract import Estimator


class InfoNCE(Estimator):
    """``1/K Σ_i [F_ii - ln 1/K Σ_j e^{F_ij}]``: ln K less the cross-entropy of choosing among the K columns of a row.

    It varies little, but no batch gives more than ln K, however much information there is.

    Source: van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", arXiv
    1807.03748, equation 4 and section 2.3.
    """

    ignores_marginal = True
    cap_formula = "ln K"

    @dataclass(frozen=True)
    class Config:
        """Options of InfoNCE: none."""

    def value(self, scores: Tensor) -> Tensor:
        return contrast(scores.diagonal(dim1=-2, dim2=-1), scores).mean(dim=-1)

    def cap(self, pairs: int) -> float:
        return math.log(pairs)


def contrast(chosen: Tensor, scores: Tensor) -> Tensor:
    """``ln N`` less the cross-entropy of choosing among N candidates, ``f - ln 1/N Σ_j e^{f_j}``, in nats.

    Shapes: score of the right candidate ``[…]``, of all candidates, it among them, ``[…, N] → […]``.

    Example:
        >>> contrast(torch.tensor([9.0]), torch.tensor([[0.0, 9.0]]))
        tensor([0.6930])
    """
    return chosen - torch.logsumexp(scores, dim=-1) + math.log(scores.shape[-1])
