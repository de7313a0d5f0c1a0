"""A prior of symbols whose probabilities are learnt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.flows.one_hot import one_hot
from seqgen.latents.contract import CategoricalMarginals, Marginals, Posterior, Prior


class LearnedCategorical(Prior):
    """Prior ``p(z) = Π_g softmax(L_g)[z_g]`` of G symbols of K classes at each position, the same at every position.

    Shapes: one-hots z ``[S, B, N, G·K]``, u ``[B, N, G]``; L ``[G, K]``, zero (uniform) to begin with.

    Example:
        >>> LearnedCategorical(LearnedCategorical.Config(groups=1, classes=4)).log_prob(torch.eye(4)[None, None, :1])
        tensor([[[-1.3863]]], grad_fn=<SumBackward1>)
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
            raise SeqgenError(f"a categorical prior of {config}", remedy="give 1 or more groups of 2 or more classes")
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(config.groups, config.classes))
        self.dim, self.num_uniforms = config.groups * config.classes, config.groups
        self._one = Categorical(Categorical.Config(config.classes))

    @property
    def log_probs(self) -> Tensor:
        """Logarithms of the probabilities, ``[G, K]``."""
        return torch.log_softmax(self.logits, dim=-1)

    def log_prob(self, z: Tensor, given: Any = None) -> Tensor:
        return (z * self.log_probs.flatten()).sum(dim=-1)

    def cross_entropy(self, q: Marginals, given: Any = None) -> Tensor | None:
        if not isinstance(q, CategoricalMarginals):
            return None
        return -(q.log_probs.exp() * self.log_probs).sum(dim=(-2, -1))

    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        symbols = self._one.sample(self.logits, u[..., None])  # [B, N, G]
        return one_hot(symbols, self.logits.shape[1], self.logits.dtype).flatten(-2)
