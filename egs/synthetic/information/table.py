"""The recipe's table: for each bound and each amount of information what the runs found, over their seeds."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from statistics import mean
from typing import Any


def rows(out: Path) -> list[str]:
    """The table's lines in Markdown, of ``out/BOUND/INFORMATION/SEED/eval.json``."""
    runs: dict[tuple[float, str], list[dict[str, Any]]] = {}
    for path in sorted(out.glob("*/*/*/eval.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        runs.setdefault((found["known_information"], path.parts[-4]), []).append(found)
    heads = ["known", "bound", "found, mean over runs", "each run, ± 95 % over batches", "std of one batch", "cap"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for (known, bound), found in sorted(runs.items()):
        each = ", ".join(f"{one['information']:.2f} ± {one['information_95']:.2f}" for one in found)
        spread = mean(_deviation(one) for one in found)
        cap = found[0].get("information_cap")
        most = "none" if cap is None else f"{cap:.2f}"
        total = mean(one["information"] for one in found)
        lines.append(f"| {known:g} | {bound} | {total:.2f} | {each} | {spread:.2f} | {most} |")
    return lines


def _deviation(found: dict[str, Any]) -> float:
    """Standard deviation of a batch's estimate over the batches of an evaluation, of which the interval is made."""
    batches = len(found["examples"]["information"])
    return float(found["information_95"]) * math.sqrt(batches) / 1.96


if __name__ == "__main__":
    print("\n".join(rows(Path(sys.argv[1]))))
