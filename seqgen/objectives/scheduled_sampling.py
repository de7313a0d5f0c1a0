"""Scheduled sampling: a generator learns the data while it reads, ever more often, what it draws itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.behaviour import stretch, uniforms
from seqgen.noise import Key
from seqgen.objectives.bits import bits, per_unit
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement, Rows, scored
from seqgen.spec import Facts

Schedule = Literal["linear", "exponential", "inverse-sigmoid"]


class ScheduledSampling(Objective):
    """Negative log-likelihood of data x given a mixture z of x and of what is drawn, in nats:

        L = -1/N Σ_t ln p(x_t | z_<t, cond),    z_t = x_t with probability ε_i, otherwise drawn from p(· | z_<t, cond)

    with ε_i falling over updates i of the generator:

        linear            max(floor, 1 - decay·i)
        exponential       max(floor, decay^i)                     decay < 1
        inverse-sigmoid   max(floor, decay / (decay + e^{i/decay}))   decay >= 1

    Elements are drawn one after the other, each given those drawn before it, which is the definition; two passes side
    by side, drawing from what is said of the data alone, would be faster, but no error would follow from an error.
    Drawn elements are constants, so that the gradient is that of one pass over z.

    Terms: NLL of the data by teacher forcing, as nats and bits, which is what ranks checkpoints; ``epsilon``.

    Batches have ``x``, ``lengths`` and ``cond``; what rows only hear (``skip``) is given.

    Source: Bengio, Vinyals, Jaitly and Shazeer, arXiv 1506.03099, section 2.4.
    """

    @dataclass(frozen=True)
    class Config:
        """``schedule`` and ``decay``: how ε falls. ``floor``: the least ε."""

        schedule: Schedule = "linear"
        decay: float = 1e-4
        floor: float = 0.0

        def __post_init__(self) -> None:
            least, most = {"linear": (0.0, 1.0), "exponential": (0.0, 1.0), "inverse-sigmoid": (1.0, math.inf)}[
                self.schedule
            ]
            if not (least <= self.decay <= most and math.isfinite(self.decay) and 0 <= self.floor <= 1):
                raise SeqgenError(
                    f"scheduled sampling: {self}",
                    remedy=f"give a {self.schedule} decay from {least:g} to {most:g}, and a floor from 0 to 1",
                )

        def epsilon(self, update: int) -> float:
            """ε_i.

            Example:
                >>> ScheduledSampling.Config("linear", 0.25).epsilon(3)
                0.25
            """
            falling = {
                "linear": lambda: 1 - self.decay * update,
                "exponential": lambda: self.decay**update,
                # decay / (decay + e^{i/decay}), which would overflow, divided by decay
                "inverse-sigmoid": lambda: 1 / (1 + math.exp(min(update / self.decay - math.log(self.decay), 700.0))),
            }
            return max(self.floor, falling[self.schedule]())

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"generator": ("generator",)})
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"generator": AutoRegressive})
    config: Config
    generator: AutoRegressive
    updates: Tensor

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        schedules = (("linear", 0.1), ("exponential", 0.9), ("inverse-sigmoid", 2.0))
        for index, (density, x, cond, _) in enumerate(AutoRegressive.examples()):
            schedule, decay = schedules[index % 3]
            made = cls(cls.Config(schedule, decay), {"generator": density}, Facts())  # type: ignore[arg-type]
            made.updates.fill_(4)
            lengths = x.shape[1] - torch.arange(len(x)) * density.symbols_per_sample
            yield ObjectiveExample(made, Rows(x, lengths, cond))

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts)
        self.register_buffer("updates", torch.tensor(0))

    @property
    def monitor(self) -> str:
        return f"nats_per_{self.facts.unit}"

    @property
    def epsilon(self) -> float:
        """ε of the next update."""
        return self.config.epsilon(int(self.updates))

    def begin(self, batch: Any, rng: Key) -> Tensor:
        """Mixtures z, shaped as ``batch.x``."""
        rows, length = batch.x.shape[:2]
        u = uniforms(batch, self.generator, rng)
        coins = torch.from_numpy(noise.block(rng.seed, rng.stream, u.numel(), rows * length)).view(rows, length)
        heard = torch.arange(length, device=u.device)[None] < stretch(batch).start[:, None]
        z = self.generator.fill(batch.x, heard | (coins.to(u.device) < self.epsilon), u, batch.cond)
        return z.view_as(batch.x)

    def loss(self, batch: Any, player: str, rng: Key, shared: Tensor) -> Loss:
        params = self.generator.distributions(shared, batch.cond)  # [B, T, num_params]
        values = batch.x if batch.x.dim() == 2 else batch.x[..., 0]
        log_prob = self.generator.distribution.log_prob(params, values)  # [B, T]
        real = scored(batch, log_prob)
        weight = real.sum()
        with torch.no_grad():
            nats = -(self.generator.log_prob(batch.x, batch.cond) * real).sum() / weight.clamp_min(1)
        terms = {**per_unit(self.generator, nats, self.facts.unit), "epsilon": nats.new_tensor(self.epsilon)}
        return Loss(-(log_prob * real).sum() / weight.clamp_min(1), terms, weight)

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        self.updates.add_(1)

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        return bits(self.generator, batch, self.facts.unit)
