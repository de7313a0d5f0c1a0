"""Dirichlet distributions in natural form: conjugate priors of categorical ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqgen.graphical.exponential_family import ExponentialFamily, Statistics


@dataclass(frozen=True)
class DirichletFactor(ExponentialFamily):
    """Dirichlet distribution over probabilities π of K classes, with ``t(π) = ln π`` and ``η = α - 1``:

        log Z = Σ_k ln Γ(α_k) - ln Γ(Σ_k α_k),        E ln π_k = ψ(α_k) - ψ(Σ_k α_k)

    Counts of classes add to η.

    Attributes:
        pseudo_counts: ``α - 1``, ``[…, K]``, above -1.
    """

    pseudo_counts: Tensor

    ranks: ClassVar[tuple[int, ...]] = (1,)

    @staticmethod
    def of_standard(concentration: Tensor) -> DirichletFactor:
        """The family's member of concentrations α ``[…, K]``."""
        return DirichletFactor(concentration - 1)

    def standard(self) -> Tensor:
        """Concentrations α, ``[…, K]``."""
        return self.pseudo_counts + 1

    def log_normaliser(self) -> Tensor:
        concentration = self.standard()
        return torch.lgamma(concentration).sum(dim=-1) - torch.lgamma(concentration.sum(dim=-1))

    def expected(self) -> Statistics:
        concentration = self.standard()
        return (torch.digamma(concentration) - torch.digamma(concentration.sum(dim=-1, keepdim=True)),)
