"""The contract of an optimiser: how a player's parameters follow their gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import nn


class Optimiser(ABC):
    """A registered optimiser: constructed of its options, it makes a torch optimiser of a player's parameters.

    The learning rate is set by the loop before every update. State is tensors, so that a checkpoint holds it.
    """

    Config: ClassVar[type[Any]]

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """Instances that the laws are run over; by default one of default options."""
        return [cls(cls.Config())]

    @abstractmethod
    def make(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser of a player's parameters."""
