"""The laws of estimators catch what breaks them: one estimator for each way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqgen.estimators.barber_agakov import BarberAgakov
from seqgen.estimators.contract import Estimator, Kind, joint_mean
from seqgen.estimators.donsker_varadhan import DonskerVaradhan
from seqgen.estimators.infonce import InfoNCE, contrast
from seqgen.estimators.jensen_shannon import JensenShannon
from seqgen.estimators.leave_one_out import LeaveOneOut
from seqgen.estimators.nwj import NWJ
from seqgen.estimators.verify import verify


@dataclass(frozen=True)
class _Options:
    """No options."""


class Transposed(InfoNCE):
    """Chooses among the rows of a column: the contrast of the other variable."""

    def value(self, scores: Tensor) -> Tensor:
        return super().value(scores.transpose(-1, -2))


class WithoutLogarithm(InfoNCE):
    """Forgets that a mean, not a sum, stands under the logarithm, and claims no cap."""

    cap_formula = ""

    def value(self, scores: Tensor) -> Tensor:
        return super().value(scores) + math.log(scores.shape[-1])

    def cap(self, pairs: int) -> float:
        return math.inf


class TooLowACap(InfoNCE):
    def cap(self, pairs: int) -> float:
        return math.log(pairs - 1 + 1e-9)


class CapWithoutWords(InfoNCE):
    cap_formula = ""


class Shifted(NWJ):
    """Believes that the best critic is the logarithm itself."""

    offset: ClassVar[float] = 0.0


class DiagonalInThePartition(Estimator):
    """Counts the pairs themselves among what does not belong together."""

    Config = _Options
    offset: ClassVar[float] = 1.0

    def value(self, scores: Tensor) -> Tensor:
        return scores.diagonal(dim1=-2, dim2=-1).mean(dim=-1) - torch.exp(scores - 1).mean(dim=(-2, -1))


class CalledABound(DonskerVaradhan):
    """With the logarithm of a batch's own partition: above the information in the mean."""

    kind: ClassVar[Kind] = "lower bound"


class CalledNoBound(NWJ):
    kind: ClassVar[Kind] = "neither"


class WithItself(LeaveOneOut):
    """Leaves nothing out, which makes it a lower bound."""

    def value(self, scores: Tensor) -> Tensor:
        return contrast(scores.diagonal(dim1=-2, dim2=-1), scores).mean(dim=-1)


class AlwaysTooMuch(LeaveOneOut):
    """Above the information by a constant, however many pairs there are."""

    def value(self, scores: Tensor) -> Tensor:
        return super().value(scores) + 0.3


class WrongEntropy(BarberAgakov):
    def value(self, scores: Tensor) -> Tensor:
        return super().value(scores) - 0.2


class OwnGradientClaimed(JensenShannon):
    own_gradient = True


class OwnGradientDenied(InfoNCE):
    own_gradient = False


class Unbalanced(JensenShannon):
    """Trains a discriminator that sees more pairs of one kind than of the other."""

    def climbed(self, scores: Tensor, mean: Tensor | None = None) -> Tensor:
        return super().climbed(scores) - joint_mean(functional.softplus(-scores))


class WithoutTheRunningMean(DonskerVaradhan):
    def climbed(self, scores: Tensor, mean: Tensor | None = None) -> Tensor:
        return self.value(scores)


class Detached(InfoNCE):
    """Loses the gradient of the normaliser."""

    def value(self, scores: Tensor) -> Tensor:
        chosen = scores.diagonal(dim1=-2, dim2=-1)
        normaliser = torch.logsumexp(scores, dim=-1).detach()
        return (chosen - normaliser).mean(dim=-1) + math.log(scores.shape[-1])


class FirstPairOnly(InfoNCE):
    """Looks at one row."""

    def value(self, scores: Tensor) -> Tensor:
        return scores[..., 0, 0] - torch.logsumexp(scores[..., 0, :], dim=-1) + math.log(scores.shape[-1])


class OverTheBatches(InfoNCE):
    """One value for all batches together."""

    def value(self, scores: Tensor) -> Tensor:
        return super().value(scores).mean()


class Mutating(InfoNCE):
    def value(self, scores: Tensor) -> Tensor:
        with torch.no_grad():
            scores -= scores.mean()
        return super().value(scores)


BROKEN = {
    Transposed: "ignores_marginal is True, but f \\+ c\\(y\\) gives another value",
    WithoutLogarithm: "above the information",
    TooLowACap: "more than the cap",
    CapWithoutWords: "a cap and its formula belong together",
    Shifted: "which is a bias",
    DiagonalInThePartition: "which is a bias",
    CalledABound: "above the information",
    CalledNoBound: r"no bound, it is said, but means are \['below'\]",
    WithItself: "below the information",
    AlwaysTooMuch: "the mean at the best critic is .* with 8 pairs and",
    WrongEntropy: "which is a bias",
    OwnGradientClaimed: "the gradient by F",
    OwnGradientDenied: "own_gradient is False, but the gradient is the value's",
    Unbalanced: "more than the best critic",
    WithoutTheRunningMean: "own_gradient is False, but the gradient is the value's",
    Detached: "the gradient by F",
    FirstPairOnly: "the same pairs in another order",
    OverTheBatches: r"expected \[2, 3\]",
    Mutating: "the scores were changed",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_law_is_found(kind: type[Estimator]) -> None:
    with pytest.raises(AssertionError, match=BROKEN[kind]):
        verify(list(kind.examples())[-1])
