"""Categorical distributions in natural form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqgen.graphical.exponential_family import ExponentialFamily, Statistics


@dataclass(frozen=True)
class CategoricalFactor(ExponentialFamily):
    """Categorical distribution over K classes: ``t(z)`` one-hot, ``log Z = logsumexp_k η_k``, ``E t = softmax η``.

    Attributes:
        logits: η ``[…, K]``; log-probabilities, or expectations of them.

    Example:
        >>> CategoricalFactor.of_standard(torch.tensor([0.25, 0.75])).standard()
        tensor([0.2500, 0.7500])
    """

    logits: Tensor

    ranks: ClassVar[tuple[int, ...]] = (1,)

    @staticmethod
    def of_standard(probabilities: Tensor) -> CategoricalFactor:
        """The family's member of probabilities ``[…, K]``, none of them 0."""
        return CategoricalFactor(probabilities.log())

    def standard(self) -> Tensor:
        """Probabilities, ``[…, K]``."""
        return self.logits.softmax(dim=-1)

    def log_normaliser(self) -> Tensor:
        return torch.logsumexp(self.logits, dim=-1)

    def expected(self) -> Statistics:
        return (self.standard(),)
