"""A prior of numbers one after the other: a recurrent network says each one's mixture of normal distributions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.latents import number_mixture
from seqgen.latents.contract import Posterior, Prior
from seqgen.nets.gru import GRU


class RecurrentMixture(Prior):
    """Prior ``p(z) = Π_i p(z_i | z_<i)`` over all numbers of a code, position by position, each of them a mixture of M
    normal distributions that a gated recurrent network makes of the numbers before.

    It knows nothing of what codes should be like: for codes that are there, fitted to them afterwards.

    Shapes: z ``[S, B, N, D]``, u ``[B, N, 2 D]``.

    Raises:
        SeqgenError: for sizes that make no network.

    Source: an autoregressive prior fitted to codes: Razavi et al., arXiv 1901.03416 (the auxiliary prior); the network
    is ours.
    """

    @dataclass(frozen=True)
    class Config:
        """``dim``: numbers of a position. ``components``: M. ``hidden``: width of the network's state."""

        dim: int = 2
        components: int = 8
        hidden: int = 64

    @classmethod
    def examples(cls) -> Iterable[RecurrentMixture]:
        return [cls(cls.Config(dim=2, components=2, hidden=5))]

    @classmethod
    def options_for(cls, posterior: Posterior) -> Iterable[Config]:
        return [] if posterior.discrete else [cls.Config(dim=posterior.dim, components=2, hidden=4)]

    def __init__(self, config: Config) -> None:
        if min(vars(config).values()) < 1:
            raise SeqgenError(f"a recurrent mixture of {config}", remedy="give 1 or more of everything")
        super().__init__()
        self.dim, self.num_uniforms = config.dim, number_mixture.NUM_UNIFORMS * config.dim
        self.entering = nn.Linear(1 + config.dim, config.hidden)
        self.layer = GRU(config.hidden, config.hidden)
        self.out = nn.Linear(config.hidden, number_mixture.PER_COMPONENT * config.components)

    def log_prob(self, z: Tensor, given: Any = None) -> Tensor:
        samples, rows = z.shape[:2]
        numbers = z.flatten(2).flatten(0, 1)  # [S·B, N·D]
        before = nn.functional.pad(numbers, (1, 0))[:, :-1]
        params, _ = self._step(before, self.layer.init_state(len(numbers)), 0)  # [S·B, N·D, 3 M]
        scores = number_mixture.log_prob(params, numbers)  # [S·B, N·D]
        return scores.unflatten(1, (-1, self.dim)).sum(dim=-1).unflatten(0, (samples, rows))

    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        pairs = u.unflatten(2, (self.dim, -1)).flatten(1, 2)  # [B, N·D, 2]
        state, made = self.layer.init_state(len(u)), [u.new_zeros(len(u))]
        for place in range(pairs.shape[1]):
            params, state = self._step(made[-1][:, None], state, place)
            made.append(number_mixture.sample(params[:, 0], pairs[:, place]))
        return torch.stack(made[1:], dim=1).unflatten(1, (-1, self.dim))

    def _step(self, before: Tensor, state: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Distributions of the numbers from place ``start`` on, given the one before each ``[B, T]``."""
        place = (torch.arange(before.shape[1], device=before.device) + start) % self.dim
        which = nn.functional.one_hot(place, self.dim).to(before.dtype).expand(len(before), -1, -1)
        h = torch.tanh(self.entering(torch.cat([before[..., None], which], dim=-1)))  # [B, T, hidden]
        h, after = self.layer.step(h, state)
        return self.out(h), after
