"""Tables of an evaluation: figures with their units and intervals, as text and as one JSON object."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.metrics.interval import quantile_95
from seqgen.objectives.contract import Measure

_NEAR = 0.1  # share of a cap that a figure must stay below it by


class Figure(NamedTuple):
    """Figure of a table: a value with half of its 95 % interval (NaN where there is none) and its unit ("" where the
    name says it).

    ``cap`` is the most that it can be whatever is there, and ``cap_formula`` why.
    """

    value: float
    half_width: float = math.nan
    unit: str = ""
    cap: float = math.inf
    cap_formula: str = ""

    def __str__(self) -> str:
        interval = f" ± {self.half_width:.3f}" if math.isfinite(self.half_width) else ""
        most = f", at most {self.cap:.3f} ({self.cap_formula})" if math.isfinite(self.cap) else ""
        value = f"{self.value:.3f}{interval}" if math.isfinite(self.value) else "undefined"
        return value + (f" {self.unit}" if self.unit else "") + most

    @property
    def leans(self) -> bool:
        """Whether the value is so near its cap that it tells of the cap more than of what is measured."""
        return math.isfinite(self.cap) and self.value > (1 - _NEAR) * self.cap


@dataclass(frozen=True)
class Table:
    """Table of what an evaluation found.

    Attributes:
        title: the first line of the text.
        record: values of the JSON object that stand before the figures. figures: by name.
        examples: of each figure that has them the amount and weight of every example, by its id.
        further: values of the JSON object behind the figures. lines: of the text, behind the figures.
        remarks: what the method says of the figures.
    """

    title: str
    figures: Mapping[str, Figure]
    record: Mapping[str, Any] = field(default_factory=dict)
    examples: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    further: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def text(self) -> str:
        """The table for the eye."""
        named = (f"{name.replace('_', ' ')} {figure}" for name, figure in self.figures.items())
        return "\n".join([self.title, *named, *self.lines, *self.warnings]) + "\n"

    @property
    def warnings(self) -> list[str]:
        """A line for each figure that leans on its cap, and for each remark."""
        leaning = [
            f"{name.replace('_', ' ')} leans on its cap of {figure.cap:.3f}: what is there may be more"
            for name, figure in self.figures.items()
            if figure.leans
        ]
        return [f"warning: {one}" for one in (*leaning, *self.remarks)]

    def plain(self) -> dict[str, Any]:
        """The table for programs: plain values, with null where something is not defined (JSON has no NaN)."""
        made = {
            **self.record,
            **{name: figure.value for name, figure in self.figures.items()},
            **{f"{name}_95": figure.half_width for name, figure in self.figures.items()},
            **{f"{name}_cap": figure.cap for name, figure in self.figures.items() if math.isfinite(figure.cap)},
            **({"warnings": self.warnings} if self.warnings else {}),
            **({"examples": {name: dict(rows) for name, rows in self.examples.items()}} if self.examples else {}),
            **self.further,
        }
        finite: dict[str, Any] = _finite(made)
        return finite


def ratio(amounts: npt.NDArray[np.float64], weights: npt.NDArray[Any], unit: str = "") -> Figure:
    """``Σ amounts / Σ weights`` over examples and half of its 95 % interval, by the delta method:

        t_N · sd(a_i - mean · w_i) / (√N · mean w),    t_N Student's quantile

    Example:
        >>> ratio(np.array([3.0, 9.0]), np.array([1, 3]))[:2]
        (3.0, 0.0)
    """
    mean = amounts.sum() / weights.sum()
    spread = np.std(amounts - mean * weights, ddof=1) if len(weights) > 1 else math.nan
    half_width = quantile_95(len(weights)) * spread / (math.sqrt(len(weights)) * weights.mean())
    return Figure(float(mean), float(half_width), unit)


def function_of_means(
    amounts: npt.NDArray[np.float64],
    weights: npt.NDArray[Any],
    function: Callable[[npt.NDArray[np.float64]], float],
    unit: str = "",
) -> Figure:
    """``f(Σ amounts / Σ weights)`` over examples, ``[N, …]`` and ``[N]``, and half of its interval by the jackknife:

        t_N · √((N - 1)/N · Σ_i (f_i - mean f)²),    f_i without example i

    Example:
        >>> function_of_means(np.array([3.0, 5.0]), np.ones(2), np.sqrt).value
        2.0
    """
    total, weight, count = amounts.sum(axis=0), weights.sum(), len(weights)
    value = float(function(total / weight))
    if count < 2:
        return Figure(value, unit=unit)
    without = [function((total - one) / (weight - own)) for one, own in zip(amounts, weights, strict=True)]
    spread = math.sqrt((count - 1) * float(np.var(without)))
    return Figure(value, quantile_95(count) * spread, unit)


def figure(amounts: npt.NDArray[np.float64], weights: npt.NDArray[Any], kind: Measure) -> Figure:
    """The figure of a kind of measure over examples, amounts ``[N, …]`` and weights ``[N]``."""
    if kind.function is None:
        found = ratio(amounts, weights, kind.unit)
    else:
        found = function_of_means(amounts, weights, kind.function, kind.unit)
    return found._replace(cap=kind.cap, cap_formula=kind.cap_formula)


class Gathered:
    """Collector of the measures of many batches: a figure with an interval for each name, and every example's share."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, tuple[Any, float]]] = {}
        self._last: dict[str, Measure] = {}
        self._caps: dict[str, list[tuple[float, str, float]]] = {}  # of each batch, why, and its weight

    def add(self, measures: Mapping[str, Measure], ids: Iterable[str]) -> None:
        """Take in one batch; ``ids`` name its rows. An amount of a whole batch is that of its first and last row."""
        names = list(ids)
        for name, one in measures.items():
            whole = len(one.amounts) == 1 < len(names)
            keys = [f"{names[0]}…{names[-1]}"] if whole else names
            amounts = one.amounts.tolist() if one.amounts.dim() == 1 else one.amounts.double().cpu().numpy()
            rows = zip(keys, amounts, one.weights.tolist(), strict=True)
            self._rows.setdefault(name, {}).update({key: (amount, weight) for key, amount, weight in rows})
            self._last[name] = one
            self._caps.setdefault(name, []).append((one.cap, one.cap_formula, float(one.weights.sum())))

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures, in the order in which they were met."""
        return {name: self._figure(name, list(rows.values())) for name, rows in self._rows.items()}

    def _figure(self, name: str, rows: list[tuple[Any, float]]) -> Figure:
        amounts, weights = (np.array(column) for column in zip(*rows, strict=True))
        return figure(amounts, weights, self._last[name]._replace(**self._cap(name)))

    def _cap(self, name: str) -> dict[str, Any]:
        """The cap of a mean over batches, which is the mean of theirs: batches of other sizes may have other ones."""
        caps, words, weights = zip(*self._caps[name], strict=True)
        if len(set(caps)) == 1 or not sum(weights):
            return {"cap": caps[-1], "cap_formula": words[-1]}
        most = words[int(np.argmax(caps))]
        return {"cap": float(np.average(caps, weights=weights)), "cap_formula": f"{most} or fewer, in the mean"}

    @property
    def examples(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Amount and weight of every example, where an amount is one number."""
        return {name: rows for name, rows in self._rows.items() if self._last[name].amounts.dim() == 1}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
