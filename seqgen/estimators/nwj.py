"""The bound of Nguyen, Wainwright and Jordan: unbiased at the best critic, and the more variable the more there is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.estimators.contract import Estimator, joint_mean, log_partition


class NWJ(Estimator):
    """``1/K Σ_i F_ii - 1/K(K-1) Σ_{i≠j} e^{F_ij - 1}``: the dual form of the Kullback-Leibler divergence between the
    joint distribution and the product of the marginals.

    At the best critic the second sum is 1 in the mean, but its variance with n independent pairs is ``(e^{2I} - 1)/n``
    for Gaussians: beyond a few nats it rests on the rare pairs that nearly belong together, and what a batch usually
    gives is not its mean. Float32 has no exponential of scores above 89; give float64.

    Source: Nguyen, Wainwright and Jordan, "Estimating divergence functionals and the likelihood ratio by convex risk
    minimization", arXiv 0809.0853, equation 8; as a bound of information: Poole et al., arXiv 1905.06922, equation 5.
    """

    offset = 1.0

    @dataclass(frozen=True)
    class Config:
        """Options of the bound: none."""

    def value(self, scores: Tensor) -> Tensor:
        return joint_mean(scores) - torch.exp(log_partition(scores) - 1)
