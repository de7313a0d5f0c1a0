"""Evaluation of pictures: bits of a pixel, nats of a picture, and what else a method measures, over pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from seqgen import config as configs
from seqgen.analysis.information_gap import information_gap
from seqgen.generation.contract import Density
from seqgen.latents.contract import GaussianMarginals
from seqgen.latents.variable import LatentVariable
from seqgen.noise import Key
from seqgen.objectives.contract import Measure
from seqgen.tasks.contract import System
from seqgen.tasks.pictures.batches import Batch, StoredPictures
from seqgen.tasks.run import RunConfig
from seqgen.tasks.table import Figure, Gathered, Table

_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step


@torch.no_grad()
def evaluate(
    run: RunConfig, system: System, source: StoredPictures, factors: Sequence[str], *, data: str, limit: int
) -> Table:
    """Table of a run over the first ``limit`` pictures of a source, over all where that is 0."""
    assert system.objective is not None
    density = system.networks.get("generator")
    found, further, count = Gathered(), True, 0
    for index, batch in enumerate(source.whole(limit or None)):
        known = likelihood(density, batch) if isinstance(density, Density) else {}
        found.add(known, batch.ids)
        count += len(batch.ids)
        if further:
            measured = system.objective.measure(batch, Key(run.train.seed, _EVALUATION + index), index)
            more = {name: one for name, one in measured.items() if name not in known}
            further = bool(more) or not measured
            found.add(more, batch.ids)
    return Table(
        title=f"{count:,} pictures, checkpoint {system.label}",
        figures=found.figures | factors_told(system, source, factors, limit),
        record={
            "config_digest": configs.digest(run),
            "checkpoint": system.label,
            "data": data,
            "pictures": count,
        },
        examples=found.examples,
    )


@torch.no_grad()
def factors_told(system: System, source: StoredPictures, names: Sequence[str], limit: int) -> dict[str, Figure]:
    """The mutual information gap of codes, where pictures have known factors and a model gives each of them normal
    distributions of some numbers; and of each factor the most that one of these tells of it."""
    model = next((one for one in system.networks.values() if isinstance(one, LatentVariable)), None)
    known, means, scales = [], [], []
    for batch in source.whole(limit or None) if model is not None else ():
        params, _ = model.encoded(batch)
        marginals = model.posterior.marginals(params)
        if batch.factors is None or not isinstance(marginals, GaussianMarginals) or marginals.mean[0].numel() < 2:
            return {}
        known.append(batch.factors)
        means.append(marginals.mean.flatten(1))
        scales.append(marginals.scale.flatten(1))
    if not known:
        return {}
    found = information_gap(torch.cat(means), torch.cat(scales), torch.cat(known))
    figures = {"mutual_information_gap": Figure(found.gap)}
    for name, told, most in zip(names, found.information.amax(dim=0), found.entropies, strict=True):
        figures[f"information_of_{name}"] = Figure(float(told), unit="nats", cap=float(most), cap_formula="its entropy")
    return figures


def likelihood(density: Density, batch: Batch) -> dict[str, Measure]:
    """The exact likelihood of pictures: bits of a pixel (of real numbers, of its density), nats of a picture, and the
    logarithm itself, beside which bounds of latent-variable models can be put."""
    nats = -density.log_prob(batch.x, batch.cond).double().sum(dim=1)  # [B]
    ones = torch.ones_like(nats)
    return {
        "bits_per_pixel": Measure(nats / math.log(2), ones * batch.x.shape[1]),
        "nats_per_picture": Measure(nats, ones),
        "evidence": Measure(-nats, ones, "nats, exact"),
    }
