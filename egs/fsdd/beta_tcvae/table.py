"""The recipe's table: the mutual information gap of evaluated runs, and the most that one number of a code tells of
each factor, as a share of what there is to tell; means over seeds with their 95 % interval.

``python -m egs.fsdd.beta_tcvae.table OUT/RATE-BETA-SEED ...``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.metrics.interval import quantile_95

_TOLD = "information_of_"
_NATS = ("elbo", "rate", "distortion")


def figures(report: dict[str, Any]) -> dict[str, float]:
    """Figures of one run."""
    factors = [name for name in report if name.startswith(_TOLD) and f"{name}_cap" in report]
    told = {name.removeprefix(_TOLD): report[name] / report[f"{name}_cap"] for name in factors}
    return {"gap": report["mutual_information_gap"], **told, **{name: report[name] for name in _NATS}}


def interval(values: list[float], digits: int) -> str:
    """Mean of the seeds, and half of its 95 % interval where there are several."""
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    half = quantile_95(len(values)) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{mean} ± {half:.{digits}f}"


def main(places: list[Path]) -> None:
    """Print the table: a row for each control and weight."""
    runs: dict[tuple[str, str], list[dict[str, float]]] = {}
    for place in places:
        control, beta, _ = place.name.rsplit("-", 2)
        report = json.loads((place / "eval.json").read_text(encoding="utf-8"))
        runs.setdefault((control, beta), []).append(figures(report))
    heads = list(next(iter(runs.values()))[0])
    lines = [f"| control | weight | seeds | {' | '.join(heads)} |", "|---" * (len(heads) + 3) + "|"]
    for (control, beta), found in runs.items():
        cells = [interval([one[name] for one in found], 2 if name in _NATS else 3) for name in heads]
        lines.append(f"| {control} | {beta} | {len(found)} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
