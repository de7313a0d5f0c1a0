#!/usr/bin/env python3
"""Figures of generators at several temperatures: a table, a JSON object and a picture, as quality against diversity.

Each experiment is evaluated as `seqgen eval --temperature` does it. A method that trades diversity for quality is
compared with another at the temperature that makes both equally diverse, not with its samples at temperature 1.

Example:
    $ tools/temperature_sweep.py exp/0/longer exp/0/actual --figures exact_entropy exact_oracle_nll --out exp/swept
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from seqgen.cli.opened import opened
from seqgen.files.outputs import write_text
from seqgen.tasks.contract import Evaluation
from seqgen.tasks.table import Table

TEMPERATURES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1)


def swept(place: Path, given: argparse.Namespace) -> dict[str, Table]:
    """Tables of an experiment, by the temperature."""
    task, system = opened(place, "")
    found = {}
    for temperature in given.temperatures:
        options = Evaluation(
            temperature=temperature, limit=given.examples, samples=given.samples, oracle=given.oracle, seed=given.seed
        )
        task.require_heeded(options)
        found[f"{temperature:g}"] = task.evaluate(system, options)
    return found


def lines(tables: dict[str, dict[str, Table]], figures: list[str], digits: int) -> list[str]:
    """A row of the Markdown table for each experiment and temperature."""
    heads = ["", "temperature", *(name.replace("_", " ") for name in figures)]
    made = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for place, found in tables.items():
        for temperature, table in found.items():
            cells = [f"{table.figures[name].value:.{digits}f}" if name in table.figures else "–" for name in figures]
            made.append(f"| {' | '.join([place, temperature, *cells])} |")
    return made


def picture(tables: dict[str, dict[str, Table]], figures: list[str], place: Path) -> None:
    """The second figure against the first, a line for each experiment, with the temperatures beside it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5))
    for name, found in tables.items():
        across, up = ([table.figures[one].value for table in found.values()] for one in figures[:2])
        axes.plot(across, up, marker="o", markersize=3, label=name)
        for x, y, temperature in zip(across, up, found, strict=True):
            axes.annotate(temperature, (x, y), fontsize=6)
    axes.set_xlabel(figures[0].replace("_", " "))
    axes.set_ylabel(figures[1].replace("_", " "))
    axes.legend(fontsize=7)
    figure.savefig(place, dpi=120)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Evaluate, print the table, write the rest beside each other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", type=Path, metavar="EXPERIMENT")
    parser.add_argument("--figures", nargs="+", required=True, metavar="NAME", help="of the table; two for the picture")
    parser.add_argument("--temperatures", nargs="+", type=float, default=TEMPERATURES)
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.png")
    parser.add_argument("--examples", type=int, default=0, help="as of `seqgen eval`, and so the others")
    parser.add_argument("--samples", type=int, default=0)
    parser.add_argument("--oracle", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--digits", type=int, default=3)
    given = parser.parse_args(arguments)
    tables = {f"{one.parent.name}/{one.name}": swept(one, given) for one in given.experiments}
    plain: dict[str, Any] = {
        name: {temperature: table.plain() for temperature, table in found.items()} for name, found in tables.items()
    }
    write_text(given.out.with_suffix(".json"), json.dumps(plain, indent=1) + "\n")
    if len(given.figures) > 1:
        picture(tables, given.figures, given.out.with_suffix(".png"))
    sys.stdout.write("\n".join(lines(tables, given.figures, given.digits)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
