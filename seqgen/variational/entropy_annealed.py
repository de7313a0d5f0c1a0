"""The entropy of codes with a weight that rises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.variational.contract import Evidence, RateControl


class EntropyAnnealed(RateControl):
    """Distortion plus rate, of which the posterior's entropy alone counts less at first:

        -E_q [ln p(x, z) - λ ln q(z | x)],    λ from 0 to 1 over ``warm_up`` updates

    The prior holds codes together from the beginning, which it does not where the whole rate is annealed. At λ = 0
    posteriors have no reason to be wide. Terms: ``entropy_weight``.

    Raises:
        SeqgenError: for fewer than one update.

    Source: Cremer et al., arXiv 1801.03558, in its authors' program.
    """

    sampled = True

    @dataclass(frozen=True)
    class Config:
        """``warm_up``: updates that the weight rises over."""

        warm_up: int = 1000

    updates: Tensor

    def __init__(self, config: Config) -> None:
        if config.warm_up < 1:
            raise SeqgenError(f"a warm-up of {config.warm_up} updates", remedy="give 1 or more")
        super().__init__()
        self.warm_up = config.warm_up
        self.register_buffer("updates", torch.zeros(()))

    @property
    def settled(self) -> bool:
        return bool(self.updates >= self.warm_up)

    def loss(self, evidence: Evidence) -> Tensor:
        weighted = self._weight * evidence.sampled_posterior - evidence.sampled_prior  # [S, B, N]
        return evidence.distortion + (evidence.shares * weighted.sum(dim=-1)).sum(dim=0)

    def terms(self, evidence: Evidence) -> dict[str, Tensor]:
        return {"entropy_weight": self._weight}

    def after_update(self, noted: Mapping[str, Tensor]) -> None:
        self.updates += 1

    @property
    def _weight(self) -> Tensor:
        return (self.updates / self.warm_up).clamp_max(1)
