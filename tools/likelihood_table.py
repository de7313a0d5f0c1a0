#!/usr/bin/env python3
"""Compare likelihoods of the same recordings under several models, as a Markdown table.

Each argument is a directory with ``eval.json`` (``seqgen eval --likelihood-only``); beside it may lie ``float32.json``
and ``int8.json`` (the same of its exported bundles) and ``*.bench.json`` (``seqgen bench --json``). The first is what
the others are compared with: utterance by utterance, so a difference has a much narrower interval than the two means.

Example:
    $ tools/likelihood_table.py exp/fsdd-sparsity/36-0 exp/fsdd-sparsity/224-0.95
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.tasks.table import ratio

NATS = math.log(2)


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Paired difference in nats per sample with its 95 % interval."""
    mine, other = (report["examples"]["bits_per_sample"] for report in (ours, theirs))
    if mine.keys() != other.keys():
        raise SystemExit(
            f"{ours['path']} and {theirs['path']} were scored on different recordings; score both on the same"
        )
    bits = np.array([mine[key][0] - other[key][0] for key in mine])
    found = ratio(bits * NATS, np.array([mine[key][1] for key in mine]))
    return f"{found.value:+.4f}{interval(found.half_width)}"


def interval(half: float | None) -> str:
    """Half of a 95 % interval behind its value; nothing where one recording has none."""
    return f" ± {half:.4f}" if half is not None and math.isfinite(half) else ""


def read(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file."""
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return value


def row(directory: Path, first: dict[str, Any]) -> str:
    """One model's line."""
    exact, rounded = read(directory / "eval.json"), read(directory / "int8.json")
    half = exact["bits_per_sample_95"]
    cells = [
        directory.name,
        f"{exact['bits_per_sample'] * NATS:.4f}{interval(half and half * NATS)}",
        difference(exact, first),
        difference(rounded, read(directory / "float32.json")) if rounded else "–",
    ]
    for name in ("float32", "int8"):
        speed = read(directory / f"{name}.bench.json")
        cells.append(f"{speed['samples_per_second']:,}" if speed else "–")
    return f"| {' | '.join(cells)} |"


def main(directories: list[str]) -> int:
    """Print the table."""
    if not directories:
        raise SystemExit(f"usage: {Path(__file__).name} EXPERIMENT …")
    places = [Path(directory) for directory in directories]
    first = read(places[0] / "eval.json")
    heads = ["model", "nats per sample", f"against {places[0].name}", "int8 against float32"]
    heads += ["float32 samples/s", "int8 samples/s"]
    sys.stdout.write(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n")
    sys.stdout.writelines(f"{row(place, first)}\n" for place in places)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
