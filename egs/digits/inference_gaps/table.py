"""The recipe's table: bounds and gaps of every run, in nats a picture, of pictures that were learnt from and of others.

``python -m egs.digits.inference_gaps.table OUT/SEED/ENCODER/gaps.json ...`` reads what ``seqgen gaps`` found.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = {
    "ln p(x)": "log_evidence",
    "L[q*]": "best_own_bound",
    "L[q]": "encoder_bound",
    "approximation gap": "approximation_gap",
    "amortisation gap": "amortisation_gap",
    "inference gap": "inference_gap",
    "approximation gap, full covariance": "approximation_gap_full",
    "auxiliary flow": "approximation_gap_flow",
}
"""Heads of the table, and the figures of a split under them."""


def cell(found: dict[str, Any], name: str) -> str:
    """A figure with its interval."""
    return f"{found[name]:.2f} ± {found[f'{name}_95']:.2f}" if name in found else "–"


def main(reports: list[Path]) -> None:
    """Print the table."""
    heads = ["", "pictures", *COLUMNS, "error of annealing at most"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for path in reports:
        found = json.loads(path.read_text(encoding="utf-8"))
        name = f"{path.parent.name}, seed {path.parent.parent.name}"
        for split in ("train", "test"):
            cells = [cell(found[split], figure) for figure in COLUMNS.values()]
            checked = cell(found["simulated"], "error_at_most") if split == "train" else ""
            lines.append(f"| {' | '.join([name, split, *cells, checked])} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
