"""Predictions of the moving dot: held-out sequences are shown in part, and the frames after are foretold.

``python -m egs.synthetic.svae.predict OUT SEEN EXPERIMENT ...``: a conjugate prior foretells by its own inference, in
which frames that were not seen have no evidence; of any other prior the codes are foretold by a linear map from one
frame to the next, which is fitted to those of the training sequences by least squares, and by the prior's mean. Printed
is a table of squared errors to the pixels without their noise, written are OUT.json and OUT.png.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.graphical.gaussian import GaussianFactor
from seqgen.metrics.interval import quantile_95
from seqgen.tasks.experiment import Experiment

Reals = npt.NDArray[np.float64]


def decoded(model: Any, codes: Tensor) -> Reals:
    """Mean pixels of codes ``[B, T, D]``, ``[B, T, pixels]``."""
    means = model.decoder.distributions(model.conditions(codes))[..., 0]
    return np.asarray(means.unflatten(1, (codes.shape[1], -1)), np.float64)


@torch.no_grad()
def inferred(model: Any, batch: Any, seen: int) -> dict[str, Reals]:
    """Frames as a conjugate prior infers them from the first so many."""
    params = model.head(model.encoder(batch.x, batch.lengths))
    inside = torch.ones(params.shape[:2], dtype=torch.bool)
    evidence = model.posterior.potentials(params, inside)
    shown = torch.arange(params.shape[1]) < seen
    known = GaussianFactor(*(one * shown.view(1, -1, *[1] * (one.dim() - 2)) for one in evidence.natural))
    return {"inference": decoded(model, model.prior.infer(known, inside).mean.to(params.dtype))}


@torch.no_grad()
def extrapolated(model: Any, batch: Any, seen: int, train: Any) -> dict[str, Reals]:
    """Frames by a map of codes that is fitted to the training sequences, and by the prior's mean."""
    codes = [model.posterior.code(*model.encoded(one)).double() for one in (train, batch)]
    before, after = (part.flatten(0, 1) for part in (codes[0][:, :-1], codes[0][:, 1:]))
    map_of_codes = torch.linalg.lstsq(before, after).solution  # [D, D]
    path, still = [codes[1][:, seen - 1]], torch.zeros_like(codes[1])
    for _ in range(codes[1].shape[1] - seen):
        path.append(path[-1] @ map_of_codes)
    made = torch.cat([codes[1][:, :seen], torch.stack(path[1:], dim=1)], dim=1)
    still[:, :seen] = codes[1][:, :seen]
    return {"map of codes": decoded(model, made.float()), "prior's mean": decoded(model, still.float())}


def foretold(place: Path, seen: int) -> tuple[dict[str, Reals], Reals, Reals]:
    """Frames that an experiment foretells in each way, those that were drawn, and those without their noise."""
    experiment = Experiment.open(place)
    task, system = experiment.task(), experiment.load()
    model = system.networks["model"].eval()
    sources = [task.source(split, system.networks) for split in ("train", "test")]
    train, test = (source.batch(np.arange(len(source.x))) for source in sources)
    made = inferred(model, test, seen) if model.prior.conjugate else extrapolated(model, test, seen, train)
    return made, sources[1].x, sources[1].quiet


def picture(found: dict[str, Reals], seen: int, place: Path) -> None:
    """The first sequence in each way, time to the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(found), 1, figsize=(6, 1.5 * len(found)), squeeze=False, layout="tight")
    for panel, (name, frames) in zip(panels[:, 0], found.items(), strict=True):
        panel.imshow(frames[0].T, aspect="auto", cmap="gray", vmin=0, vmax=1)
        panel.axvline(seen - 0.5, color="red", linewidth=1)
        panel.set_title(name, fontsize=8)
        panel.set_axis_off()
    figure.savefig(place, dpi=120)
    pyplot.close(figure)


def main(words: list[str]) -> None:
    """The table: a row for each experiment and way, columns for some of the frames foretold and for all."""
    out, seen = Path(words[0]), int(words[1])
    shown: dict[str, Reals] = {}
    figures: dict[str, dict[str, float]] = {}
    for place in map(Path, words[2:]):
        made, drawn, quiet = foretold(place, seen)
        if not 0 < seen < drawn.shape[1]:
            raise SeqgenError(f"{seen} of {drawn.shape[1]} frames are shown", remedy="show some, and leave some")
        shown.setdefault("drawn", drawn)
        made = {f"{place.parent.name}/{place.name}: {way}": one for way, one in made.items()}
        repeated = np.concatenate([drawn[:, :seen], np.repeat(drawn[:, seen - 1 : seen], drawn.shape[1] - seen, 1)], 1)
        for name, frames in (made | {"the last frame seen": repeated}).items():
            errors = ((frames - quiet)[:, seen:] ** 2).mean(axis=2)  # [N, frames foretold]
            each = errors.mean(axis=1)
            figures[name] = {
                "first": float(errors[:, 0].mean()),
                "tenth": float(errors[:, 9:10].mean()) if errors.shape[1] > 9 else float("nan"),
                "last": float(errors[:, -1].mean()),
                "all": float(each.mean()),
                "all_95": float(quantile_95(len(each)) * each.std(ddof=1) / np.sqrt(len(each))),
            }
        shown |= made
    out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    picture(shown, seen, out.with_suffix(".png"))
    lines = ["| squared error of a pixel, in thousandths | first | tenth | last | all |", "|---|---|---|---|---|"]
    for name, one in figures.items():
        values = [f"{1000 * one[part]:.2f}" for part in ("first", "tenth", "last", "all")]
        lines.append(f"| {name} | {' | '.join(values)} ± {1000 * one['all_95']:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
