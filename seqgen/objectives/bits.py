"""Likelihood as it is told: nats and bits of what a task counts by."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from seqgen.generation.contract import Density
from seqgen.objectives.contract import Measure, scored


def per_unit(density: Density, nats: Tensor, unit: str) -> dict[str, Tensor]:
    """Terms of a negative log-likelihood in nats an element: nats and bits of what the task counts by."""
    nats = nats * density.symbols_per_sample
    return {f"nats_per_{unit}": nats, f"bits_per_{unit}": nats / math.log(2)}


def bits(density: Density, batch: Any, unit: str) -> dict[str, Measure]:
    """Bits of what the task counts by, row by row."""
    log_prob = density.log_prob(batch.x, batch.cond)  # [B, T]
    real = scored(batch, log_prob, length=density.length)
    samples = real.sum(dim=1).long() // density.symbols_per_sample
    return {f"bits_per_{unit}": Measure(-(log_prob * real).sum(dim=1) / math.log(2), samples)}
