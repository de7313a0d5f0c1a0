"""The bound of Nguyen, Wainwright and Jordan: unbiased at the best critic, and the more variable the more there is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqgen.estimators.contract import Estimator


class NWJ(Estimator):
    """``1/K Σ_i F_ii - 1/K(K-1) Σ_{i≠j} e^{F_ij - 1}``: the dual form of the Kullback-Leibler divergence between the
    joint distribution and the product of the marginals.

    At the best critic the second sum is 1 in the mean, but its variance with n independent pairs is ``(e^{2I} - 1)/n``
    for Gaussians: beyond a few nats it rests on the rare pairs that nearly belong together, and what a batch usually
    gives is not its mean. Float32 has no exponential of scores above 89; give float64.

    Source: Nguyen, Wainwright and Jordan, "Estimating divergence functionals and the likelihood ratio by convex risk
    minimization", arXiv 0809.0853, equation 8; as a bound of information: Poole et al., arXiv 1905.06922, equation 5.
    """

    offset: ClassVar[float] = 1.0

    @dataclass(frozen=True)
    class Config:
        """Options of the bound: none."""

    def value(self, scores: Tensor) -> Tensor:
        pairs = scores.shape[-1]
        beside = scores.masked_fill(torch.eye(pairs, dtype=torch.bool, device=scores.device), -math.inf)
        partition = torch.exp(torch.logsumexp(beside.flatten(-2), dim=-1) - 1) / (pairs * (pairs - 1))
        return scores.diagonal(dim1=-2, dim2=-1).mean(dim=-1) - partition
