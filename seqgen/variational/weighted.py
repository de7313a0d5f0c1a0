"""The rate with a weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.variational.contract import Evidence, RateControl


class Weighted(RateControl):
    """Distortion plus β times the rate; with β = 1 the negative evidence lower bound.

    With ``warm_up`` β rises from 0 to its value over so many updates.

    Raises:
        SeqgenError: for a negative weight.

    Source: Higgins et al., "beta-VAE", ICLR 2017; Alemi et al., "Fixing a broken ELBO", arXiv 1711.00464.
    """

    @dataclass(frozen=True)
    class Config:
        """``beta``: weight of the rate. ``warm_up``: updates that it rises over."""

        beta: float = 1.0
        warm_up: int = 0

    updates: Tensor

    @classmethod
    def examples(cls) -> Iterable[Weighted]:
        return [cls(cls.Config()), cls(cls.Config(beta=0.5, warm_up=10))]

    def __init__(self, config: Config) -> None:
        if config.beta < 0 or config.warm_up < 0:
            raise SeqgenError(f"a weight of the rate of {config}", remedy="give 0 or more")
        super().__init__()
        self.beta, self.warm_up = config.beta, config.warm_up
        self.register_buffer("updates", torch.zeros(()))

    def weight(self) -> Tensor | float:
        if not self.warm_up:
            return self.beta
        return self.beta * (self.updates / self.warm_up).clamp_max(1)

    @property
    def settled(self) -> bool:
        return bool(self.updates >= self.warm_up)

    def loss(self, evidence: Evidence) -> Tensor:
        return evidence.distortion + self.weight() * evidence.rate

    def after_update(self, noted: Mapping[str, Tensor]) -> None:
        self.updates += 1
