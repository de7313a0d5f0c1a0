"""torch's optimisers as registered values: their own options, and which parameters decay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import nn

from seqgen.errors import SeqgenError
from seqgen.optim.contract import Optimiser


def decay_groups(parameters: Sequence[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups in which matrices decay, and gains and biases do not."""
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    others = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _require(holds: bool, problem: str, remedy: str) -> None:
    if not holds:
        raise SeqgenError(problem, remedy=remedy)


@dataclass(frozen=True)
class AdamConfig:
    """Options of Adam and AdamW: decay rates of the two moments, a term that keeps the division finite, weight
    decay."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _require(all(0 <= b < 1 for b in self.betas), f"'betas' is {self.betas}", "give two numbers in [0, 1)")
        _require(self.eps > 0 and self.weight_decay >= 0, f"got {self}", "give eps > 0 and weight_decay >= 0")


class _Moments(Optimiser):
    """An optimiser of two moments."""

    Config = AdamConfig
    kind: ClassVar[type[torch.optim.Adam | torch.optim.AdamW]]

    @classmethod
    def examples(cls) -> Iterable[Self]:
        return [cls(AdamConfig()), cls(AdamConfig(weight_decay=0.1))]

    def __init__(self, config: AdamConfig) -> None:
        self.config = config

    def make(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        groups = decay_groups(parameters, self.config.weight_decay)
        return self.kind(groups, betas=self.config.betas, eps=self.config.eps)


class AdamW(_Moments):
    """Adam with decoupled weight decay.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv 1711.05101, algorithm 2.
    """

    kind = torch.optim.AdamW


class Adam(_Moments):
    """Adam; weight decay is part of the gradient.

    Source: Kingma and Ba, "Adam", arXiv 1412.6980, algorithm 1.
    """

    kind = torch.optim.Adam


class RMSprop(Optimiser):
    """RMSprop: the gradient divided by a moving average of its magnitude.

    Source: Tieleman and Hinton, "Lecture 6.5: RMSProp", 2012.
    """

    @dataclass(frozen=True)
    class Config:
        """``alpha``: decay rate of the average; ``momentum``; ``weight_decay``."""

        alpha: float = 0.99
        momentum: float = 0.0
        weight_decay: float = 0.0

    @classmethod
    def examples(cls) -> Iterable[Self]:
        return [cls(cls.Config()), cls(cls.Config(momentum=0.5))]

    def make(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        groups = decay_groups(parameters, self.config.weight_decay)
        return torch.optim.RMSprop(groups, alpha=self.config.alpha, momentum=self.config.momentum)


class SGD(Optimiser):
    """Stochastic gradient descent, with momentum where asked for.

    Source: Robbins and Monro, "A stochastic approximation method", 1951; Nesterov's form: Sutskever et al., "On the
    importance of initialization and momentum in deep learning", 2013.
    """

    @dataclass(frozen=True)
    class Config:
        """``momentum`` (0: none), its ``form``, and ``weight_decay``."""

        momentum: float = 0.0
        form: Literal["heavy-ball", "nesterov"] = "heavy-ball"
        weight_decay: float = 0.0

    @classmethod
    def examples(cls) -> Iterable[Self]:
        return [cls(cls.Config()), cls(cls.Config(0.5)), cls(cls.Config(0.5, "nesterov", 0.1))]

    def make(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        momentum, nesterov = self.config.momentum, self.config.form == "nesterov"
        return torch.optim.SGD(decay_groups(parameters, self.config.weight_decay), momentum=momentum, nesterov=nesterov)
