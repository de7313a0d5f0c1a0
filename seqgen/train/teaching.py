"""What a distilled student is worth on held-out recordings: its divergence from the teacher, and how loud it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqgen import noise
from seqgen.data.batches import Batch, UtteranceBatches
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.objectives.distillation import Distillation, middle
from seqgen.objectives.power import spectrum
from seqgen.sample import draw
from seqgen.train.run import RunConfig, System

_BANDS, _WINDOW = 8, 256
_OWN = 16  # recordings for which the teacher, sample by sample, draws too
UNITS = {
    "kl": "nats/sample",
    "cross_entropy": "nats/sample",
    "entropy": "nats/sample",
    "power": "relative",
    "style": "relative",
    "teacher_nll": "nats/sample",
    "teacher_nll_recordings": "nats/sample",
    "teacher_nll_own": "nats/sample",
    "level": "dB",
    "level_own": "dB",
    "bands": "dB",
    "bands_own": "dB",
    **{f"band_{band}": "dB" for band in range(1, _BANDS + 1)},
}
"""What :func:`judged` gives: the objective's own terms; the teacher's negative log-density of the student's samples, of
the recordings, and of samples of its own for the features of the first 16 of them; the power of the student's and of
the teacher's samples over that of the recordings: in all, as the mean distance in eight equal bands, and in each."""


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
    weights: list[float] = []
    for index in range(len(batches)):
        key = Key(run.train.seed, (1 << 62) + index)
        loss = objective(batches[index], "student", key)
        weights.append(float(loss.weight))
        terms = {name: float(value) for name, value in loss.terms.items()} | heard(objective, batches[index], key)
        if index < _OWN:
            terms |= own(objective, batches[index], key)
        for name, value in terms.items():
            found.setdefault(name, []).append(value)
    return {
        name: _mean(np.asarray(found[name]), np.asarray(weights[: len(found[name])])) for name in UNITS if name in found
    }


def heard(objective: Distillation, batch: Batch, key: Key) -> dict[str, float]:
    """What the teacher makes of the student's very samples and of the recording, and how loud the one is."""
    batch = middle(batch, objective.config.longest, hop=objective.hop, left=objective.left)
    drawn, _ = objective.draw(batch, key)
    length = int(batch.lengths[0])
    x, y = drawn.x[:, :length], batch.x[:, :length]
    bands = _decibels(x) - _decibels(y)
    return {
        "teacher_nll": _surprise(objective, x, batch),
        "teacher_nll_recordings": _surprise(objective, y, batch),
        "level": _level(x, y),
        "bands": float(bands.abs().mean()),
        **{f"band_{number}": float(band) for number, band in enumerate(bands, 1)},
    }


def own(objective: Distillation, batch: Batch, key: Key) -> dict[str, float]:
    """The same of what the teacher itself draws for these features."""
    batch = middle(batch, objective.config.longest, hop=objective.hop, left=objective.left)
    teacher, length = objective.teacher, int(batch.lengths[0])
    cond = teacher.condition(batch.cond, batch.speaker, left=objective.left, vectors=length)
    u = torch.from_numpy(noise.block(key.seed, ~key.stream, 0, length * teacher.draws)).to(batch.x)
    start = teacher.init_state(1)
    x, params, _ = draw(
        teacher.body, teacher.emission, u.view(1, length, -1), start.previous, start.body, cond, temperature=1.0
    )
    y = batch.x[:, :length]
    return {
        "teacher_nll_own": -float(teacher.emission.log_density(params, x).mean()),
        "level_own": _level(x[..., None], y),
        "bands_own": float((_decibels(x[..., None]) - _decibels(y)).abs().mean()),
    }


def _level(x: Tensor, y: Tensor) -> float:
    return float(10 * torch.log10((x.square().mean() + 1e-12) / (y.square().mean() + 1e-12)))


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
