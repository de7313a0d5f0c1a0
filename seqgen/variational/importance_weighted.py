"""The importance-weighted bound."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.variational.contract import Bound, Evidence, RateControl, normalized


class ImportanceWeighted(Bound):
    """Importance-weighted bound of S samples, tighter the more there are:

        ln Σ_s share_s w_s,    w_s = p(x, z_s) / q(z_s | x),    ≤ ln p(x) in the mean

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", arXiv 1509.00519, equation 8.
    """

    sampled = True

    @dataclass(frozen=True)
    class Config:
        """Options of the bound: none; ``objective.samples`` says how many."""

    def loss(self, evidence: Evidence, control: RateControl) -> Tensor:
        return -torch.logsumexp(self._logits(evidence, control), dim=0)

    def weights(self, evidence: Evidence, control: RateControl) -> Tensor:
        return normalized(self._logits(evidence, control))

    def signal(self, evidence: Evidence, control: RateControl) -> Tensor:
        """The bound, and less by what the sample's own weight moves it by: ``L - share of the sample``, which makes the
        score's factor ``L`` and the weights' own gradient add up to the gradient of the bound."""
        return (-self.loss(evidence, control))[None].expand_as(evidence.log_shares).detach()

    @staticmethod
    def _logits(evidence: Evidence, control: RateControl) -> Tensor:
        return evidence.log_shares + evidence.log_weights(control.weight())
