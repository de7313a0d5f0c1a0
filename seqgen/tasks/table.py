"""Tables of an evaluation: figures with their units and intervals, as text and as one JSON object."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.objectives.contract import Measure


class Figure(NamedTuple):
    """A value with half of its 95 % interval (NaN where there is none) and its unit ("" where the name says it)."""

    value: float
    half_width: float = math.nan
    unit: str = ""

    def __str__(self) -> str:
        interval = f" ± {self.half_width:.3f}" if math.isfinite(self.half_width) else ""
        return f"{self.value:.3f}{interval}" + (f" {self.unit}" if self.unit else "")


@dataclass(frozen=True)
class Table:
    """What an evaluation found.

    Attributes:
        title: the first line of the text.
        record: values of the JSON object that stand before the figures. figures: by name.
        examples: of each figure that has them the amount and weight of every example, by its id.
        further: values of the JSON object behind the figures. lines: of the text, behind the figures.
    """

    title: str
    figures: Mapping[str, Figure]
    record: Mapping[str, Any] = field(default_factory=dict)
    examples: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    further: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    def text(self) -> str:
        """The table for the eye."""
        named = (f"{name.replace('_', ' ')} {figure}" for name, figure in self.figures.items())
        return "\n".join([self.title, *named, *self.lines]) + "\n"

    def plain(self) -> dict[str, Any]:
        """The table for programs: plain values, with null where something is not defined (JSON has no NaN)."""
        made = {
            **self.record,
            **{name: figure.value for name, figure in self.figures.items()},
            **{f"{name}_95": figure.half_width for name, figure in self.figures.items()},
            **({"examples": {name: dict(rows) for name, rows in self.examples.items()}} if self.examples else {}),
            **self.further,
        }
        finite: dict[str, Any] = _finite(made)
        return finite


def ratio(amounts: npt.NDArray[np.float64], weights: npt.NDArray[Any], unit: str = "") -> Figure:
    """``Σ amounts / Σ weights`` over examples and half of its 95 % interval, by the delta method:

        1.96 · sd(a_i - mean · w_i) / (√N · mean w)

    Example:
        >>> ratio(np.array([3.0, 9.0]), np.array([1, 3]))[:2]
        (3.0, 0.0)
    """
    mean = amounts.sum() / weights.sum()
    spread = np.std(amounts - mean * weights, ddof=1) if len(weights) > 1 else math.nan
    return Figure(float(mean), float(1.96 * spread / (math.sqrt(len(weights)) * weights.mean())), unit)


class Gathered:
    """Measures of many batches, joined: a figure with an interval for each name, and every example's share."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, tuple[float, float]]] = {}
        self._units: dict[str, str] = {}

    def add(self, measures: Mapping[str, Measure], ids: Iterable[str]) -> None:
        """Take in one batch; ``ids`` name its rows."""
        names = list(ids)
        for name, one in measures.items():
            rows = zip(names, one.amounts.tolist(), one.weights.tolist(), strict=True)
            self._rows.setdefault(name, {}).update({key: (amount, weight) for key, amount, weight in rows})
            self._units[name] = one.unit

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures, in the order in which they were met."""
        return {
            name: ratio(*(np.array(column) for column in zip(*rows.values(), strict=True)), unit=self._units[name])
            for name, rows in self._rows.items()
        }

    @property
    def examples(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Amount and weight of every example."""
        return self._rows


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
