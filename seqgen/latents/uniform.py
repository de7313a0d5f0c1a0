"""The uniform prior of symbols."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqgen.distributions import relaxed_categorical
from seqgen.errors import SeqgenError
from seqgen.flows.one_hot import one_hot
from seqgen.latents.contract import CategoricalMarginals, Marginals, Posterior, Prior


class UniformPrior(Prior):
    """Prior ``p(z) = K^-G`` of G symbols of K classes at each position, whatever the others are.

    With a temperature relaxed symbols, points inside the simplex, are scored as well, by the density of the relaxed
    uniform distribution (:func:`seqgen.distributions.relaxed_categorical.log_density`). Samples are symbols.

    Shapes: one-hots z ``[S, B, N, G·K]``, u ``[B, N, G]``.

    Raises:
        SeqgenError: for sizes that make no code, and for relaxed symbols where there is no temperature.

    Example:
        >>> UniformPrior(UniformPrior.Config(groups=1, classes=4)).log_prob(torch.zeros(1, 1, 1, 4))
        tensor([[[-1.3863]]])
    """

    @dataclass(frozen=True)
    class Config:
        """``groups`` G of ``classes`` K at a position. ``temperature``: of relaxed symbols (0: there are none)."""

        groups: int = 1
        classes: int = 8
        temperature: float = 0.0

    @classmethod
    def options_for(cls, posterior: Posterior) -> Iterable[Config]:
        sizes = getattr(posterior, "groups", 0), getattr(posterior, "classes", 0)
        return [cls.Config(*sizes, one) for one in (0.0, 0.7)] if posterior.discrete and all(sizes) else []

    def __init__(self, config: Config) -> None:
        if config.groups < 1 or config.classes < 2 or config.temperature < 0:
            raise SeqgenError(
                f"a uniform prior of {config}", remedy="give 1 group or more of 2 classes or more, a temperature from 0"
            )
        super().__init__()
        self.groups, self.classes, self.temperature = config.groups, config.classes, config.temperature
        self.dim, self.num_uniforms = config.groups * config.classes, config.groups

    @property
    def nats(self) -> float:
        """Nats of a position: ``G ln K``."""
        return self.groups * math.log(self.classes)

    def log_prob(self, z: Tensor, given: Any = None) -> Tensor:
        if self.temperature:
            y = z.unflatten(-1, (self.groups, self.classes))
            even = torch.full_like(y, -math.log(self.classes))
            return relaxed_categorical.log_prob(even, y, self.temperature).sum(dim=-1)
        if bool(((z > 0) & (z < 1)).any()):
            raise SeqgenError(
                "the prior gives probabilities of symbols, these are relaxed",
                remedy="set prior.temperature, or take the closed form of the rate",
            )
        return z.new_full(z.shape[:-1], -self.nats)

    def cross_entropy(self, q: Marginals, given: Any = None) -> Tensor | None:
        return q.log_probs.new_full(q.log_probs.shape[:2], self.nats) if isinstance(q, CategoricalMarginals) else None

    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        symbols = (u * self.classes).to(torch.int64).clamp_max(self.classes - 1)  # [B, N, G]
        return one_hot(symbols, self.classes, u.dtype).flatten(-2)
