"""The evidence lower bound."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from seqgen.variational.contract import Bound, Evidence, RateControl


class Elbo(Bound):
    """Evidence lower bound ``E_q [ln p(x | z) - ln q(z | x) + ln p(z)] = -(distortion + rate)``, over S samples.

    Source: Kingma and Welling, "Auto-encoding variational Bayes", arXiv 1312.6114, equation 3.
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the bound: none."""

    def loss(self, evidence: Evidence, control: RateControl) -> Tensor:
        return control.loss(evidence)

    def weights(self, evidence: Evidence, control: RateControl) -> Tensor:
        return evidence.shares.detach()

    def signal(self, evidence: Evidence, control: RateControl) -> Tensor:
        """``share_s ln w_s``; with a closed form of the rate, whose gradient is known, ``share_s ln p(x | z_s)``."""
        each = evidence.log_likelihood
        if evidence.closed is None:
            each = evidence.log_weights(control.weight())
        return (evidence.shares * each).detach()
