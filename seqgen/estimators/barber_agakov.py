"""The bound of Barber and Agakov: how well a density of y given x predicts, beside an entropy that is known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.estimators.contract import Estimator, Scores, joint_mean
from seqgen.estimators.correlated_gaussians import CorrelatedGaussians


class BarberAgakov(Estimator):
    """``1/K Σ_i F_ii + h(Y)`` of ``F_ij = ln q(y_i | x_j)``, q any density: climbing it is maximum likelihood.

    It needs no contrast, so neither a cap nor the variance of one; but the entropy h(Y) has to be known. Without it,
    as with ``entropy: 0``, the values of two x about the same y still differ by what their informations differ, as far
    as both q are good.

    Raises:
        SeqgenError: for an entropy that is not finite.

    Source: Barber and Agakov, "The IM algorithm: a variational approach to information maximization", 2003; Poole et
    al., arXiv 1905.06922, section 2 (with x and y exchanged).
    """

    takes: ClassVar[Scores] = "density"
    config: Config

    @dataclass(frozen=True)
    class Config:
        """``entropy``: h(Y), differential, in nats, of y as the critic is given it."""

        entropy: float

        def __post_init__(self) -> None:
            if not math.isfinite(self.entropy):
                raise SeqgenError(f"'entropy' is {self.entropy}", remedy="give a finite number of nats")

    @classmethod
    def examples(cls) -> Iterable[BarberAgakov]:
        """The bound with the entropy of the Gaussians that the laws are run over."""
        return [cls(cls.Config(CorrelatedGaussians(information=0.0).entropy))]

    def value(self, scores: Tensor) -> Tensor:
        return joint_mean(scores) + self.config.entropy
