"""An exponential moving average of the parameters, in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Exponential moving average of a module's parameters over training steps.

    After update n (counted from 1), with decay d:

        d_n = min(d, (1 + n) / (10 + n)),    average ← d_n · average + (1 - d_n) · parameter

    The growing decay lets a run of a few hundred steps forget its initial values. The averages are float32 whatever
    the parameters are, and are saved as they are, so that a resumed run continues them exactly.

    Source: the warm-up is that of TensorFlow's ``ExponentialMovingAverage(num_updates)``.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.averages: dict[str, Tensor] = {
            name: parameter.detach().float().clone() for name, parameter in module.named_parameters()
        }

    @torch.no_grad()
    def update(self, module: nn.Module, updates: int) -> None:
        """Take in the parameters after the ``updates``-th update."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        current = [parameter.detach().float() for parameter in module.parameters()]
        torch._foreach_lerp_(list(self.averages.values()), current, 1.0 - decay)

    def load(self, averages: dict[str, Tensor]) -> None:
        """Continue from saved averages; the names must be those of the module."""
        for name, average in self.averages.items():
            average.copy_(averages[name])

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Inside the context the module's parameters are the averages; afterwards they are what they were."""
        parameters = dict(module.named_parameters())
        before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        _assign(parameters, self.averages)
        try:
            yield
        finally:
            _assign(parameters, before)


@torch.no_grad()
def _assign(parameters: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])
