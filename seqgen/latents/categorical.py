"""Categorical posteriors: codes of symbols, drawn as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.flows.one_hot import one_hot
from seqgen.latents.contract import CategoricalMarginals, Draw, Posterior, Setting, equal_shares


class CategoricalPosterior(Posterior):
    """Categorical distributions over G groups of K classes at each position; the decoder reads one-hots.

    Samples are symbols, so that no gradient passes through them but what an estimator makes of their probabilities
    (:mod:`seqgen.variational.score_function`); with ``straight_through`` the gradient by a one-hot is taken for that by
    the probabilities,

        z = one_hot(k) + π - sg[π].

    Shapes: params (logits) ``[B, N, G·K]``, z ``[S, B, N, G·K]``, u ``[S, B, N, G]``.

    Raises:
        SeqgenError: for sizes that make no code.

    Source: straight-through: Bengio, Léonard and Courville, "Estimating or propagating gradients through stochastic
    neurons", arXiv 1308.3432.

    Example:
        >>> CategoricalPosterior(CategoricalPosterior.Config(groups=20, classes=10)).dim
        200
    """

    discrete = True

    @dataclass(frozen=True)
    class Config:
        """``groups`` G of ``classes`` K at a position. ``straight_through``: whether gradients pass."""

        groups: int = 1
        classes: int = 8
        straight_through: bool = False

    @classmethod
    def examples(cls) -> Iterable[CategoricalPosterior]:
        return [cls(cls.Config(2, 3)), cls(cls.Config(1, 4, straight_through=True))]

    def __init__(self, config: Config) -> None:
        if config.groups < 1 or config.classes < 2:
            raise SeqgenError(
                f"a categorical posterior of {config}", remedy="give 1 group or more of 2 classes or more"
            )
        super().__init__()
        self.groups, self.classes = config.groups, config.classes
        self.straight_through = self.differentiable = config.straight_through
        self.num_params = self.dim = config.groups * config.classes
        self.num_uniforms = config.groups
        self._one = Categorical(Categorical.Config(config.classes))

    def marginals(self, params: Tensor) -> CategoricalMarginals:
        logits = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        logits = logits.unflatten(-1, (self.groups, self.classes))
        return CategoricalMarginals(torch.log_softmax(logits, dim=-1))

    def draw(self, params: Tensor, u: Tensor, setting: Setting, *, exact: bool = False) -> Draw:
        log_probs = self.marginals(params).log_probs  # [B, N, G, K]
        symbols = self._one.sample(log_probs.detach(), u.to(log_probs.dtype)[..., None])  # [S, B, N, G]
        z = one_hot(symbols, self.classes, log_probs.dtype)  # [S, B, N, G, K]
        if self.straight_through and not exact:
            soft = log_probs.exp()
            z = z + (soft - soft.detach())  # exactly z in value
        return Draw(z.flatten(-2), equal_shares(z))

    def log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        log_probs = self.marginals(params).log_probs
        return (log_probs * z.unflatten(-1, (self.groups, self.classes))).sum(dim=(-2, -1))

    def entropy(self, params: Tensor) -> Tensor:
        log_probs = self.marginals(params).log_probs
        return -(log_probs.exp() * log_probs).sum(dim=(-2, -1))

    def code(self, params: Tensor, setting: Setting) -> Tensor:
        log_probs = self.marginals(params).log_probs
        return one_hot(log_probs.argmax(dim=-1), self.classes, log_probs.dtype).flatten(-2)
