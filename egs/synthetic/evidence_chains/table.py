"""The recipe's table: what each method reached over the matrices, how they differ by user, and steps to a target."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
METHODS = ("means", "factorisation", "chains")
_T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # 95 % quantiles of Student's t over so many runs


class Run(NamedTuple):
    """One training: what ``seqgen eval`` found, and validations by step as errors in ratings."""

    report: Mapping[str, Any]
    validations: tuple[tuple[int, float], ...]

    @classmethod
    def read(cls, folder: Path) -> Run:
        report = json.loads((folder / "eval.json").read_text(encoding="utf-8"))
        lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        errors = [(one["step"], one["squared_error"]) for one in lines if one["split"] == "valid"]
        return cls(report, tuple((step, report["deviation"] * math.sqrt(error)) for step, error in errors))

    def steps_to(self, target: float) -> int | None:
        """Steps to the first validation with an error no larger."""
        return next((step for step, error in self.validations if error <= target), None)

    def users(self, figure: str) -> tuple[Reals, Reals]:
        """Squared errors and ratings of each user."""
        sums: dict[str, Reals] = {}
        for name, share in self.report["examples"][figure].items():
            user = name.split("/")[0]
            sums[user] = sums.get(user, np.zeros(2)) + share
        amounts, weights = np.array([sums[user] for user in sorted(sums)]).T
        return amounts, weights


def runs(out: Path, size: str, method: str) -> dict[str, list[Run]]:
    """The trainings of a method by seed, one for each weight decay."""
    return {
        seed.name: [Run.read(path.parent) for path in sorted(seed.glob(f"{method}/*/eval.json"))]
        for seed in sorted((out / size).iterdir())
    }


def chosen(found: Mapping[str, list[Run]], figure: str) -> dict[str, Run]:
    """Best training of each seed, judged by the ratings and users that are validated on."""
    return {seed: min(tried, key=lambda run: run.report["validation"][figure]) for seed, tried in found.items()}


def interval(values: list[float]) -> str:
    """Mean and 95 % interval over matrices."""
    spread = f" ± {_T[len(values)] * stdev(values) / math.sqrt(len(values)):.3f}" if len(values) in _T else ""
    return f"{mean(values):.3f}{spread}"


def difference(ours: Mapping[str, Run], theirs: Mapping[str, Run], figure: str) -> str:
    """Mean over matrices of the difference of two errors, with its 95 % interval over the users of all."""
    values, variances = [], []
    for seed, one in ours.items():
        shares = [run.users(figure) for run in (one, theirs[seed])]
        errors = [math.sqrt(amounts.sum() / weights.sum()) for amounts, weights in shares]
        sides = [
            (amounts - error**2 * weights) / (2 * error * weights.mean())
            for (amounts, weights), error in zip(shares, errors, strict=True)
        ]
        values.append(errors[0] - errors[1])
        variances.append(float(np.var(sides[0] - sides[1], ddof=1)) / len(sides[0]))
    return f"{mean(values):+.3f} ± {1.96 * math.sqrt(sum(variances)) / len(variances):.3f}"


def rows(out: Path, target: float) -> Iterator[str]:
    """Lines of the tables in Markdown, of ``out/SIZE/SEED/METHOD/DECAY/eval.json``."""
    sizes = sorted((path.name for path in out.iterdir() if path.name.isdigit()), key=int)
    any_run = next(iter(runs(out, sizes[0], "chains").values()))[0]
    figures = [name for name in any_run.report if name.startswith("rmse") and not name.endswith("_95")]
    heads = ["users", "method", "parameters", *(name.replace("_", " ") for name in figures), f"steps to {target:g}"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for size in sizes:
        for method in METHODS:
            found = runs(out, size, method)
            cells = []
            for figure in figures:
                best = chosen(found, figure)
                cells.append(interval([run.report[figure] for run in best.values()]))
            held = chosen(found, "rmse").values()
            steps = ", ".join(str(run.steps_to(target) or "–") for run in held)
            parameters = next(iter(held)).report["parameters"]
            yield f"| {size}x | {method} | {parameters:,} | {' | '.join(cells)} | {steps} |"
        for other in METHODS[:2]:
            ours, theirs = (runs(out, size, method) for method in ("chains", other))
            cells = [difference(chosen(ours, figure), chosen(theirs, figure), figure) for figure in figures]
            yield f"| {size}x | chains less {other} | | {' | '.join(cells)} | |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--target", type=float, default=0.6, help="error on the validation ratings")
    given = parser.parse_args()
    print("\n".join(rows(given.out, given.target)))


if __name__ == "__main__":
    main()
