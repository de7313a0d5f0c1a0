"""The contract of an optimiser: how a player's parameters follow their gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn


class Optimiser(ABC):
    """A registered optimiser: constructed of its options, it makes a torch optimiser of a player's parameters.

    The learning rate is set by the loop before every update. State is tensors, so that a checkpoint holds it.
    """

    Config: ClassVar[type[Any]]

    @abstractmethod
    def make(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser of a player's parameters."""
