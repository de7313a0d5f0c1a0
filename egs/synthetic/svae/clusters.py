"""Clusters that models of the pinwheel find in held-out points, against the arms that the points are from.

``python -m egs.synthetic.svae.clusters OUT EXPERIMENT ...``: of a conjugate mixture, the components that are probable;
of any other prior, those of a mixture that is fitted to the codes of the training points afterwards. Printed is a
table, written are OUT.json and OUT.png: codes above, points below, by component.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.graphical.gaussian import GaussianFactor
from seqgen.latents.conjugate_mixture import ConjugateMixture
from seqgen.latents.contract import Setting
from seqgen.latents.potentials import RecognitionPotentials
from seqgen.metrics.clustering import adjusted_rand_index
from seqgen.tasks.experiment import Experiment

_RESTARTS, _ITERATIONS = 10, 100
_GAIN = 1e-2  # of the bound by one more step, in nats, below which a fit has ended
_SHARP = 1e4  # precision of a code that is taken as known
_USED = 0.02  # weight of a component that counts


class Points(NamedTuple):
    """Points of a split ``[N, 2]`` with codes ``[N, 2]``, arms ``[N]``, and components ``[N]`` if the prior has any."""

    x: npt.NDArray[np.float32]
    codes: Tensor
    arms: npt.NDArray[np.int64]
    components: npt.NDArray[np.int64] | None


@torch.no_grad()
def encoded(model: Any, batches: Iterable[Any]) -> Points:
    """Points with what the model makes of them."""
    found: list[tuple[Any, ...]] = []
    for batch in batches:
        params, setting = model.encoded(batch)
        component = setting.inferred.responsibilities.argmax(dim=-1)[:, 0] if setting.inferred is not None else None
        found.append((batch.x.flatten(1), model.posterior.code(params, setting)[:, 0], batch.label, component))
    x, codes, arms, components = zip(*found, strict=True)
    chosen = None if components[0] is None else torch.cat(components).numpy()
    return Points(torch.cat(x).numpy(), torch.cat(codes), torch.cat(arms).numpy(), chosen)


@torch.no_grad()
def fitted(codes: Tensor) -> ConjugateMixture:
    """The mixture of the best bound among restarts, by whole natural steps over codes ``[N, 2]``, standardised."""
    best, highest = None, -np.inf
    posterior, params = RecognitionPotentials(RecognitionPotentials.Config()), codes[:, None]
    for seed in range(_RESTARTS):
        torch.manual_seed(seed)
        mixture = ConjugateMixture.build(ConjugateMixture.Config(spread=1.5), dim=2, examples=len(codes)).double()
        setting, bound = bound_of(mixture, codes)
        for _ in range(_ITERATIONS):
            for name, direction in mixture.directions(posterior, params, setting).items():
                mixture.get_parameter(name).sub_(direction)
            before, (setting, bound) = bound, bound_of(mixture, codes)
            if bound - before < _GAIN:
                break
        if bound > highest:
            best, highest = mixture, bound
    assert best is not None
    return best


def bound_of(mixture: ConjugateMixture, codes: Tensor) -> tuple[Setting, float]:
    """The local posteriors of codes, and the bound of their evidence in nats."""
    setting = placed(mixture, codes)
    inferred = setting.inferred
    local = potentials(codes).inner(inferred.moments).sum() - inferred.rates.sum()
    return setting, float(local - mixture.regulariser())


def potentials(codes: Tensor) -> GaussianFactor:
    """Evidence for codes that are known, ``[N, 2]`` → factors ``[N, 1]``."""
    sharp = torch.full_like(codes[:, None], _SHARP).double()
    return GaussianFactor.of_evidence(sharp, _SHARP * codes[:, None].double())


def placed(mixture: ConjugateMixture, codes: Tensor) -> Setting:
    inside = torch.ones(len(codes), 1, dtype=torch.bool)
    return Setting(mixture, None, inside, mixture.infer(potentials(codes), inside))


def judged(place: Path) -> tuple[dict[str, float], Points]:
    """Figures of one experiment, and its test points with their components."""
    experiment = Experiment.open(place)
    task, system = experiment.task(), experiment.load()
    model = system.networks["model"].eval()
    train, test = (encoded(model, task.source(split, system.networks).whole()) for split in ("train", "test"))
    mixture: Any = model.prior
    if test.components is None:
        mean, scale = train.codes.mean(dim=0), train.codes.std(dim=0)
        mixture = fitted((train.codes - mean) / scale)
        chosen = placed(mixture, (test.codes - mean) / scale).inferred.responsibilities[:, 0].argmax(dim=-1)
        test = test._replace(components=chosen.numpy())
    weights = mixture.beliefs["weights"].member().standard()
    used = int((weights / weights.sum() > _USED).sum())
    return {"adjusted_rand_index": adjusted_rand_index(test.components, test.arms), "components": used}, test


def picture(found: dict[str, Points], place: Path) -> None:
    """Codes of each experiment above its points, both in the colours of the components."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, len(found), figsize=(3.2 * len(found), 6), squeeze=False, layout="tight")
    for column, (name, one) in enumerate(found.items()):
        for row, (title, plane) in enumerate(((f"{name}: codes", one.codes.numpy()), ("points", one.x))):
            panels[row][column].scatter(*plane.T, c=one.components, cmap="tab20", s=5)
            panels[row][column].set_title(title, fontsize=8)
    figure.savefig(place, dpi=120)
    pyplot.close(figure)


def main(words: list[str]) -> None:
    """The table: a row for each experiment."""
    out, found = Path(words[0]), {}
    figures: dict[str, dict[str, float]] = {}
    for place in map(Path, words[1:]):
        name = f"{place.parent.name}/{place.name}"
        figures[name], found[name] = judged(place)
    out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    picture(found, out.with_suffix(".png"))
    lines = ["| run | adjusted Rand index | components |", "|---|---|---|"]
    lines += [f"| {name} | {one['adjusted_rand_index']:.3f} | {one['components']} |" for name, one in figures.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
