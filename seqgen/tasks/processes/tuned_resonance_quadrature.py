"""What is known beforehand of a resonance with two peaks of noise, by quadrature: its entropy, and the least divergence
that a logistic sample allows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqgen.flows.affine import logistic_log_density
from seqgen.models.resonance import Resonance


def entropy_rate(process: Resonance.Config) -> float:
    """Differential entropy of a sample given all before, in nats: what a process's own samples cost it.

    Example:
        >>> round(entropy_rate(Resonance.Config(scale=1.0, apart=0.0)), 6)  # of a standard logistic
        2.0
    """
    width = 40 * process.scale + process.apart
    x = torch.linspace(-width, width, 200_001, dtype=torch.float64)
    log_density = _innovation(x, process)
    return float(-torch.trapezoid(log_density.exp() * log_density, x))


def least_divergence(process: Resonance.Config) -> float:
    """``min KL(Logistic(m, e^l) ‖ innovation)`` over m and l in nats: no student whose samples are logistic given the
    past can have less.

    Example:
        >>> abs(least_divergence(Resonance.Config(apart=0.0))) < 1e-6
        True
    """
    return min(_descended(process, start) for start in (0.0, process.apart))  # between the peaks, or on one of them


@torch.enable_grad()
def _descended(process: Resonance.Config, start: float) -> float:
    """The divergence at the minimum that lies below a logistic at ``start``, as wide as a peak."""
    unit = torch.linspace(-40, 40, 20_001, dtype=torch.float64)
    weight = logistic_log_density(unit, unit.new_zeros(()), unit.new_zeros(())).exp()
    place = torch.tensor([start, math.log(process.scale)], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([place], max_iter=100, line_search_fn="strong_wolfe")

    def divergence() -> Tensor:
        cross_entropy = -torch.trapezoid(weight * _innovation(place[0] + place[1].exp() * unit, process), unit)
        return cross_entropy - place[1] - 2

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = divergence()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return float(divergence().detach())


def _innovation(x: Tensor, process: Resonance.Config) -> Tensor:
    """Log-density of what drives the resonance, ``ln [½ Logistic(x; -b, s) + ½ Logistic(x; b, s)]``."""
    log_scale = torch.tensor(math.log(process.scale), dtype=x.dtype)
    peaks = (torch.tensor(peak, dtype=x.dtype) for peak in (-process.apart, process.apart))
    return torch.logsumexp(torch.stack([logistic_log_density(x, peak, log_scale) for peak in peaks]), 0) - math.log(2)
