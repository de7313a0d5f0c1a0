"""The uniform prior of symbols."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.flows.one_hot import one_hot
from seqgen.latents.contract import CategoricalMarginals, Marginals, Posterior, Prior


class UniformPrior(Prior):
    """Prior ``p(z) = K^-G`` of G symbols of K classes at each position, whatever the others are.

    Shapes: one-hots z ``[S, B, N, G·K]``, u ``[B, N, G]``.

    Example:
        >>> UniformPrior(UniformPrior.Config(groups=1, classes=4)).log_prob(torch.zeros(1, 1, 1, 4))
        tensor([[[-1.3863]]])
    """

    @dataclass(frozen=True)
    class Config:
        """``groups`` G of ``classes`` K at a position."""

        groups: int = 1
        classes: int = 8

    @classmethod
    def options_for(cls, posterior: Posterior) -> Iterable[Config]:
        sizes = getattr(posterior, "groups", 0), getattr(posterior, "classes", 0)
        return [cls.Config(*sizes)] if posterior.discrete and all(sizes) else []

    def __init__(self, config: Config) -> None:
        if config.groups < 1 or config.classes < 2:
            raise SeqgenError(f"a uniform prior of {config}", remedy="give 1 group or more of 2 classes or more")
        super().__init__()
        self.groups, self.classes = config.groups, config.classes
        self.dim, self.num_uniforms = config.groups * config.classes, config.groups

    @property
    def nats(self) -> float:
        """Nats of a position: ``G ln K``."""
        return self.groups * math.log(self.classes)

    def log_prob(self, z: Tensor, given: Any = None) -> Tensor:
        return z.new_full(z.shape[:-1], -self.nats)

    def cross_entropy(self, q: Marginals, given: Any = None) -> Tensor | None:
        return q.log_probs.new_full(q.log_probs.shape[:2], self.nats) if isinstance(q, CategoricalMarginals) else None

    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        symbols = (u * self.classes).to(torch.int64).clamp_max(self.classes - 1)  # [B, N, G]
        return one_hot(symbols, self.classes, u.dtype).flatten(-2)
