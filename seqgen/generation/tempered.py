"""Likelihood at a temperature: what a density over symbols gives to sequences when it is sampled colder or hotter."""

from __future__ import annotations

import torch
from torch import Tensor

from seqgen.distributions.categorical import Categorical
from seqgen.distributions.contract import full
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.contract import Density

_COLDEST = 1e-3  # of a categorical distribution's sampling


def tempered_log_prob(density: Density, x: Tensor, temperature: float) -> Tensor:
    """``ln p_τ(x_t | x_<t)`` with ``p_τ(a | x_<t) = softmax(logits / τ)_a``, the density that sampling at temperature
    τ draws from.

    Shapes: ``x [B, T]`` symbols → ``[B, T]``.

    Raises:
        SeqgenError: at another temperature than 1, for a density that is not over symbols, one after the other.
    """
    if temperature == 1:
        return density.log_prob(x)
    if not has_temperature(density):
        raise SeqgenError(
            f"a {type(density).__name__} has no likelihood at temperature {temperature:g}",
            remedy="leave --temperature at 1",
        )
    logits = full(density.distributions(x)) / max(temperature, _COLDEST)
    return torch.log_softmax(logits, dim=-1).gather(-1, x[..., None])[..., 0]


def has_temperature(density: Density) -> bool:
    """Test of whether a density has a likelihood at any temperature."""
    return isinstance(density, AutoRegressive) and isinstance(density.distribution, Categorical)
