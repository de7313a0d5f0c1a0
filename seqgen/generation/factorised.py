"""Factorised density: every position of a block is drawn by itself, from probabilities of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density, DensityExample
from seqgen.generation.successive import Successive
from seqgen.spec import Facts


class Factorised(Density, Successive):
    """Product of categorical distributions ``p(x) = Π_d softmax(g · L_d)[x_d]``, L ``[D, K]`` being learnt, g a gain.

    Shapes: int64 ``[B, D]`` or one-hots ``[B, D, K]`` → ``[B, D]``.

    Raises:
        SeqgenError: for sizes that make no block, or sequences of another length.

    Example:
        >>> Factorised(Factorised.Config(vocab_size=2, length=2)).log_prob(torch.tensor([[0, 1]])).exp()
        tensor([[0.5000, 0.5000]], grad_fn=<ExpBackward0>)
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the density.

        Attributes:
            vocab_size: K. length: D, positions of a block.
            peak: logit of symbol 0 in a fresh density. Under a flow of symbols a uniform base is a saddle: no map of
                symbols changes its likelihood, so that nothing tells the flow where to go.
            gain: what learned numbers are multiplied by to be logits. Beside a network, whose rate of learning is
                small, a base of gain 1 lags behind what the flow makes of the data.
        """

        vocab_size: int
        length: int
        peak: float = 0.0
        gain: float = 1.0

    @classmethod
    def examples(cls) -> Iterator[DensityExample]:
        generator = torch.Generator().manual_seed(0)
        density = cls(cls.Config(vocab_size=4, length=3))
        with torch.no_grad():
            density.logits.copy_(torch.randn(density.logits.shape, generator=generator))
        x = torch.randint(4, (3, 3), generator=generator)
        yield DensityExample(density, x, values=torch.arange(4))

    @classmethod
    def build(cls, options: Config, facts: Facts, *, source: str = "config") -> Factorised:
        """Construct the density; the data tell it nothing."""
        return cls(options)

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.vocab_size < 1 or config.length < 1 or config.gain <= 0:
            raise SeqgenError(f"blocks of {config}", remedy="give 1 or more, and a positive gain")
        self.vocab_size, self.length = config.vocab_size, config.length
        self.distribution = Categorical(Categorical.Config(config.vocab_size))
        self.logits = nn.Parameter(torch.zeros(config.length, config.vocab_size))
        self.logits.data[:, 0] = config.peak / config.gain
        self.gain = config.gain

    @property
    def num_uniforms(self) -> int:
        return 1

    def log_prob(self, x: Tensor, cond: Any = None) -> Tensor:
        self.require_length(x.shape[1])
        return self.distribution.log_prob((self.gain * self.logits).expand(len(x), -1, -1), x)

    def init_state(self, batch: int) -> Tensor:
        """Positions, ``[B]``."""
        return torch.zeros(batch, dtype=torch.int64, device=self.logits.device)

    def next(self, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.gain * self.logits[state], state + 1

    def told(self, state: Tensor, value: Tensor) -> Tensor:
        return state

    def sample(self, u: Tensor, cond: Any = None, temperature: Tensor | float = 1.0) -> Tensor:
        self.require_length(u.shape[1])
        return self.distribution.sample(self.gain * self.logits, u, temperature)
