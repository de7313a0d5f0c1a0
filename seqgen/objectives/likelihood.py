"""Maximum likelihood: the method that trains every density, element by element under teacher forcing where it is
one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from seqgen.generation.contract import Density
from seqgen.noise import Key
from seqgen.objectives.bits import bits, per_unit
from seqgen.objectives.contract import Loss, Measure, Objective, Requirement, scored


class Likelihood(Objective):
    """Negative log-likelihood ``L = -1/N Σ_t ln p(x_t | x_<t, cond)`` over the N elements that count
    (:func:`~seqgen.objectives.contract.scored`; of a density of blocks whole rows do or do not), in nats.

    Batches have ``x``, ``lengths`` and ``cond``. Terms: nats and bits per sample (both bytes of a 16-bit one together),
    named by what the task calls a sample: ``nats_per_sample``, ``bits_per_character``.
    """

    @dataclass(frozen=True)
    class Config:
        """Options of maximum likelihood: none."""

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"generator": ("generator",)})
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"generator": Density})
    generator: Density

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        log_prob = self.generator.log_prob(batch.x, batch.cond)  # [B, T]
        real = scored(batch, log_prob, length=self.generator.length)
        weight = real.sum()
        total = -(log_prob * real).sum() / weight.clamp_min(1)
        return Loss(total, per_unit(self.generator, total.detach(), self.facts.unit), weight)

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        return bits(self.generator, batch, self.facts.unit)
