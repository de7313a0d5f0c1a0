"""Target networks: copies that follow what is trained slowly, so that what is learnt from them does not run away."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


class Target(nn.Module, Generic[N]):
    """Target network: a frozen copy in evaluation mode, moved towards its original by :meth:`follow`:

        ψ' ← (1 - τ) ψ' + τ ψ

    No player owns it, no gradient reaches it. Its weights are saved with the objective's, so a resumed run goes on from
    the same copy.

    Source: Lillicrap et al., "Continuous control with deep reinforcement learning", arXiv 1509.02971, section 3.

    Example:
        >>> online = nn.Linear(1, 1)
        >>> target = Target(online)
        >>> target.follow(online, 0.01)  # in Objective.after_update
        >>> any(weight.requires_grad for weight in target.parameters())
        False
    """

    network: N

    def __init__(self, network: N) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Target[N]:
        """Evaluation mode, whatever is asked for."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, online: N, rate: float) -> None:
        """Move by a share ``rate`` (τ) of the way to ``online``; what is no parameter is copied."""
        parameters = [parameter.detach() for parameter in online.parameters()]
        torch._foreach_lerp_(list(self.network.parameters()), parameters, rate)
        for mine, theirs in zip(self.network.buffers(), online.buffers(), strict=True):
            mine.copy_(theirs)
