"""A distribution over two symbols, by one logit: black and white, on and off."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.distributions.contract import Distribution, full


class Bernoulli(Distribution):
    """Bernoulli distribution ``p(1) = σ(a)``; sampling gives 1 where ``u ≥ 1 - σ(a)``, so that values ascend with u.

    Shapes: logits ``[…, 1]``, value int64 ``[…]``, u ``[…, 1]``. The temperature divides the logit and is floored at
    1e-3.

    Example:
        >>> Bernoulli(Bernoulli.Config()).log_prob(torch.zeros(1), torch.tensor(1)).exp()
        tensor(0.5000)
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the distribution: none."""

    def __init__(self, config: Config) -> None:
        self.num_params, self.num_uniforms, self.vocab_size = 1, 1, 2

    @classmethod
    def examples(cls) -> Iterable[Bernoulli]:
        return [cls(cls.Config())]

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        logit = full(params)[..., 0]
        return torch.nn.functional.logsigmoid(torch.where(value > 0, logit, -logit))

    def sample(self, params: Tensor, u: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
        sharpness = 1 / torch.as_tensor(temperature, dtype=params.dtype, device=params.device).clamp_min(1e-3)
        return (u[..., 0] >= torch.sigmoid(-params[..., 0] * sharpness)).to(torch.int64)

    def cumulative(self, params: Tensor, index: Tensor) -> Tensor:
        zero = torch.sigmoid(-full(params))  # […, 1], the probability of 0
        below = torch.cat([torch.zeros_like(zero), zero, torch.ones_like(zero)], dim=-1)
        return below.gather(-1, index)

    def kl(self, params: Tensor, other: Tensor) -> Tensor:
        a, b = full(params)[..., 0], full(other)[..., 0]
        on, off = torch.sigmoid(a), torch.sigmoid(-a)
        log = torch.nn.functional.logsigmoid
        return on * (log(a) - log(b)) + off * (log(-a) - log(-b))
