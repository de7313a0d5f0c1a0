"""Relaxed categorical posteriors: symbols that gradients pass through by a softmax with a temperature."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqgen.distributions import relaxed_categorical
from seqgen.distributions.relaxed_categorical import gumbel, relaxed
from seqgen.errors import SeqgenError
from seqgen.flows.one_hot import one_hot
from seqgen.latents.contract import CategoricalMarginals, Draw, Posterior, Setting, equal_shares


class GumbelSoftmaxPosterior(Posterior):
    """Relaxed categorical distributions over G groups of K classes at each position, for logits θ and Gumbel noise g:

        exact               z = one_hot(argmax_i (θ_i + g_i)), a symbol of π = softmax(θ)
        trained with        y = softmax((θ + g) / τ),    ∂y_i/∂θ_j = y_i (δ_ij - y_j) / τ
        straight through    z + y - sg[y], with the value of z and the gradient of y

    so that gradients have a low variance and a bias that falls with τ, while their variance rises. The temperature is
    fixed, or annealed, or learnt:

        τ = max(floor, temperature · exp(-rate · updates)), changed every so many updates

    The closed form of the rate is that of the categorical π, which is no rate of relaxed samples: with these it makes a
    bound of nothing. Without the closed form single samples are scored, a symbol by its probability and a relaxed one
    by its density, for which the prior needs a temperature as well. Evaluation draws symbols in any case.

    Shapes: params (logits θ) ``[B, N, G·K]``, z ``[S, B, N, G·K]``, u the same as z.

    Raises:
        SeqgenError: for sizes that make no code, and temperatures that are not positive.

    Source: Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax", arXiv 1611.01144; Maddison, Mnih
    and Teh, "The Concrete distribution", arXiv 1611.00712.

    Example:
        >>> GumbelSoftmaxPosterior(GumbelSoftmaxPosterior.Config(groups=20, classes=10)).num_uniforms
        200
    """

    discrete = True

    @dataclass(frozen=True)
    class Config:
        """Options of the family.

        Attributes:
            groups, classes: G of K at a position. straight_through: whether the decoder reads symbols in training.
            temperature: τ at the beginning. rate: of its annealing, by the update (0: none). floor: of an annealed one.
            every: updates between two changes. learnt: whether it is a parameter, moved by the bound's gradient.
        """

        groups: int = 1
        classes: int = 8
        straight_through: bool = False
        temperature: float = 1.0
        rate: float = 0.0
        floor: float = 0.5
        every: int = 1
        learnt: bool = False

    updates: Tensor

    @classmethod
    def examples(cls) -> Iterable[GumbelSoftmaxPosterior]:
        return [
            cls(cls.Config(2, 3)),
            cls(cls.Config(1, 4, straight_through=True, rate=0.1, every=2)),
            cls(cls.Config(1, 2, learnt=True)),
        ]

    def __init__(self, config: Config) -> None:
        if config.groups < 1 or config.classes < 2:
            raise SeqgenError(
                f"a relaxed categorical posterior of {config}", remedy="give 1 group or more of 2 classes or more"
            )
        if not 0 < config.temperature < math.inf or config.floor <= 0 or config.rate < 0 or config.every < 1:
            raise SeqgenError(
                f"a temperature of {config}",
                remedy="give a temperature, a floor and an interval above 0, a rate from 0",
            )
        if config.learnt and config.rate:
            raise SeqgenError("a temperature that is annealed and learnt", remedy="set its rate to 0")
        super().__init__()
        self.config = config
        self.groups, self.classes = config.groups, config.classes
        self.num_params = self.dim = self.num_uniforms = config.groups * config.classes
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature))) if config.learnt else None
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @property
    def temperature(self) -> Tensor:
        """Temperature τ that samples are relaxed with now, a scalar."""
        if self.log_temperature is not None:
            return self.log_temperature.exp()
        begun = torch.full((), self.config.temperature, device=self.updates.device)
        if not self.config.rate:
            return begun
        changed = self.updates // self.config.every * self.config.every
        return (begun * torch.exp(-self.config.rate * changed)).clamp_min(self.config.floor)

    def marginals(self, params: Tensor) -> CategoricalMarginals:
        logits = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        logits = logits.unflatten(-1, (self.groups, self.classes))
        return CategoricalMarginals(torch.log_softmax(logits, dim=-1))

    def draw(self, params: Tensor, u: Tensor, setting: Setting, *, exact: bool = False) -> Draw:
        log_probs = self.marginals(params).log_probs  # [B, N, G, K]
        noise = gumbel(u.to(log_probs.dtype)).unflatten(-1, (self.groups, self.classes))
        perturbed = log_probs + noise  # [S, B, N, G, K]
        symbols = one_hot(perturbed.argmax(dim=-1), self.classes, log_probs.dtype)
        if exact:
            return Draw(symbols.flatten(-2), equal_shares(symbols))
        y = relaxed(perturbed, self.temperature.to(log_probs.dtype))
        z = symbols + (y - y.detach()) if self.config.straight_through else y
        return Draw(z.flatten(-2), equal_shares(z))

    def log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        log_probs = self.marginals(params).log_probs
        y = z.unflatten(-1, (self.groups, self.classes))
        return relaxed_categorical.log_prob(log_probs, y, self.temperature.to(z.dtype)).sum(dim=-1)

    def entropy(self, params: Tensor) -> Tensor:
        log_probs = self.marginals(params).log_probs
        return -(log_probs.exp() * log_probs).sum(dim=(-2, -1))

    def code(self, params: Tensor, setting: Setting) -> Tensor:
        log_probs = self.marginals(params).log_probs
        return one_hot(log_probs.argmax(dim=-1), self.classes, log_probs.dtype).flatten(-2)

    def terms(self, params: Tensor, setting: Setting) -> dict[str, Tensor]:
        return {"temperature": self.temperature.detach()}

    def after_update(self, noted: Mapping[str, Tensor]) -> None:
        self.updates += 1
