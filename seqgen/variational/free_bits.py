"""Free bits: a rate below which nothing is saved."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.variational.contract import Evidence, RateControl


class FreeBits(RateControl):
    """Distortion plus the rate, where a position's counts no less than ``nats``:

        distortion + Σ_n max(R_n, nats)

    R_n is the row's own, so that rows do not see each other (of the mean over a batch it would be another number).

    Raises:
        SeqgenError: for a negative allowance.

    Source: Kingma et al., "Improved variational inference with inverse autoregressive flow", arXiv 1606.04934, appendix
    C.8.
    """

    @dataclass(frozen=True)
    class Config:
        """``nats``: free for each position."""

        nats: float = 0.5

    def __init__(self, config: Config) -> None:
        if config.nats < 0:
            raise SeqgenError(f"{config.nats} free nats", remedy="give 0 or more")
        super().__init__()
        self.nats = config.nats

    def loss(self, evidence: Evidence) -> Tensor:
        inside = evidence.setting.inside
        return evidence.distortion + (evidence.rates.clamp_min(self.nats) * inside).sum(dim=-1)
