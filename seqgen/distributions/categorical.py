"""A distribution over a finite alphabet: bytes, µ-law codes, characters, subwords."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.distributions.contract import Distribution, full
from seqgen.nets import softmax_kernel


class Categorical(Distribution):
    """Categorical distribution ``p(k) = softmax(logits)_k``; sampling inverts the cumulative sum: the first k with ``u
    < Σ_{j<=k} p(j)``.

    Shapes: logits ``[…, classes]``, value int64 ``[…]`` or, for gradients through it, one-hot ``[…, classes]``, u ``[…,
    1]``. The temperature divides the logits and is floored at 1e-3, where only near-ties are left to chance.

    Example:
        >>> Categorical(Categorical.Config(classes=2)).sample(torch.zeros(2), torch.tensor([0.7]))
        tensor(1)
    """

    @dataclass(frozen=True)
    class Config:
        """``classes``: size of the alphabet."""

        classes: int = 256

    def __init__(self, config: Config) -> None:
        self.num_params, self.num_uniforms = config.classes, 1
        self.vocab_size = config.classes

    @classmethod
    def examples(cls) -> Iterable[Categorical]:
        return [cls(cls.Config(classes)) for classes in (1, 2, 7, 256)]

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        if value.is_floating_point():
            return (torch.log_softmax(full(params), dim=-1) * value).sum(dim=-1)
        if softmax_kernel.fits(params, value):
            return softmax_kernel.log_prob(params, value)
        flat = torch.nn.functional.cross_entropy(
            full(params).reshape(-1, self.num_params), value.reshape(-1), reduction="none"
        )
        return -flat.reshape(value.shape)

    def sample(self, params: Tensor, u: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
        sharpness = 1 / torch.as_tensor(temperature, dtype=params.dtype, device=params.device).clamp_min(1e-3)
        cumulative = torch.softmax(params * sharpness, dim=-1).cumsum(dim=-1)
        # Compare with u times the total, not u: the sum of 256 rounded numbers may end just below 1. The last class
        # is what remains when no other was reached.
        within = cumulative[..., :-1] <= u * cumulative[..., -1:]
        return within.to(torch.int64).sum(dim=-1)

    def cumulative(self, params: Tensor, index: Tensor) -> Tensor:
        below = torch.softmax(full(params), dim=-1).cumsum(dim=-1)  # […, classes]
        below = torch.nn.functional.pad(below, (1, 0))  # […, 1 + classes]
        return below.gather(-1, index)

    def kl(self, params: Tensor, other: Tensor) -> Tensor:
        log_p, log_q = (torch.log_softmax(full(logits), dim=-1) for logits in (params, other))
        return (log_p.exp() * (log_p - log_q)).sum(dim=-1)
