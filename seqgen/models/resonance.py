"""A resonance driven by noise of two peaks: a body without parameters, whose density is known.

    p(x_t | x_<t, θ) = ½ Logistic(g_t - b, s) + ½ Logistic(g_t + b, s),      g_t = 2 r cos θ_t x_{t-1} - r² x_{t-2}

With a mixture of two logistics as its distribution it is a generator like any other: what it draws is a resonance that
the conditioning tunes, and a teacher whose every probability is known. No sample that is logistic given the past can be
this exactly.

Source: the second-order resonator of linear prediction, e.g. Rabiner and Schafer, "Digital processing of speech
signals", 1978, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning, written_out
from seqgen.stream.contract import Streamable


class Resonance(Streamable[Tensor]):
    """The body of a tuned resonance: the sample before and a tuning in, a mixture of two logistics out.

    Shapes: ``x [B, T, 1]`` and θ/π as ``cond [B, T, 1]`` → parameters of the mixture, ``[B, T, 6]`` (logits, means,
    log-scales); the state is the sample before the one before, ``[B, 1, 1]``.

    Raises:
        SeqgenError: for a resonance that is not stable or has no noise, and for missing tunings.

    Example:
        >>> net = Resonance(Resonance.Config(radius=0.5, scale=1.0, apart=2.0))
        >>> net(torch.tensor([[[1.0], [0.0]]]), torch.full((1, 2, 1), 0.5))[0, :, 2:4]
        tensor([[-2.0000,  2.0000],
                [-2.2500,  1.7500]])
    """

    @dataclass(frozen=True)
    class Config:
        """``radius`` r of the resonance; ``scale`` s of either peak of its noise, ``apart`` b, half their distance."""

        radius: float = 0.95
        scale: float = 0.02
        apart: float = 0.03

        def __post_init__(self) -> None:
            if not (0 <= self.radius < 1 and 0 < self.scale < math.inf and 0 <= self.apart < math.inf):
                raise SeqgenError(
                    f"resonance: got radius {self.radius}, scale {self.scale}, apart {self.apart}",
                    remedy="choose 0 <= radius < 1, scale > 0 and apart >= 0",
                )

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.spec = StreamSpec(in_dim=1, out_dim=6, cond_dim=1, context=2)

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        return self.zeros(batch, 1, 1)

    def step(self, x: Tensor, state: Tensor, cond: Conditioning | None = None) -> tuple[Tensor, Tensor]:
        if cond is None or cond.shape[1] != x.shape[1]:
            got = 0 if cond is None else cond.shape[1]
            raise SeqgenError(f"resonance: got {x.shape[1]} samples, {got} tunings", remedy="give one for each sample")
        line, r, apart = torch.cat([state, x], dim=1), self.config.radius, self.config.apart
        mean = 2 * r * torch.cos(math.pi * written_out(cond)) * x - r * r * line[:, :-1]  # [B, T, 1]
        zero, log_scale = torch.zeros_like(mean), torch.full_like(mean, math.log(self.config.scale))
        return torch.cat([zero, zero, mean - apart, mean + apart, log_scale, log_scale], dim=2), line[:, -1:]
