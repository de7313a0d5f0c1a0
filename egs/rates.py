"""Table of latent-variable models and of a decoder without a code, by what ``seqgen eval`` found: nats a row.

``python -m egs.rates OUT [--rows N]`` reads ``OUT/SEED/NAME/eval.json`` and ``metrics.jsonl``; N are the rows that were
learnt from, where these are given to a prior.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqgen.latents.neighbour import ordering_credit

Found = Mapping[str, Any]
COLUMNS = {
    "costs": ("-elbo", "nats_per_picture", "nats_per_sequence"),
    "by itself": ("-marginal_elbo",),
    "costs at most, importance-weighted": ("-evidence",),
    "rate": ("rate",),
    "committed rate": ("committed_rate",),
    "distortion": ("distortion",),
    "information at least": ("information_at_least",),
    "validation, nats an element": ("nats_per_element",),
    "entries in use": ("perplexity",),
    "class by a probe, %": ("class_by_linear_probe",),
    "by five codes, %": ("class_by_nearest_codes",),
}
"""Heads of the table, and the figures under them, the first that a run has; of a bound the negative."""


def cell(found: Found, names: tuple[str, ...]) -> str:
    """A figure with its 95 % interval over rows."""
    for name in names:
        plain = name.removeprefix("-")
        if plain in found:
            value = -found[plain] if name != plain else found[plain]
            interval = found.get(f"{plain}_95")
            return f"{value:.3f}" if interval is None else f"{value:.2f} ± {interval:.2f}"
    return ""


def run(folder: Path) -> Found:
    """Figures of an evaluation, and nats of an element in the best validation of the training."""
    found = json.loads((folder / "eval.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    best = min((line for line in lines if line["split"] == "valid"), key=lambda line: line["loss"])
    nats = [value for name, value in best.items() if name.startswith("nats_per_") and name != "nats_per_position"]
    return {**found, **({"nats_per_element": nats[0]} if nats else {})}


def table(runs: Mapping[str, Found]) -> list[str]:
    """Lines in Markdown, of the columns that any of the runs has."""
    heads = {head: names for head, names in COLUMNS.items() if any(cell(found, names) for found in runs.values())}
    lines = [f"| {' | '.join(['seed/run', *heads])} |", "|---" * (len(heads) + 1) + "|"]
    for name, found in runs.items():
        lines.append(f"| {' | '.join([name, *(cell(found, names) for names in heads.values())])} |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=0)
    given = parser.parse_args()
    paths = sorted(given.out.glob("*/*/eval.json"))
    read = {f"{path.parts[-3]}/{path.parts[-2]}": run(path.parent) for path in paths}
    print("\n".join(table(read)))
    if given.rows:
        naming, order = math.log(given.rows), ordering_credit(given.rows)
        told = f"costs {naming:.2f} nats, an order of all of them saves at most {order:.2f} nats a row"
        print(f"\nNaming one of {given.rows:,} rows {told}.")


if __name__ == "__main__":
    main()
