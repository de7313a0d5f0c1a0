"""The leave-one-out upper bound, for a conditional density that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqgen.estimators.contract import Estimator, Kind, Scores, joint_mean


class LeaveOneOut(Estimator):
    """``1/K Σ_i [F_ii - ln 1/(K-1) Σ_{j≠i} e^{F_ij}]`` of ``F_ij = ln p(y_i | x_j)``: an upper bound.

    The mixture of the other columns stands for the marginal p(y). It is a density whose expectation is p(y), and the
    cross-entropy with any density other than p(y) is too large. With InfoNCE of the same scores, which is a lower bound
    (TNCE), it encloses the information. Both see p(y | x) up to a function of y alone; of a density that was learnt
    instead, this is no bound.

    Source: Poole et al., arXiv 1905.06922, section 2.
    """

    kind: ClassVar[Kind] = "upper bound"
    takes: ClassVar[Scores] = "known density"
    ignores_marginal = True

    @dataclass(frozen=True)
    class Config:
        """Options of the bound: none."""

    def value(self, scores: Tensor) -> Tensor:
        pairs = scores.shape[-1]
        own = torch.eye(pairs, dtype=torch.bool, device=scores.device)
        mixture = torch.logsumexp(scores.masked_fill(own, -math.inf), dim=-1).mean(dim=-1) - math.log(pairs - 1)
        return joint_mean(scores) - mixture
