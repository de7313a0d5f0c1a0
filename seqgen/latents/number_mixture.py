"""Mixtures of normal distributions of single numbers, given a network's outputs for them.

p(z) = Σ_m softmax(l)_m N(z; µ_m, s_m²),    s_m = exp(v_m), v_m held at -7 … 7
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgen.distributions.categorical import Categorical
from seqgen.distributions.normal_quantile import quantile
from seqgen.latents.gaussian import normal_log_prob

PER_COMPONENT = 3
"""Outputs of a network for a component: l, µ and v."""
NUM_UNIFORMS = 2
"""Uniforms that a number takes: for the component and for its place in it."""
_WIDEST = 7.0


def log_prob(params: Tensor, z: Tensor) -> Tensor:
    """``ln p(z)`` in nats: ``[…, 3 M]``, ``[…] → […]``.

    Example:
        >>> log_prob(torch.zeros(1, 6), torch.zeros(1))
        tensor([-0.9189])
    """
    logits, mean, log_scale = parts(params)
    each = normal_log_prob(z[..., None], mean, log_scale.exp())  # […, M]
    return torch.logsumexp(torch.log_softmax(logits, dim=-1) + each, dim=-1)


def sample(params: Tensor, u: Tensor) -> Tensor:
    """Numbers, a function of the uniforms: ``[…, 3 M]``, ``[…, 2] → […]``."""
    logits, mean, log_scale = parts(params)
    component = Categorical(Categorical.Config(logits.shape[-1])).sample(logits, u[..., :1])[..., None]
    chosen = (part.gather(-1, component)[..., 0] for part in (mean, log_scale.exp()))
    middle, scale = chosen
    return middle + scale * quantile(u[..., 1])


def parts(params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, means and logarithms of scales of the components, ``[…, 3 M]`` → three of ``[…, M]``."""
    params = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
    logits, mean, log_scale = params.chunk(PER_COMPONENT, dim=-1)
    return logits, mean, log_scale.clamp(-_WIDEST, _WIDEST)
