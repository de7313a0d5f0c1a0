"""The laws of estimators catch what breaks them: one estimator for each way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from seqgen.estimators.contract import Estimator
from seqgen.estimators.infonce import InfoNCE
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


class DonskerVaradhan(Estimator):
    """With the logarithm of a batch's own partition: above the information in the mean."""

    Config = _Options

    def value(self, scores: Tensor) -> Tensor:
        pairs = scores.shape[-1]
        beside = scores.masked_fill(torch.eye(pairs, dtype=torch.bool), -math.inf).flatten(-2)
        partition = torch.logsumexp(beside, dim=-1) - math.log(pairs * (pairs - 1))
        return scores.diagonal(dim1=-2, dim2=-1).mean(dim=-1) - partition


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
    DonskerVaradhan: "above the information",
    Detached: "the gradient by F",
    FirstPairOnly: "the same pairs in another order",
    OverTheBatches: r"expected \[2, 3\]",
    Mutating: "the scores were changed",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_law_is_found(kind: type[Estimator]) -> None:
    with pytest.raises(AssertionError, match=BROKEN[kind]):
        verify(kind(kind.Config()))
