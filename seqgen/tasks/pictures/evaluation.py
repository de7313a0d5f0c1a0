"""Evaluation of pictures: bits of a pixel, nats of a picture, and what else a method measures, over pictures."""

from __future__ import annotations

import math

import torch

from seqgen import config as configs
from seqgen.generation.contract import Density
from seqgen.noise import Key
from seqgen.objectives.contract import Measure
from seqgen.tasks.contract import System
from seqgen.tasks.pictures.batches import Batch, StoredPictures
from seqgen.tasks.run import RunConfig
from seqgen.tasks.table import Gathered, Table

_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step


@torch.no_grad()
def evaluate(run: RunConfig, system: System, source: StoredPictures, *, data: str, limit: int) -> Table:
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
        figures=found.figures,
        record={
            "config_digest": configs.digest(run),
            "checkpoint": system.label,
            "data": data,
            "pictures": count,
        },
        examples=found.examples,
    )


def likelihood(density: Density, batch: Batch) -> dict[str, Measure]:
    """The exact likelihood of pictures: bits of a pixel (of real numbers, of its density) and nats of a picture."""
    nats = -density.log_prob(batch.x, batch.cond).double().sum(dim=1)  # [B]
    ones = torch.ones_like(nats)
    return {
        "bits_per_pixel": Measure(nats / math.log(2), ones * batch.x.shape[1]),
        "nats_per_picture": Measure(nats, ones),
    }
