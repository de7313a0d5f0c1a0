"""The recipe's tables: full-rank distributions against what enumeration finds, and the other targets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from egs.synthetic.discrete_flow.optimum import of_seed

# As a reproduction study has them (arXiv 2102.05379); what the method's own paper says was not looked up.
REPORTED = {"gaussians": "discrete flow 7.0, argmax flow 6.32"}


def full_rank(out: Path) -> list[str]:
    """Means over the targets of ``out/LAYERS/TARGET/START/eval.json``: of each target's best start, and of its first.

    Training blocks are drawn without end, so that the enumerated likelihood is also that of the training data.
    """
    heads = ("layers", "targets", "starts", "entropy", "optimum", "best start", "first start", "factorised optimum")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for layers in sorted(path for path in out.iterdir() if path.is_dir()):
        found = {path.name: _found(path) for path in sorted(layers.iterdir(), key=lambda one: int(one.name))}
        starts = [each for each in found.values() if each]
        known = mean(of_seed(int(seed))[int(layers.name) - 1] for seed, each in found.items() if each)
        best = mean(min(one["exact_nll"] for one in each) for each in starts)
        first, entropy, factorised = (
            mean(each[0][name] for each in starts) for name in ("exact_nll", "entropy", "factorised_optimum")
        )
        values = " | ".join(f"{one:.3f}" for one in (entropy, known, best, first, factorised))
        lines.append(f"| {layers.name} | {len(starts)} | {min(map(len, starts))} | {values} |")
    return lines


def others(out: Path) -> list[str]:
    """A row for each target and density, of ``out/TARGET/DENSITY/eval.json``."""
    heads = ("target", "density", "parameters", "nats a block", "samples that can be", "entropy", "factorised optimum")
    lines = [f"| {' | '.join(heads)} | reported |", "|---" * (len(heads) + 1) + "|"]
    for path in sorted(out.glob("*/*/eval.json")):
        one = json.loads(path.read_text(encoding="utf-8"))
        target, density = path.parts[-3:-1]
        nats = f"{one['nll']:.3f} ± {one['nll_95']:.3f}"
        known = f"{one['entropy']:.3f} | {one['factorised_optimum']:.3f} | {REPORTED.get(target, '')}"
        lines.append(
            f"| {target} | {density} | {one['parameters']:,} | {nats} | {one['possible_samples']:.3f} | {known} |"
        )
    return lines


def _found(folder: Path) -> list[dict[str, Any]]:
    """Evaluations of one target, in the order of the starts."""
    paths = sorted(folder.glob("*/eval.json"), key=lambda path: int(path.parent.name))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


if __name__ == "__main__":
    root = Path(sys.argv[1])
    if (root / "full_rank").is_dir():
        print("\n".join(full_rank(root / "full_rank")) + "\n")
    print("\n".join(others(root)))
