"""The contract of a conditional density: a critic that says how y is distributed, given x."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqgen.models.critic import Critic


class ConditionalDensity(Critic):
    """A critic whose scores are the logarithms of a density of y, in nats:

        F[i, j] = ln q(y_i | x_j),    ∫ q(y | x) dy = 1

    Attributes:
        known: whether y was drawn by it, as the user says; then nothing of it is learnt.
    """

    known: bool = False


def gaussian_scores(y: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    """``ln N(y_i; μ_j, diag σ_j²)`` in nats, ``[I, D], [J, D], [J, D] → [I, J]``."""
    apart = (y[:, None] - mean) * torch.exp(-log_deviation)  # [I, J, D]
    return -(0.5 * apart**2 + log_deviation + 0.5 * math.log(2 * math.pi)).sum(dim=-1)
