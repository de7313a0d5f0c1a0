"""Table and picture of the bench: what probes read off each representation, its rate, its information and its cost.

``python -m egs.bench.representations.table OUT`` reads what the stages left in ``OUT/DATASET/SEED``: ``TARGET.json`` of
probes, ``METHOD/eval.json``, ``information/ROW-OF-BOUND.json`` and ``METHOD.time``, and writes OUT/table.md and
OUT/bench.png.
Means over seeds with their 95 % interval; of one seed with the interval over test utterances, or batches.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqgen.metrics.interval import quantile_95
from seqgen.tasks.run import load

_TARGETS = ("class", "digit", "speaker", "phone", "pitch")
_RATE, _COST = "rate, nats a second", "training and evaluation, CPU minutes"
_OF_PICTURES = "rate, nats a picture"
_BASELINES = ("mfcc", "pixels", "random", "supervised")
_MINUTE = 60
_LOWEST = -25.0  # percent at the lower edge of the picture: how far below nothing a regression falls tells no more


class Cell(NamedTuple):
    """A value of a column with half of its 95 % interval; NaN where it has none."""

    value: float
    half_width: float = math.nan

    def __str__(self) -> str:
        digits = 1 if abs(self.value) >= 10 else 2
        interval = f" ± {self.half_width:.{digits}f}" if math.isfinite(self.half_width) else ""
        return f"{self.value:.{digits}f}{interval}"


Row = dict[str, Cell]
Table = dict[str, Row]


def _json(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return found


def _cell(report: Mapping[str, Any], name: str, factor: float = 1.0) -> Cell:
    half_width = report.get(f"{name}_95")
    return Cell(factor * report[name], math.nan if half_width is None else factor * half_width)


def probed(folder: Path) -> Table:
    """Accuracies of probes, in percent, by the row's name: a baseline's, or the last part of an experiment's path."""
    found: Table = {}
    for target in _TARGETS:
        place = folder / f"{target}.json"
        report = _json(place) if place.exists() else {"probes": {}}
        for name in report["probes"]:
            found.setdefault(Path(name).name, {})[f"{target}, %"] = _cell(report, name)
    return found


def rate(experiment: Path) -> Row:
    """Nats that the codes of a second of the test recordings, or of a test picture, cost; nothing of a run without
    codes."""
    report = _json(experiment / "eval.json")
    if "rate_per_second" in report:
        return {_RATE: _cell(report, "rate_per_second")}
    if "rate_per_pixel" in report:
        return {_OF_PICTURES: _cell(report, "rate")}
    if "rate_per_number" not in report:
        return {}
    features = load(experiment / "config.yaml").task.options["features"]
    factor = features["n_mels"] * features["sample_rate"] / features["hop"]
    return {_RATE: _cell(report, "rate_per_number", factor)}


def cost(place: Path) -> Cell:
    """Minutes of processor time, user and system, over all the sittings that a training took."""
    seconds = [float(word) for line in place.read_text(encoding="utf-8").splitlines() for word in line.split()]
    return Cell(sum(seconds) / _MINUTE)


def of_seed(folder: Path) -> Table:
    """Every row of one seed; a run that is not evaluated yet has no rate and no cost."""
    found = probed(folder)
    for place in sorted(folder.glob("*.time")):
        if not (folder / place.stem / "eval.json").exists():
            continue
        found.setdefault(place.stem, {}).update({**rate(folder / place.stem), _COST: cost(place)})
    for place in sorted((folder / "information").glob("*.json")):
        name, of, bound = place.stem.split("-", 2)
        found.setdefault(name, {})[f"I({of}), {bound}, nats"] = _cell(_json(place), "information")
    return found


