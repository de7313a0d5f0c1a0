"""Table of the noise of estimated gradients at what models have learnt, by the parameters of their encoders.

``python -m egs.gradients EXPERIMENT ... --variant NAME=YAML ...``: a variant is a family of posteriors, ``posterior``,
and options of the objective, as in ``path={gradient: {name: sticking-the-landing}}``; what it leaves out is as it was
trained. All variants see the same rows of the training set and the same weights. An estimator that keeps something of
earlier batches, as a running baseline, has what it was trained with, where it was, and has then followed these rows at
these weights, so that no variant is measured as it begins. ``--picture FILE`` draws the variances against the updates
that the models were trained for. Of codes that are few enough the
gradient is known, by enumeration, and the bias of each variant is told: its square, beside that of the gradient, with
the mean's noise taken off.
"""

from __future__ import annotations

import argparse
import copy
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from seqgen import config as configs
from seqgen import registry
from seqgen.analysis.gradient_noise import every_code, expectation, gradient_noise
from seqgen.config import Component
from seqgen.latents.variable import LatentVariable
from seqgen.noise import Key
from seqgen.objectives.evidence import MaximumEvidence
from seqgen.tasks.experiment import Experiment
from seqgen.train.batch import mapped

PARTS = ("gradient", "bound", "rate")
_SETTLING = 1 << 32  # streams of these updates' numbers, apart from those of the draws
_SETTLED = 50  # updates after which a running baseline of the usual rate is that of what a run has learnt


def varied(objective: MaximumEvidence, options: dict[str, Any]) -> MaximumEvidence:
    """The objective with other options, over the same weights."""
    options = dict(options)
    model = copy.deepcopy(objective.model)
    told = options.pop("posterior", None)
    if told is not None:
        component = Component(told.pop("name"), told)
        model.posterior = configs.construct(component, registry.POSTERIORS, source="--variant")
    for part in PARTS:
        if part in options:
            one = dict(options[part])
            options[part] = Component(one.pop("name"), one)
    made = MaximumEvidence(replace(objective.config, **options), {"model": model}, objective.facts).eval()
    if made.config.rate == objective.config.rate:
        made.control.load_state_dict(objective.control.state_dict())  # a weight that has risen
    if all(getattr(made.config, name) == getattr(objective.config, name) for name in (*PARTS, "samples")):
        made.estimator.load_state_dict(objective.estimator.state_dict())  # a baseline that has run
    return made


def settle(objective: MaximumEvidence, batch: Any) -> None:
    """Let what an estimator keeps of earlier batches follow these rows, at weights that stand still."""
    for count in range(_SETTLED if next(objective.estimator.buffers(), None) is not None else 0):
        noted = objective.loss(batch, "model", Key(0, _SETTLING + count), None).aux
        assert noted is not None
        own = {name.removeprefix("estimator/"): value for name, value in noted.items()}
        objective.estimator.after_update(own)


def inference(model: LatentVariable) -> list[Tensor]:
    """Parameters that say what codes a row has."""
    return [one for part in (model.encoder, model.head, model.posterior) for one in part.parameters()]


def flat(value: Tensor, parameters: list[Tensor]) -> Tensor:
    """Gradient of a value by all parameters, one behind the other."""
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if one is None else one).flatten() for one, p in pairs])


def estimated(objective: MaximumEvidence, batch: Any, key: Key) -> Tensor:
    """One draw of the gradient."""
    return flat(objective.loss(batch, "model", key, None).total, inference(objective.model))


def enumerated(objective: MaximumEvidence, batch: Any) -> Tensor:
    """The gradient of the evidence lower bound under a weight of the rate, by all codes of one position."""
    model = objective.model
    params, setting = model.encoded(batch)
    z = every_code(model.posterior, params)[:, None, None].expand(-1, len(params), 1, -1)
    likelihood = model.log_likelihood(batch, z).sum(dim=-1)  # [S, B]
    rate = model.posterior.kl(params, setting)
    assert rate is not None, "families of symbols have a closed form of the rate"
    distortion = -expectation(model.posterior.log_prob(params, z).sum(dim=-1), likelihood)
    return flat((distortion + objective.control.weight() * rate.sum(dim=-1)).mean(), inference(model))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("experiments", nargs="+", type=Path, metavar="EXPERIMENT")
    parser.add_argument("--variant", action="append", required=True, metavar="NAME=YAML")
    parser.add_argument("--draws", type=int, default=50, metavar="N", help="of each gradient (50)")
    parser.add_argument("--rows", type=int, default=100, metavar="N", help="of the training set (100)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="variances against updates, a PNG")
    parser.add_argument("--exact", action="store_true", help="tell the bias, by enumeration")
    given = parser.parse_args()
    variants = {name: yaml.safe_load(text) for name, _, text in (one.partition("=") for one in given.variant)}
    heads = ["", "variant", "variance", *(["squared bias", "squared gradient"] if given.exact else [])]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    traces: dict[str, list[tuple[int, float]]] = {name: [] for name in variants}
    for place in given.experiments:
        found = Experiment.open(place)
        system = found.load()
        objective = system.objective
        assert isinstance(objective, MaximumEvidence), "a run whose objective is 'evidence'"
        batch = next(iter(found.task().source("train", dict(system.networks)).whole()))
        batch = mapped(batch, lambda field: field[: given.rows])
        exact = enumerated(objective, batch) if given.exact else None
        for name, options in variants.items():
            one = varied(objective, copy.deepcopy(options) or {})
            settle(one, batch)
            told = gradient_noise(partial(estimated, one, batch), given.draws, Key(0, 1))
            cells = [place.name, name, f"{told.variance:.3g}"]
            traces[name].append((found.run.train.steps, told.variance))
            if exact is not None:
                cells += [f"{told.squared_bias(exact.double()):.3g}", f"{float(exact.square().sum()):.3g}"]
            lines.append(f"| {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")
    if given.picture is not None:
        draw(traces, given.picture)


def draw(traces: dict[str, list[tuple[int, float]]], target: Path) -> None:
    """The picture: the variance of each variant against the updates of a training."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 4.2))
    for name, points in traces.items():
        axis.loglog(*zip(*sorted(points), strict=True), marker="o", markersize=3, label=name)
    axis.set(xlabel="updates", ylabel="variance of one draw of the gradient")
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(target, dpi=80)


if __name__ == "__main__":
    main()
