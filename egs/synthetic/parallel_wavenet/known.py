"""A teacher whose density is known: a resonance that the features tune, driven by noise of two peaks.

    p(x_t | x_<t) = ½ Logistic(g_t - b, s) + ½ Logistic(g_t + b, s),      g_t = 2 r cos θ_t x_{t-1} - r² x_{t-2}

No student whose samples are logistic given the past can be this exactly. The least divergence that such a sample
allows is found by quadrature, so that what a trained student has can be compared with what it could have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqgen import noise
from seqgen.distributions.logistic_mixture import LogisticMixture
from seqgen.flows.affine import logistic_log_density
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.spec import StreamSpec
from seqgen.stream.combinators import Repeat
from seqgen.stream.conditioning import Frames
from seqgen.stream.contract import Streamable


@dataclass(frozen=True)
class Teacher:
    """Radius r of the resonance, scale s and half distance b of the two peaks, samples per frame, range of θ/π."""

    radius: float = 0.95
    scale: float = 0.02
    apart: float = 0.03
    hop: int = 16
    lowest: float = 0.08
    highest: float = 0.4


class Resonance(Streamable[Tensor]):
    """``x_{t-1} [B, T, 1]`` and θ/π as ``cond [B, T, 1]`` → parameters of the mixture ``[B, T, 6]``."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher
        self.spec = StreamSpec(in_dim=1, out_dim=6, cond_dim=1, context=2)

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        return self.zeros(batch, 1, 1)

    def step(self, x: Tensor, state: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert cond is not None
        line, r = torch.cat([state, x], dim=1), self.teacher.radius
        mean = 2 * r * torch.cos(math.pi * cond) * x - r * r * line[:, :-1]
        zero, log_scale = torch.zeros_like(mean), torch.full_like(mean, math.log(self.teacher.scale))
        apart = self.teacher.apart
        return torch.cat([zero, zero, mean - apart, mean + apart, log_scale, log_scale], dim=2), line[:, -1:]


def generator(teacher: Teacher) -> AutoRegressive:
    """The teacher as any other generator: features ``[B, F, 1]`` hold θ/π."""
    distribution = LogisticMixture(LogisticMixture.Config(mixtures=2))
    return AutoRegressive(Resonance(teacher), distribution, Repeat(teacher.hop, dim=1), start=0.0, symbols_per_sample=1)


def features(teacher: Teacher, rows: int, frames: int, stream: int) -> Tensor:
    """Tunings ``[rows, frames, 1]`` that glide from one random θ/π to another."""
    ends = torch.from_numpy(noise.block(17, stream, 0, 2 * rows)).view(rows, 2)
    way = torch.linspace(0, 1, frames)
    share = ends[:, :1] * (1 - way) + ends[:, 1:] * way
    return (teacher.lowest + (teacher.highest - teacher.lowest) * share)[..., None]


@torch.no_grad()
def recordings(made: AutoRegressive, tuned: Tensor, stream: int) -> Tensor:
    """What the teacher says to these features: ``[rows, frames·hop, 1]``, by its own sampling loop."""
    rows, samples = len(tuned), tuned.shape[1] * made.hop
    u = torch.from_numpy(noise.block(18, stream, 0, rows * samples * 2)).view(rows, samples, 2)
    return made.sample(u, Frames(tuned, torch.zeros(rows, dtype=torch.int64)))[..., None]


def _mixture(x: Tensor, teacher: Teacher) -> Tensor:
    log_scale = torch.tensor(math.log(teacher.scale), dtype=x.dtype)
    parts = [
        logistic_log_density(x, torch.tensor(m, dtype=x.dtype), log_scale) for m in (-teacher.apart, teacher.apart)
    ]
    return torch.logsumexp(torch.stack(parts), dim=0) - math.log(2)


def entropy_rate(teacher: Teacher) -> float:
    """Nats a sample of the teacher, by quadrature: what its own samples cost it."""
    width = 40 * teacher.scale + teacher.apart
    x = torch.linspace(-width, width, 200_001, dtype=torch.float64)
    log_density = _mixture(x, teacher)
    return float(-torch.trapezoid(log_density.exp() * log_density, x))


def least_divergence(teacher: Teacher) -> float:
    """``min KL(Logistic(m, e^l) ‖ innovation)`` over m and l, by quadrature: no student can have less."""
    unit = torch.linspace(-40, 40, 20_001, dtype=torch.float64)
    weight = logistic_log_density(unit, unit.new_zeros(()), unit.new_zeros(())).exp()
    found = []
    for start in (0.0, teacher.apart):  # between the peaks, or on one of them
        place = torch.tensor([start, math.log(teacher.scale)], dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([place], max_iter=100, line_search_fn="strong_wolfe")

        def divergence(place: Tensor = place) -> Tensor:
            cross = -torch.trapezoid(weight * _mixture(place[0] + place[1].exp() * unit, teacher), unit)
            return cross - place[1] - 2

        def closure(place: Tensor = place, optimiser: torch.optim.LBFGS = optimiser) -> Tensor:
            optimiser.zero_grad()
            value = divergence(place)
            value.backward()
            return value

        optimiser.step(closure)
        found.append(float(divergence(place.detach())))
    return min(found)
