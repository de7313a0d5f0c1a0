"""What a distilled student is worth on held-out recordings: its divergence from the teacher, and how loud it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqgen.data.batches import Batch, UtteranceBatches
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.objectives.distillation import Distillation, middle
from seqgen.objectives.power import spectrum
from seqgen.train.run import RunConfig, System

UNITS = {
    "kl": "nats/sample",
    "cross_entropy": "nats/sample",
    "entropy": "nats/sample",
    "power": "relative",
    "style": "relative",
    "teacher_nll": "nats/sample",
    "teacher_nll_recordings": "nats/sample",
    "level": "dB",
    "bands": "dB",
}
"""What :func:`judged` gives: the objective's own terms; the teacher's negative log-density of the student's samples and
of the recordings; the student's power over the recordings', in all and as the mean distance in eight bands."""
_BANDS, _WINDOW = 8, 256


@dataclass(frozen=True)
class Mean:
    """Mean over samples, and its 95 % interval over utterances."""

    value: float
    half_width: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.half_width:.3f}"


@torch.no_grad()
def judged(system: System, run: RunConfig, data: DataDir, speakers: Sequence[str]) -> dict[str, Mean]:
    """The measures of ``UNITS`` over utterances, each of which is heard by itself (of long ones the middle).

    Raises:
        SeqgenError: where the run has no teacher.
    """
    objective = system.objective
    if not isinstance(objective, Distillation):
        raise SeqgenError("this run has no teacher to judge it", remedy="evaluate a run of objective distillation")
    batches = UtteranceBatches(
        data,
        features=run.features,
        codec=system.codec,
        batch_size=1,
        left=system.left,
        right=system.right,
        speakers=speakers,
    )
    found: dict[str, list[float]] = {}
    weights = []
    for index in range(len(batches)):
        key = Key(run.train.seed, (1 << 62) + index)
        loss = objective(batches[index], "student", key)
        weights.append(float(loss.weight))
        terms = {name: float(value) for name, value in loss.terms.items()} | _heard(objective, batches[index], key)
        for name, value in terms.items():
            found.setdefault(name, []).append(value)
    return {name: _mean(np.asarray(found[name]), np.asarray(weights)) for name in UNITS if name in found}


def _heard(objective: Distillation, batch: Batch, key: Key) -> dict[str, float]:
    """What the teacher makes of the student's very samples and of the recording, and how loud the one is."""
    batch = middle(batch, objective.config.longest, hop=objective.hop, left=objective.left)
    drawn, _ = objective.draw(batch, key)
    length = int(batch.lengths[0])
    x, y = drawn.x[:, :length], batch.x[:, :length]
    distances = _decibels(x) - _decibels(y)
    return {
        "teacher_nll": _surprise(objective, x, batch),
        "teacher_nll_recordings": _surprise(objective, y, batch),
        "level": float(10 * torch.log10((x.square().mean() + 1e-12) / (y.square().mean() + 1e-12))),
        "bands": float(distances.abs().mean()),
    }


def _surprise(objective: Distillation, x: Tensor, batch: Batch) -> float:
    params = objective.teacher.distributions(x, batch.cond, batch.speaker, left=objective.left)
    return -float(objective.teacher.emission.log_density(params, x[..., 0]).mean())


def _decibels(x: Tensor) -> Tensor:
    power = spectrum(x[..., 0], _WINDOW, "power").mean(dim=(0, 2))[1:].view(_BANDS, -1).mean(dim=1)
    return 10 * torch.log10(power + 1e-12)


def _mean(values: np.ndarray, weights: np.ndarray) -> Mean:
    """``Σ w v / Σ w``; the interval is that of a ratio."""
    mean = float((values * weights).sum() / weights.sum())
    spread = float(np.std((values - mean) * weights, ddof=1)) if len(values) > 1 else math.nan
    return Mean(mean, 1.96 * spread / (math.sqrt(len(values)) * float(weights.mean())))
