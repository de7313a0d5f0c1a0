"""The recipe's table and picture: what the runs of each bound found of each amount of information, over their seeds.

Of one batch, an estimate v of the information I that is known has

    bias E v - I        variance E (v - E v)²        root mean squared error √(bias² + variance)

``python -m egs.synthetic.information.table OUT`` reads ``OUT/FORM/BOUND/INFORMATION/SEED/eval.json``, prints the table
in Markdown and draws ``OUT/bounds.png``.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from seqgen.metrics.interval import quantile_95

HEADS = (
    "",
    "known",
    "bound",
    "found",
    "each run, ± 95 % over batches",
    "bias",
    "std",
    "root mean squared error",
    "cap",
)


@dataclass(frozen=True)
class Found:
    """Estimates of one amount of information by the runs of one bound.

    Attributes:
        form: of the pairs. bound: its name. known: nats that there are. runs: what each evaluation reports.
    """

    form: str
    bound: str
    known: float
    runs: tuple[dict[str, Any], ...]

    @property
    def information(self) -> float:
        """Mean over runs, in nats."""
        return mean(one["information"] for one in self.runs)

    @property
    def deviation(self) -> float:
        """Standard deviation of the estimate of one batch, in nats: the root of the mean over runs of its variance."""
        return math.sqrt(mean(_variance(one) for one in self.runs))

    @property
    def error(self) -> float:
        """Root mean squared error of the estimate of one batch, in nats, over batches and runs."""
        return math.sqrt(mean(_variance(one) + (one["information"] - self.known) ** 2 for one in self.runs))

    @property
    def cap(self) -> float:
        """The most that the bound can say, in nats."""
        return float(self.runs[0].get("information_cap", math.inf))

    def cells(self) -> list[str]:
        """Cells of its row of the table."""
        each = ", ".join(f"{one['information']:.2f} ± {one['information_95']:.2f}" for one in self.runs)
        most = "none" if math.isinf(self.cap) else f"{self.cap:.2f}"
        figures = [f"{self.information - self.known:+.2f}", f"{self.deviation:.2f}", f"{self.error:.2f}"]
        return [self.form, f"{self.known:g}", self.bound, f"{self.information:.2f}", each, *figures, most]


def collected(out: Path) -> list[Found]:
    """Estimates of all runs, by form, amount and bound."""
    runs: dict[tuple[str, float, str], list[dict[str, Any]]] = {}
    for path in sorted(out.glob("*/*/*/*/eval.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        form, bound = path.parts[-5:-3]
        runs.setdefault((form, found["known_information"], bound), []).append(found)
    return [Found(form, bound, known, tuple(each)) for (form, known, bound), each in sorted(runs.items())]


def draw(found: list[Found], target: Path) -> None:
    """The picture: for each form what each bound found against what is known, and the deviation of one batch."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    forms = sorted({one.form for one in found}, reverse=True)
    figure, axes = plt.subplots(1, len(forms), figsize=(5.2 * len(forms), 4.6), sharey=True, squeeze=False)
    highest = 1.25 * max(one.known for one in found)
    for axis, form in zip(axes[0], forms, strict=True):
        mine = [one for one in found if one.form == form]
        levels = sorted({one.known for one in mine})
        axis.plot(levels, levels, "k--", linewidth=1, label="known")
        for bound in sorted({one.bound for one in mine}):
            each = [one for one in mine if one.bound == bound]
            x, y = [one.known for one in each], [one.information for one in each]
            (line,) = axis.plot(x, y, marker="o", markersize=3, label=bound)
            low, high = ([one.information + sign * one.deviation for one in each] for sign in (-1, 1))
            axis.fill_between(x, low, high, alpha=0.15, color=line.get_color())
        axis.set(title=form, xlabel="information, nats", ylim=(0, highest))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("found: mean over runs ± deviation of one batch, nats")
    axes[0][-1].legend(fontsize="small", loc="upper left")
    figure.tight_layout()
    figure.savefig(target, dpi=80)


def main(out: Path) -> None:
    """Print the table and draw the picture."""
    found = collected(out)
    lines = [HEADS, ("---",) * len(HEADS), *(one.cells() for one in found)]
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))
    draw(found, out / "bounds.png")


def _variance(found: dict[str, Any]) -> float:
    """Variance of the estimate of one batch, in nats², from the interval of the mean over an evaluation's batches."""
    batches = len(found["examples"]["information"])
    return float(found["information_95"] / quantile_95(batches)) ** 2 * batches


if __name__ == "__main__":
    main(Path(sys.argv[1]))
