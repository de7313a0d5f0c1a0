"""Distillation from a teacher of known density: what students of several kinds reach, against what can be reached.

  python -m egs.synthetic.parallel_wavenet.experiment egs/synthetic/parallel_wavenet/full.yaml --out exp/synthetic-pwn

Students: the full one; the same judged by one draw a sample; one that sees no noise before its own sample (independent
given the features); and a short-sighted one, without and with the power loss. Prints and writes ``results.json``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from seqgen.tasks.vocoder.batches import Batch
from torch import Tensor

from egs.synthetic.parallel_wavenet import known
from egs.synthetic.parallel_wavenet.known import Teacher
from egs.synthetic.runs import command, fit
from seqgen import config, noise
from seqgen.flows.affine import AffineAutoregressive
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.parallel import Parallel
from seqgen.models.parallel_wavenet import ParallelWaveNet
from seqgen.models.wavenet import WaveNet
from seqgen.nets.layers import Activation, Dense
from seqgen.noise import Key
from seqgen.objectives.distillation import Distillation
from seqgen.objectives.power import PowerConfig, spectrum
from seqgen.spec import StreamSpec
from seqgen.stream.combinators import Repeat, Serial
from seqgen.stream.contract import Streamable
from seqgen.train.settings import TrainConfig

BANDS = 8


@dataclass(frozen=True)
class Settings:
    """One run of the experiment.

    Attributes:
        teacher: see its own options. layers, channels: of the student's WaveNets; short: layers of the short-sighted.
        frames: of a row. pool: rows of recordings to learn from. held_out: rows to be judged by.
        samples: draws that the teacher judges. power: weight of that loss, where there is one.
        generated: samples that the speed is measured over. train: see the training loop.
    """

    train: TrainConfig
    teacher: Teacher = field(default_factory=Teacher)
    layers: tuple[int, ...] = (6, 6)
    short: tuple[int, ...] = (2,)
    channels: int = 24
    frames: int = 16
    pool: int = 256
    held_out: int = 128
    samples: int = 16
    power: float = 1.0
    generated: int = 4096


class Unaware(Streamable[tuple[()]]):
    """A network for a flow that sees no noise: what the features say, and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=1, out_dim=2, cond_dim=2)

    def init_state(self, batch: int) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()], cond: Tensor | None = None) -> tuple[Tensor, tuple[()]]:
        assert cond is not None
        return cond, ()


def student(settings: Settings, kind: str) -> Parallel:
    """``full``, ``short`` or ``independent``."""
    width = settings.channels
    layers = settings.short if kind == "short" else settings.layers
    sizes = ParallelWaveNet.Config(
        layers=layers, dilation_cycle=max(layers), residual_channels=width, gate_channels=width, head_channels=width, scale=0.5 ** (2 / len(layers))
    )
    body = AffineAutoregressive(Unaware(), scale=0.25) if kind == "independent" else ParallelWaveNet(sizes)
    conditioner = Serial(
        Dense(1, width),
        Activation("tanh", dim=width),
        Dense(width, body.spec.cond_dim),
        Repeat(settings.teacher.hop, dim=body.spec.cond_dim),
    )
    return Parallel(body, conditioner)


def batch(tuned: Tensor, x: Tensor) -> Batch:
    rows = len(x)
    return Batch(x, torch.full((rows,), x.shape[1]), tuned, x, torch.zeros(rows, dtype=torch.int64), ("",) * rows)


