"""Principal components of inner states while a generator reads data, and while it goes on by itself, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from seqgen.analysis.sequence_probe import Sequences

_DOTS = 1500  # of each mode


class Cloud(NamedTuple):
    """Clouds of both modes in the plane of their first two principal components: ``first, second [M, 2]``, and the
    share of the variance that the plane holds."""

    first: Tensor
    second: Tensor
    share: float


def cloud(modes: Sequences) -> Cloud:
    """Projection of the states at all places of all rows, about the mean of both modes.

    Example:
        >>> line = torch.linspace(-1, 1, 8).view(2, 4, 1) * torch.tensor([3.0, 4.0])
        >>> round(cloud(Sequences(line, line, torch.tensor([4, 4]))).share, 6)
        1.0
    """
    real = torch.arange(modes.first.shape[1])[None] < modes.lengths[:, None]  # [N, T]
    points = [one[real].double() for one in (modes.first, modes.second)]
    mean = torch.cat(points).mean(dim=0)
    _, deviations, axes = torch.linalg.svd(torch.cat(points) - mean, full_matrices=False)
    share = float((deviations[:2] ** 2).sum() / (deviations**2).sum())
    first, second = ((one - mean) @ axes[:2].T for one in points)
    return Cloud(first, second, share)


def picture(clouds: Mapping[str, Cloud], path: Path) -> None:
    """A panel for each cloud, the modes in two colours."""
    figure, panels = plt.subplots(1, len(clouds), figsize=(4.2 * len(clouds), 4.2), squeeze=False, layout="tight")
    for panel, (title, one) in zip(panels[0], clouds.items(), strict=True):
        for name, points, colour in (
            ("teacher forced", one.first, "tab:blue"),
            ("free running", one.second, "tab:orange"),
        ):
            shown = points[torch.linspace(0, len(points) - 1, min(_DOTS, len(points))).long()]
            panel.scatter(shown[:, 0], shown[:, 1], s=4, alpha=0.4, linewidths=0, color=colour, label=name)
        panel.set(title=title, xlabel=f"first two components: {100 * one.share:.0f} % of the variance")
    panels[0][0].legend(markerscale=3)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
