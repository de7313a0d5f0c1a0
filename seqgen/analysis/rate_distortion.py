"""The rate-distortion plane of latent-variable models: points, the frontier, and the lines that theory draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_WIDTH = 0.04  # of what is shown beyond the points
_LABELLED = 12  # points with their names; of more only those on the frontier


class Point(NamedTuple):
    """A model in the plane: its name, rate and distortion in nats an example, and halves of their 95 % intervals."""

    name: str
    rate: float
    distortion: float
    rate_95: float = math.nan
    distortion_95: float = math.nan

    @property
    def total(self) -> float:
        """Rate plus distortion, the negative evidence lower bound: at least the entropy of the data."""
        return self.rate + self.distortion


def frontier(points: Sequence[Point]) -> list[Point]:
    """Points that no other one beats in both rate and distortion, by ascending rate.

    Example:
        >>> [one.name for one in frontier([Point("a", 1, 5), Point("b", 2, 6), Point("c", 3, 1)])]
        ['a', 'c']
    """
    best: list[Point] = []
    for one in sorted(points, key=lambda one: (one.rate, one.distortion)):
        if not best or one.distortion < best[-1].distortion:
            best.append(one)
    return best


def draw(points: Sequence[Point], place: Path, *, entropy: float | None = None) -> None:
    """Draw the plane: the points, their frontier, the line of the best total, and that of a known entropy.

    ``D + R = H`` is what no model passes; where H is not known the best total stands for it, as an upper bound of H.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from seqgen.files.outputs import replacing

    best = min(points, key=lambda one: one.total)
    figure, axes = plt.subplots(figsize=(6.4, 5.2), layout="tight")
    lines = [(best.total, f"D + R = {best.total:.2f}, the best of these", "--")]
    lines += [] if entropy is None else [(entropy, f"D + R = H = {entropy:.2f}", "-")]
    for total, label, style in lines:
        axes.plot([0, total], [total, 0], style, color="grey", linewidth=1, label=label)
    along = frontier(points)
    axes.step([one.rate for one in along], [one.distortion for one in along], where="post", color="tab:blue", alpha=0.4)
    for one in points:
        axes.errorbar(one.rate, one.distortion, xerr=_shown(one.rate_95), yerr=_shown(one.distortion_95), fmt="o")
    of_one_folder = len({Path(one.name).parent for one in points}) == 1
    for one in points if len(points) <= _LABELLED else along:
        name = Path(one.name).name if of_one_folder else one.name
        axes.annotate(name, (one.rate, one.distortion), xytext=(4, 4), textcoords="offset points", fontsize=8)
    high = max(one.rate for one in points)
    low, top = min(one.distortion for one in points), max(one.distortion for one in points)
    axes.set_xlim(-_WIDTH * max(high, 1), high * (1 + 3 * _WIDTH) + 1e-6)
    axes.set_ylim(max(0, low - _WIDTH * top), top * (1 + 2 * _WIDTH))
    axes.set(xlabel="rate R, nats", ylabel="distortion D, nats")
    axes.legend(fontsize=8)
    with replacing(place) as partial:
        figure.savefig(partial, dpi=110, format="png")
    plt.close(figure)


def _shown(half_width: float) -> float | None:
    return half_width if math.isfinite(half_width) else None
