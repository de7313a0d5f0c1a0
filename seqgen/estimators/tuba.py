"""The unnormalised bound of Barber and Agakov, made tractable by a baseline in the place of the partition function."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.estimators.contract import Estimator, joint_mean, log_partition


class TUBA(Estimator):
    """``1 + 1/K Σ_i F_ii - ln a - 1/K(K-1) Σ_{i≠j} e^{F_ij} / a`` with a constant baseline a.

    It follows from ``ln Z ≤ Z/a + ln a - 1``. With a = e it is NWJ; with a = 1 the best critic is the logarithm of the
    ratio itself. A baseline a(y) that is learnt is part of the critic, f(x, y) = g(x, y) - ln a(y), for this
    bound, NWJ and the interpolated one alike.

    Raises:
        SeqgenError: for a baseline that is not finite.

    Source: Poole et al., arXiv 1905.06922, section 2.
    """

    @dataclass(frozen=True)
    class Config:
        """``log_baseline``: ln a, in nats."""

        log_baseline: float = 0.0

        def __post_init__(self) -> None:
            if not math.isfinite(self.log_baseline):
                raise SeqgenError(f"'log_baseline' is {self.log_baseline}", remedy="give a finite number of nats")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.offset = config.log_baseline

    @classmethod
    def examples(cls) -> Iterable[TUBA]:
        return [cls(cls.Config(log_baseline)) for log_baseline in (0.0, 2.0)]

    def value(self, scores: Tensor) -> Tensor:
        relative = scores - self.offset
        return 1 + joint_mean(relative) - torch.exp(log_partition(relative))
