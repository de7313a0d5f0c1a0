"""Weighted means over steps and processes, kept on the device until somebody asks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqgen.objectives.contract import Loss
from seqgen.train import processes

_NEVER = 2**62


class Reading(NamedTuple):
    """Reading of a meter: means by name, the number of elements under the first name, and the first step with a value
    not finite."""

    means: dict[str, float]
    elements: float
    bad_step: int | None


class Meter:
    """Meter of weighted means: sums ``weight · value`` and ``weight`` by name; constant memory, and no waiting for the
    device in ``add``.

    It also notes the first step at which something was not finite, so that the step can be named although values are
    looked at only now and then.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._clear()

    def _clear(self) -> None:
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}
        self._bad = torch.full((), _NEVER, dtype=torch.int64, device=self._device)

    def add(self, step: int, loss: Loss, prefix: str = "") -> None:
        """Take in one loss: its total as "loss", and its terms, each under ``prefix``."""
        weight = loss.weight.detach().double()
        for name, value in {"loss": loss.total, **loss.terms}.items():
            self.add_value(step, prefix + name, value, weight)

    @torch.no_grad()
    def add_value(self, step: int, name: str, value: Tensor, weight: Tensor) -> None:
        """Take in one named scalar, averaged over ``weight`` elements."""
        value, weight = value.detach().double(), weight.detach().double()
        # A part that holds no element says nothing, whatever its value is
        scaled = torch.where(weight > 0, value * weight, torch.zeros_like(value))
        total, count = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (total + scaled, count + weight)
        self._bad = torch.where(scaled.isfinite(), self._bad, self._bad.clamp(max=step))

    def read(self) -> Reading:
        """Means over all processes; afterwards the meter is empty.

        Every process must call it at the same point and have seen the same names.
        """
        if not self._sums:
            return Reading({}, 0.0, None)
        sums = torch.stack([torch.stack(pair) for pair in self._sums.values()])
        sums, bad = processes.total(sums), int(processes.smallest(self._bad))
        rows = dict(zip(self._sums, sums.tolist(), strict=True))
        means = {name: total / count if count else 0.0 for name, (total, count) in rows.items()}
        elements = next(iter(rows.values()))[1]
        self._clear()
        return Reading(means, elements, None if bad == _NEVER else bad)
