"""Maximum likelihood by teacher forcing: the method that trains every autoregressive generator here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from seqgen.data.batches import Batch
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective
from seqgen.sample import AutoRegressive
from seqgen.subscale import Subscale


class Likelihood(Objective):
    """``L = -1/N Σ_t ln p(x_t | x_<t, features)`` over the N elements that are not padding, in nats.

    Terms: ``nats_per_sample`` and ``bits_per_sample``, per audio sample (both bytes of a 16-bit one together).

    Args:
        generator: the network that this objective owns.
        left: frames of context in front of each training segment.
    """

    @dataclass(frozen=True)
    class Config:
        """Nothing to choose."""

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"generator": ("generator",)})
    trains = (AutoRegressive, Subscale)

    def __init__(self, config: Config, generator: AutoRegressive | Subscale, *, left: int) -> None:
        super().__init__()
        self.generator, self.left = generator, left

    def loss(self, batch: Batch, player: str, rng: Key) -> Loss:
        log_prob = self.generator.log_prob(batch.x, batch.cond, batch.speaker, left=self.left)
        length = torch.arange(log_prob.shape[1], device=log_prob.device)
        real = (length[None] < batch.lengths[:, None]).to(log_prob.dtype)
        weight = real.sum()
        total = -(log_prob * real).sum() / weight.clamp_min(1)
        nats = total.detach() * self.generator.per_sample
        return Loss(total, {"nats_per_sample": nats, "bits_per_sample": nats / math.log(2)}, weight)
