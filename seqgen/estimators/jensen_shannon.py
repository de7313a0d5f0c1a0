"""A critic trained as a discriminator, by the Jensen-Shannon divergence, and read as an unnormalised bound."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from seqgen.estimators.contract import Estimator, joint_mean, log_partition


class JensenShannon(Estimator):
    """``1 + 1/K Σ_i F_ii - 1/K(K-1) Σ_{i≠j} e^{F_ij}``, by a critic that climbs another function:

        L_JS = -1/K Σ_i softplus(-F_ii) - 1/K(K-1) Σ_{i≠j} softplus(F_ij)

    Both are highest where f is the logarithm of the ratio. L_JS has bounded gradients, so that the critic is steadily
    trained where there is much information; what is reported is the lower bound, with all its variance.

    Source: Poole et al., arXiv 1905.06922, section 2 (I_JS); the divergence: Nowozin et al.,
    "f-GAN", arXiv 1606.00709.
    """

    own_gradient = False

    @dataclass(frozen=True)
    class Config:
        """Options of the bound: none."""

    def value(self, scores: Tensor) -> Tensor:
        return 1 + joint_mean(scores) - torch.exp(log_partition(scores))

    def climbed(self, scores: Tensor, mean: Tensor | None = None) -> Tensor:
        pairs = scores.shape[-1]
        apart = functional.softplus(scores)
        own = torch.eye(pairs, dtype=torch.bool, device=scores.device)
        beside = apart.masked_fill(own, 0).sum(dim=(-2, -1)) / (pairs * (pairs - 1))
        return -joint_mean(functional.softplus(-scores)) - beside
