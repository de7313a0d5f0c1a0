"""The form of Donsker and Varadhan with a batch's own partition: no bound, but what MINE reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.estimators.contract import Estimator, Kind, joint_mean, log_partition


class DonskerVaradhan(Estimator):
    """``1/K Σ_i F_ii - ln 1/K(K-1) Σ_{i≠j} e^{F_ij}``: MINE's estimate.

    With the expectation ``E e^f`` under the logarithm it would be a lower bound. A batch's mean in its place is too
    small an estimate of it after the logarithm, so that the value may be above the information; the more so the fewer
    the pairs. Its gradient ``E ∇f - E e^f ∇f / E e^f`` is biased for the same reason. With ``forgetting`` the
    denominator is a running mean over batches, as MINE has it; the value stays what it is. The running mean has no room
    for scores above 709.

    Raises:
        SeqgenError: for a share outside [0, 1).

    Source: Donsker and Varadhan, 1983; Belghazi et al., "MINE: mutual information neural estimation", arXiv 1801.04062,
    section 3; that it is no bound: Poole et al., arXiv 1905.06922, section 2.
    """

    kind: ClassVar[Kind] = "neither"

    @dataclass(frozen=True)
    class Config:
        """``forgetting``: share of a batch in the running mean of the denominator; 0: the batch's own alone."""

        forgetting: float = 0.0

        def __post_init__(self) -> None:
            if not 0 <= self.forgetting < 1:
                raise SeqgenError(f"'forgetting' is {self.forgetting}", remedy="give a share from 0 to below 1")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.forgetting = config.forgetting
        self.own_gradient = not config.forgetting

    @classmethod
    def examples(cls) -> Iterable[DonskerVaradhan]:
        return [cls(cls.Config(forgetting)) for forgetting in (0.0, 0.1)]

    def value(self, scores: Tensor) -> Tensor:
        return joint_mean(scores) - log_partition(scores)

    def climbed(self, scores: Tensor, mean: Tensor | None = None) -> Tensor:
        return self.value(scores) if mean is None else joint_mean(scores) - self.followed(scores) / mean

    def followed(self, scores: Tensor) -> Tensor:
        return torch.exp(log_partition(scores))