def over_seeds(tables: Sequence[Table]) -> Table:
    """Means of the seeds that have a cell, and half of their 95 % interval by Student's distribution."""
    found: Table = {}
    for name in dict.fromkeys(name for table in tables for name in table):
        rows = [table[name] for table in tables if name in table]
        for head in dict.fromkeys(head for row in rows for head in row):
            cells = [row[head] for row in rows if head in row]
            values = np.array([one.value for one in cells])
            half_width = cells[0].half_width
            if len(values) > 1:
                half_width = quantile_95(len(values)) * values.std(ddof=1) / math.sqrt(len(values))
            found.setdefault(name, {})[head] = Cell(float(values.mean()), float(half_width))
    return found


def markdown(tables: Mapping[str, Table]) -> list[str]:
    """Lines of the table: of each data set methods first, then baselines, in the columns that any of them has."""
    heads = _ordered(head for table in tables.values() for row in table.values() for head in row)
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for dataset, table in tables.items():
        names = [*(name for name in table if name not in _BASELINES), *(name for name in _BASELINES if name in table)]
        for name in names:
            cells = (str(table[name][head]) if head in table[name] else "–" for head in heads)
            lines.append(f"| {dataset}/{name} | {' | '.join(cells)} |")
    return lines


def _ordered(heads: Iterable[str]) -> list[str]:
    """Heads without repetition: what is probed, the rate, information, the cost."""
    known = list(dict.fromkeys(heads))
    of_probes = [f"{target}, %" for target in _TARGETS]
    information = sorted(head for head in known if head.startswith("I("))
    return [head for head in (*of_probes, _RATE, _OF_PICTURES, *information, _COST) if head in known]


def picture(tables: Mapping[str, Table], place: Path) -> None:
    """Two panels of what probes read off, for each data set: of models with codes in the order of their rate, and of
    all rows in the order of what their training cost."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(tables), 2, figsize=(11, 4.6 * len(tables)), sharey="row", layout="tight",
                                     width_ratios=[1, 2], squeeze=False)  # fmt: skip
    for (dataset, table), (left, right) in zip(tables.items(), panels, strict=True):
        untrained = {name: {_COST: Cell(0.0), **row} for name, row in table.items() if name in _BASELINES[:-1]}
        per = _OF_PICTURES if any(_OF_PICTURES in row for row in table.values()) else _RATE
        _panel(left, table, per)
        _panel(right, table | untrained, _COST)
        left.set_ylim(max(_LOWEST, left.get_ylim()[0]), 104)  # of both
        left.set_ylabel(f"{dataset}: read off by a linear probe, %\n(of pitch: share of its variance)")
        right.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, fontsize=8)
    figure.savefig(place, dpi=120)
    pyplot.close(figure)


def _panel(panel: Any, rows: Table, head: str) -> None:
    """Points of what is read off the rows that have a head, in the order of its values."""
    ordered = sorted((name for name in rows if head in rows[name]), key=lambda name: rows[name][head].value)
    for number, target in enumerate(_TARGETS):
        column = f"{target}, %"
        known = [(at, *rows[name][column]) for at, name in enumerate(ordered) if column in rows[name]]
        if known:
            x, values, halves = np.array(known).T
            panel.errorbar(x + 0.12 * (number - 2), values, np.nan_to_num(halves), fmt="vosD^"[number], markersize=6,
                           color=f"C{number}", capsize=2, linewidth=1, label=target)  # fmt: skip
    labels = [f"{name.replace('_', '-')}\n{rows[name][head].value:.3g}" for name in ordered]
    panel.set_xticks(range(len(ordered)), labels, fontsize=8)
    panel.set_xlim(-0.6, max(len(ordered), 1) - 0.4)
    panel.set_xlabel(head)
    panel.grid(axis="y", alpha=0.3)


def main(words: list[str]) -> None:
    """Write the table and the picture of a bench, and print the table."""
    out = Path(words[0])
    seeds = {place: sorted(one for one in place.iterdir() if one.name.isdecimal())
             for place in sorted(out.iterdir()) if place.is_dir()}  # fmt: skip
    found = {place.name: over_seeds([of_seed(one) for one in own]) for place, own in seeds.items() if own}
    text = "\n".join(markdown(found)) + "\n"
    (out / "table.md").write_text(text, encoding="utf-8")
    picture(found, out / "bench.png")
    sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
