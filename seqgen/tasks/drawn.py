"""Sequences of symbols that a density draws, and what it says of such."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from seqgen import noise
from seqgen.generation.contract import Density
from seqgen.generation.tempered import tempered_log_prob

Symbols = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
_BLOCK = 4096  # sequences that a density scores or draws at once


@torch.no_grad()
def drawn(density: Density, count: int, length: int, *, seed: int, temperature: float) -> Symbols:
    """Sequences of a density, int64 ``[count, length]``; the noise of each is its own."""
    u = torch.from_numpy(noise.block(seed, 0, 0, count * length * density.num_uniforms)).view(count, length, -1)
    device = next(density.parameters()).device
    parts = [density.sample(part.to(device), None, temperature) for part in u.split(_BLOCK)]
    made: Symbols = torch.cat(parts).cpu().numpy()
    return made


@torch.no_grad()
def scored(density: Density, x: Symbols, temperature: float = 1.0) -> Reals:
    """``ln p(x)`` of whole sequences ``[N, T]`` under a density in nats, at a temperature, ``[N]``."""
    device = next(density.parameters()).device
    blocks = torch.from_numpy(x).to(device).split(_BLOCK)
    each = [tempered_log_prob(density, block, temperature).double().sum(dim=1) for block in blocks]
    found: Reals = torch.cat(each).cpu().numpy()
    return found