def distilled(settings: Settings, kind: str, out: Path, *, samples: int, power: float) -> Distillation:
    """Train one student from scratch."""
    torch.manual_seed(settings.train.seed)
    teacher = known.generator(settings.teacher)
    options = Distillation.Config(
        samples=samples, power=PowerConfig(weight=power, windows=(64,), pooled=True, floor=0.0033)
    )
    objective = Distillation(options, student(settings, kind), left=0, teacher=teacher)
    tuned = known.features(settings.teacher, settings.pool, settings.frames, stream=0)
    x = known.recordings(teacher, tuned, stream=0)

    def batches(start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        for step in range(start, stop):
            u = noise.block(settings.train.seed, noise.name_to_stream("rows"), step * 64, settings.train.batch_size)
            rows = torch.from_numpy((u * settings.pool).astype("int64"))
            yield batch(tuned[rows], x[rows])

    fit(settings, objective, batches, out)
    return objective.eval()


@torch.no_grad()
def judged(settings: Settings, objective: Distillation) -> dict[str, Any]:
    """What a student is worth on rows that it has not seen, by many draws."""
    tuned = known.features(settings.teacher, settings.held_out, settings.frames, stream=1)
    truth = known.recordings(objective.teacher, tuned, stream=1)
    careful = Distillation(
        replace(objective.config, samples=64), objective.generator, left=0, teacher=objective.teacher
    )
    given = batch(tuned, truth)
    drawn, epsilon = careful.draw(given, Key(settings.train.seed, 1))
    kl = careful.divergence(drawn, epsilon, given)[0].mean(dim=1)
    params = objective.teacher.distributions(drawn.x, tuned, given.speaker)
    surprise = -objective.teacher.distribution.log_density(params, drawn.x[..., 0])
    levels = decibels(drawn.x) - decibels(truth)
    innovation = drawn.x[..., 0] - params[..., 2:4].mean(dim=2)
    return {
        "kl": float(kl.mean()),
        "kl_95": 1.96 * float(kl.std()) / math.sqrt(len(kl)),
        "teacher_nll": float(surprise.mean()),
        "level_db": float(10 * torch.log10(drawn.x.square().mean() / truth.square().mean())),
        "bands_db": [float(value) for value in levels],
        "innovation": float(innovation.std()),
    }


def decibels(x: Tensor) -> Tensor:
    """Mean power in equal bands, ``[B, T, 1] → [BANDS]``."""
    power = spectrum(x[..., 0].double(), 64, "power").mean(dim=(0, 2))[1:]  # 32 bins without the constant
    return 10 * torch.log10(power.view(BANDS, -1).mean(dim=1))


@torch.no_grad()
def seconds(made: Parallel | AutoRegressive, samples: int, hop: int) -> float:
    """To generate one stream of so many samples, after a warm-up."""
    tuned, taken = torch.full((1, samples // hop, 1), 0.2), []
    u = torch.from_numpy(noise.block(3, 0, 0, samples * made.num_uniforms)).view(1, samples, made.num_uniforms)
    state = made.init_state(1)
    made.sample(u[:, : 4 * hop], state, tuned[:, :4])
    for _ in range(3):
        began = time.perf_counter()
        made.sample(u, state, tuned)
        taken.append(time.perf_counter() - began)
    return min(taken)


def speeds(settings: Settings, made: Parallel) -> dict[str, float]:
    """Samples a second of the student, of the teacher, and of a WaveNet as deep as the student stepped one by one."""
    count, hop, width = settings.generated, settings.teacher.hop, settings.channels
    depth = WaveNet.Config(
        layers=sum(settings.layers), dilation_cycle=max(settings.layers), residual_channels=width, gate_channels=width, skip_channels=width, head_channels=width,
        vocab_size=0, outputs=6,
    )  # fmt: skip
    teacher = known.generator(settings.teacher)
    body = WaveNet(depth)
    conditioner = Serial(Dense(1, body.spec.cond_dim), Repeat(hop, dim=body.spec.cond_dim))
    stepped = AutoRegressive(body, teacher.distribution, conditioner, start=0.0, symbols_per_sample=1)
    return {
        "student": count / seconds(made, count, hop),
        "teacher": count / seconds(teacher, count, hop),
        "wavenet of the student's depth, stepped": count / seconds(stepped, count, hop),
    }


VARIANTS: dict[str, tuple[str, bool, bool]] = {  # kind of student, one draw alone, power loss
    "full": ("full", False, False),
    "full, one draw": ("full", True, False),
    "independent": ("independent", False, False),
    "short": ("short", False, False),
    "short + power": ("short", False, True),
}


def run(settings: Settings, out: Path) -> dict[str, Any]:
    """Every student; the record also holds what is known beforehand."""
    began, students = time.perf_counter(), {}
    for name, (kind, single, power) in VARIANTS.items():
        samples, weight = 1 if single else settings.samples, settings.power if power else 0.0
        objective = distilled(settings, kind, out / name.replace(" ", "-"), samples=samples, power=weight)
        students[name] = judged(settings, objective)
        if name == "full":
            fast = speeds(settings, objective.generator)
    fresh = Distillation(Distillation.Config(), student(settings, "full"), left=0, teacher=objective.teacher)
    return {
        "digest": config.digest(settings),
        "known": {
            "least_kl": known.least_divergence(settings.teacher),
            "teacher_entropy": known.entropy_rate(settings.teacher),
        },
        "students": {"untrained": judged(settings, fresh), **students},
        "samples_per_second": {name: round(value) for name, value in fast.items()},
        "seconds": round(time.perf_counter() - began, 1),
    }


def table(results: dict[str, Any]) -> str:
    """The record as text."""
    least, entropy = (results["known"][name] for name in ("least_kl", "teacher_entropy"))
    lines = [f"least KL of a logistic: {least:.4f} nats/sample; the teacher's own samples cost it {entropy:.4f}"]
    lines.append(f"{'student':<16}{'KL':>18}{'teacher NLL':>13}{'level dB':>10}   bands dB")
    for name, one in results["students"].items():
        bands = " ".join(f"{value:+.1f}" for value in one["bands_db"])
        kl = f"{one['kl']:.4f} ± {one['kl_95']:.4f}"
        lines.append(f"{name:<16}{kl:>18}{one['teacher_nll']:>13.4f}{one['level_db']:>+10.2f}   {bands}")
    lines += [f"{name}: {value:,} samples/s" for name, value in results["samples_per_second"].items()]
    return "\n".join([*lines, f"digest {results['digest']}, {results['seconds']} s"]) + "\n"


if __name__ == "__main__":
    command(__doc__, Settings, run, table)
