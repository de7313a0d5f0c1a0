"""The rate held at a target by its weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.variational.contract import Evidence, RateControl


class TargetRate(RateControl):
    """Distortion plus β times the rate, β being moved until the rate is what is wanted (a dual ascent, damped):

        e = R / nats - 1,    λ ← λ + step · e,    β = exp(λ + damping · e)    after each update, R its batch's mean rate

    λ is held between -10 and 10. Undamped, the two would circle about each other where the frontier of rate and
    distortion is straight, as it is for a decoder that can do everything. Terms: ``beta``. A target above what there is
    to be encoded is never reached; β then falls to its floor, which is what the record shows.

    Raises:
        SeqgenError: for a target or a step that is not positive.

    Source: Alemi et al., "Fixing a broken ELBO", arXiv 1711.00464, whose target term ``|nats - R|`` has a kink there;
    the dual form is ours.
    """

    @dataclass(frozen=True)
    class Config:
        """``nats``: rate of a row that is wanted. ``step`` and ``damping``: of the dual ascent. ``beta``: to
        begin with."""

        nats: float = 10.0
        step: float = 0.01
        damping: float = 0.5
        beta: float = 1.0

    log_beta: Tensor
    error: Tensor

    def __init__(self, config: Config) -> None:
        if min(config.nats, config.step, config.beta) <= 0 or config.damping < 0:
            raise SeqgenError(f"a target rate of {config}", remedy="give positive numbers, of damping 0 or more")
        super().__init__()
        self.nats, self.step, self.damping = config.nats, config.step, config.damping
        self.register_buffer("log_beta", torch.tensor(math.log(config.beta)))
        self.register_buffer("error", torch.zeros(()))

    def weight(self) -> Tensor:
        return (self.log_beta + self.damping * self.error).exp()

    def loss(self, evidence: Evidence) -> Tensor:
        return evidence.distortion + self.weight() * evidence.rate

    def terms(self, evidence: Evidence) -> dict[str, Tensor]:
        return {"beta": self.weight().detach()}

    def noted(self, evidence: Evidence) -> dict[str, Tensor]:
        return {"rate": evidence.rate.sum()}

    def after_update(self, noted: Mapping[str, Tensor]) -> None:
        rate = noted["rate"] / noted["rows"].clamp_min(1)
        self.error.copy_(rate / self.nats - 1).clamp_(-1, 10 / max(self.damping, 1))
        self.log_beta.add_(self.step * self.error).clamp_(-10, 10)
