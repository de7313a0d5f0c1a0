#!/usr/bin/env python3
"""Put what ``seqgen eval`` found of several seeds of several runs in one Markdown table: a row for each run.

Each argument is an experiment that was evaluated, its folder ``NAME-SEED``. A cell is the mean over seeds ± half of its
95 % interval by Student's t; of one seed it is the figure alone.

Example:
    $ tools/seeds_table.py exp/ablation/divergence-0 exp/ablation/divergence-1 --figures elbo
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

from seqgen.metrics.interval import quantile_95

BOUNDS = ("elbo", "evidence", "rate", "distortion")


def cell(values: list[float], digits: int) -> str:
    """Mean of a figure's values over seeds with its interval."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {quantile_95(len(values)) * statistics.stdev(values) / len(values) ** 0.5:.{digits}f}"


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", metavar="EXPERIMENT")
    parser.add_argument("--figures", nargs="+", default=BOUNDS, metavar="NAME", help="columns of the table")
    parser.add_argument("--digits", type=int, default=2, help="behind the decimal point")
    given = parser.parse_args(arguments)
    seeds: dict[str, list[dict[str, float]]] = {}
    for one in map(Path, given.directories):
        report = json.loads((one / "eval.json").read_text(encoding="utf-8"))
        seeds.setdefault(one.name.rpartition("-")[0], []).append(report)
    heads = ["", "seeds", *(name.replace("_", " ") for name in given.figures)]
    sys.stdout.write(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n")
    for name, reports in seeds.items():
        found = [cell([report[figure] for report in reports], given.digits) for figure in given.figures]
        sys.stdout.write(f"| {' | '.join([name, str(len(reports)), *found])} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
