#!/usr/bin/env python3
"""Put what ``seqgen eval`` found of several experiments side by side, as a Markdown table: a column each.

Each argument is an experiment that was evaluated. A row is a measure with its 95 % interval over examples; where voices
were judged by their distances from recordings, those of Griffin–Lim and of WORLD stand in the last columns.

Example:
    $ tools/report_table.py exp/ablation/divergence exp/ablation/power
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

BASELINES = {"griffin_lim": "Griffin–Lim", "world": "WORLD"}


def cells(report: dict[str, Any], digits: int, group: str = "scores") -> dict[str, str]:
    """Every measure of a report as text, by name."""
    exact = {name: report[name] for name in report if f"{name}_95" in report}
    found = {name: interval(value, report[f"{name}_95"], digits) for name, value in exact.items()}
    scores = report.get(group, {})
    heard = {name: interval(score["mean"], score["half_width"], digits) for name, score in scores.items()}
    return (found if group == "scores" else {}) | heard


def interval(value: float | None, half: float | None, digits: int) -> str:
    """``mean ± half of its interval``, as far as they are defined."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if half is None else f"{value:.{digits}f} ± {half:.{digits}f}"


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", metavar="EXPERIMENT")
    parser.add_argument("--digits", type=int, default=3, help="behind the decimal point")
    given = parser.parse_args(arguments)
    reports = [json.loads((Path(one) / "eval.json").read_text(encoding="utf-8")) for one in given.directories]
    columns = [cells(report, given.digits) for report in reports]
    heads = ["", *(Path(one).name for one in given.directories)]
    for baseline, title in BASELINES.items():
        heard = next((report for report in reports if baseline in report), None)
        if heard is not None:
            columns.append(cells(heard, given.digits, baseline))
            heads.append(title)
    sys.stdout.write(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n")
    for name in dict.fromkeys(name for column in columns for name in column):
        sys.stdout.write(
            f"| {' | '.join([name.replace('_', ' '), *(column.get(name, '–') for column in columns)])} |\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
