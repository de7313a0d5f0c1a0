"""Hidden layers of perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

Nonlinearity = Literal["relu", "tanh", "elu"]
_LAYERS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU}


def hidden_layers(widths: Sequence[int], nonlinearity: Nonlinearity) -> nn.Sequential:
    """Linear layers between successive widths, each with the nonlinearity behind it: ``[…, widths[0]] → […,
    widths[-1]]``.

    Example:
        >>> len(hidden_layers([4, 8, 8], "tanh"))
        4
    """
    made = (layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), _LAYERS[nonlinearity]()))
    return nn.Sequential(*made)
