#!/usr/bin/env python3
"""Put what ``seqgen eval`` found of several experiments side by side, as a Markdown table: a column each.

Each argument is an experiment that was evaluated. A row is a measure with its 95 % interval over recordings; in the
last column stand Griffin–Lim's distances.

Example:
    $ tools/report_table.py exp/ablation/divergence exp/ablation/power
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def cells(report: dict[str, Any], group: str = "scores") -> dict[str, str]:
    """Every measure of a report as text, by name."""
    exact = {name: report[name] for name in report if f"{name}_95" in report}
    found = {name: interval(value, report[f"{name}_95"]) for name, value in exact.items()}
    heard = {name: interval(score["mean"], score["half_width"]) for name, score in report[group].items()}
    return (found if group == "scores" else {}) | heard


def interval(value: float | None, half: float | None) -> str:
    """``mean ± half of its interval``, as far as they are defined."""
    if value is None:
        return "–"
    return f"{value:.3f}" if half is None else f"{value:.3f} ± {half:.3f}"


def main(directories: list[str]) -> int:
    """Print the table."""
    if not directories:
        raise SystemExit(f"usage: {Path(__file__).name} EXPERIMENT …")
    reports = [json.loads((Path(one) / "eval.json").read_text(encoding="utf-8")) for one in directories]
    columns = [cells(report) for report in reports] + [cells(reports[0], "griffin_lim")]
    heads = ["", *(Path(one).name for one in directories), "Griffin–Lim"]
    sys.stdout.write(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n")
    for name in dict.fromkeys(name for column in columns for name in column):
        sys.stdout.write(
            f"| {' | '.join([name.replace('_', ' '), *(column.get(name, '–') for column in columns)])} |\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
