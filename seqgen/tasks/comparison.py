"""Comparison of models by what each says of the same examples: paired differences with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from seqgen.errors import SeqgenError
from seqgen.tasks.contract import System
from seqgen.tasks.table import Figure, Table, ratio

_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Judged:
    """Judged model.

    Attributes:
        name: what it is called. table: what its evaluation found. parameters: how many numbers it has.
        seconds: that the evaluation took.
    """

    name: str
    table: Table
    parameters: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """Row of a comparison: a model's figures, and their differences from the reference's (none for itself).

    Attributes:
        total: sum of the first figure's amounts: for bits, what all examples together cost.
    """

    model: Judged
    figures: Mapping[str, Figure]
    differences: Mapping[str, Figure]
    total: float

    @property
    def symbols(self) -> float:
        """Symbols that were scored, or what else the first figure is a mean over."""
        counted = self.model.table.record.get("symbols")
        return float(counted if counted is not None else _columns(self.model.table, next(iter(self.figures)))[1].sum())

    def plain(self) -> dict[str, Any]:
        """The row for programs."""
        return {
            "path": self.model.name,
            **{name: self.model.table.record.get(name) for name in ("config_digest", "checkpoint")},
            "parameters": self.model.parameters,
            "total": self.total,
            "symbols": self.symbols,
            "seconds": self.model.seconds,
            "symbols_per_second": self.symbols / self.model.seconds,
            **_plain(self.figures),
            "differences": _plain(self.differences),
        }


def compare(models: Sequence[Judged], *, best: bool = False, figures: Sequence[str] = ()) -> list[Row]:
    """Rows of a comparison to the first model, or to the ``best``, the one whose first figure is lowest.

        difference = Σ_i (a_i - b_i) / Σ_i w_i,      ± t_N sd(a_i - b_i - difference · w_i) / (√N · mean w)

    over the examples i that all have, with their amounts a of the one model and b of the reference and weights w. What
    makes an example hard for both is no part of the interval.

    Raises:
        SeqgenError: where there is no figure that all have of the same examples with the same weights, or none of
            ``figures``, where these are given, which are then all that is looked at.
    """
    names = [name for name in _common([one.table for one in models]) if not figures or name in figures]
    names.sort(key=figures.index if figures else lambda _: 0)
    if not names:
        known = "; ".join(f"{one.name}: {', '.join(one.table.examples) or 'none'}" for one in models)
        raise SeqgenError(
            f"there is no figure that all models have of the same examples ({known})",
            remedy="give models of one kind of data, and data that all of them read",
        )
    reference = min(models, key=lambda one: one.table.figures[names[0]].value) if best else models[0]
    rows = []
    for one in models:
        apart = {} if one is reference else {name: _difference(one.table, reference.table, name) for name in names}
        figures = {name: one.table.figures[name] for name in names}
        rows.append(Row(one, figures, apart, float(_columns(one.table, names[0])[0].sum())))
    return rows


def _common(tables: Sequence[Table]) -> list[str]:
    first, *others = tables
    return [name for name in first.examples if all(_same(first, other, name) for other in others)]


def _same(one: Table, other: Table, name: str) -> bool:
    """Test that two tables have a figure of the same examples with the same weights."""
    mine, theirs = one.examples[name], other.examples.get(name, {})
    return mine.keys() == theirs.keys() and all(mine[key][1] == theirs[key][1] for key in mine)


def _columns(table: Table, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Amounts and weights in the order of the ids."""
    rows = [amounts for _, amounts in sorted(table.examples[name].items())]
    amounts, weights = np.array(rows, np.float64).T
    return amounts, weights


def _difference(one: Table, other: Table, name: str) -> Figure:
    (mine, weights), (theirs, _) = _columns(one, name), _columns(other, name)
    return ratio(mine - theirs, weights)


def _plain(figures: Mapping[str, Figure]) -> dict[str, float]:
    return {
        key: value
        for name, figure in figures.items()
        for key, value in ((name, figure.value), (f"{name}_95", figure.half_width))
    }


def parameters(system: System) -> int:
    """Numbers that a system's networks consist of; of an opened bundle those of its file of weights."""
    if system.runtime is None:
        return sum(weights.numel() for network in system.networks.values() for weights in network.parameters())
    with safe_open(system.runtime.bundle.path(_WEIGHTS), "np") as file:
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
