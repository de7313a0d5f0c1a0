"""WaveNet on a seasonal process of known entropy: dilated layers find what lies a season back, plain ones cannot.

  python -m egs.synthetic.wavenet.experiment egs/synthetic/wavenet/full.yaml --out exp/synthetic-wavenet

Also times generation: queues, whose cost grows with the layers, against a pass over the receptive field for every
element, whose cost doubles with each layer. Prints and writes ``results.json``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from seqgen.tasks.vocoder.batches import Batch
from torch import Tensor

from egs.synthetic.runs import command, fit
from egs.synthetic.wavenet.seasonal import Seasonal
from seqgen import config, noise
from seqgen.distributions.categorical import Categorical
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.contract import GeneratorState
from seqgen.models.wavenet import WaveNet
from seqgen.objectives.likelihood import Likelihood
from seqgen.train.settings import TrainConfig

CYCLES = {"dilated": None, "plain": 1}  # plain: every layer has dilation 1


@dataclass(frozen=True)
class Settings:
    """One run of the experiment.

    Attributes:
        process: what is to be learnt. layers, residual, skip: of both WaveNets (gates are as wide as the residual).
        length: of a row, in elements. held_out: rows to be judged by.
        depths: numbers of layers at which generation is timed. generated: elements for which it is.
        train: see the training loop.
    """

    train: TrainConfig
    process: Seasonal = field(default_factory=Seasonal)
    layers: int = 7
    residual: int = 32
    skip: int = 64
    length: int = 512
    held_out: int = 64
    depths: tuple[int, ...] = (6, 7, 8, 9, 10, 11, 12)
    generated: int = 200


def network(settings: Settings, layers: int, cycle: int) -> AutoRegressive:
    """An unconditioned WaveNet over the process's levels."""
    levels, residual, skip = settings.process.levels, settings.residual, settings.skip
    sizes = WaveNet.Config(
        layers=layers, dilation_cycle=cycle, residual_channels=residual, gate_channels=residual, skip_channels=skip, head_channels=skip, conditioned=False,
        vocab_size=levels, outputs=levels, input_kernel=1,
    )  # fmt: skip
    distribution = Categorical(Categorical.Config(classes=levels))
    return AutoRegressive(WaveNet(sizes), distribution, None, start=levels // 2, symbols_per_sample=1)


def trained(settings: Settings, cycle: int, out: Path) -> AutoRegressive:
    """A WaveNet fitted by likelihood to rows of the process, every row new."""
    torch.manual_seed(settings.train.seed)
    made = network(settings, settings.layers, cycle)
    objective = Likelihood(Likelihood.Config(), made, left=0)
    rows, length = settings.train.batch_size, settings.length

    def batches(start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        for step in range(start, stop):
            x = settings.process.draw(rows, length, noise.name_to_stream("train"), step)
            nothing = torch.zeros(rows, 0, 0)
            yield Batch(x, torch.full((rows,), length), nothing, x, torch.zeros(rows, dtype=torch.int64), ("",) * rows)

    fit(settings, objective, batches, out)
    return made.eval()


@torch.no_grad()
def judged(settings: Settings, made: AutoRegressive) -> dict[str, Any]:
    """Bits per element of rows not seen, where two seasons lie before the element; with a 95 % interval over rows."""
    past, rows = 2 * settings.process.season, settings.held_out
    x = settings.process.draw(rows, past + settings.length, noise.name_to_stream("held out"), 0)
    log_prob = made.log_prob(x, torch.zeros(rows, 0, 0), torch.zeros(rows, dtype=torch.int64))
    bits = -log_prob[:, past:].double().mean(dim=1) / math.log(2)
    return {
        "reaches": made.body.spec.context,
        "weights": sum(weight.numel() for weight in made.parameters()),
        "bits": float(bits.mean()),
        "bits_95": 1.96 * float(bits.std()) / math.sqrt(rows),
    }


@torch.no_grad()
def generation(settings: Settings, layers: int) -> dict[str, float]:
    """Milliseconds an element with queues and without, for one cycle of so many layers."""
    made, count = network(settings, layers, layers).eval(), settings.generated
    reach = made.body.spec.context
    u = torch.from_numpy(noise.block(3, 0, 0, count)).view(1, count, 1)
    x: Tensor = torch.full((1, reach), settings.process.levels // 2)
    _, before = made.body.step(x[:, :-1], made.body.init_state(1))
    # Both draw the same elements: a pass over all that an element depends on says what a step says.
    began = time.perf_counter()
    quick, _ = made.sample(u, GeneratorState((), x[:, -1], before), None)
    queued = time.perf_counter() - began
    slow = []
    began = time.perf_counter()
    for t in range(count):
        params, _ = made.body.step(x, made.body.init_state(1))
        slow.append(made.distribution.sample(params[:, -1], u[:, t]))
        x = torch.cat([x[:, 1:], slow[-1][:, None]], dim=1)
    naive = time.perf_counter() - began
    return {"layers": layers, "queues_ms": 1e3 * queued / count, "naive_ms": 1e3 * naive / count,
            "same": int((torch.stack(slow, dim=1) == quick).sum())}  # fmt: skip


def run(settings: Settings, out: Path) -> dict[str, Any]:
    """Both networks, and the speeds."""
    began = time.perf_counter()
    networks = {
        name: judged(settings, trained(settings, cycle or settings.layers, out / name))
        for name, cycle in CYCLES.items()
    }
    return {
        "digest": config.digest(settings),
        "known": {"marginal": settings.process.marginal_bits, "given the season before": settings.process.rate_bits},
        "networks": networks,
        "generation": [generation(settings, layers) for layers in settings.depths],
        "seconds": round(time.perf_counter() - began, 1),
    }


def table(results: dict[str, Any]) -> str:
    """The record as text."""
    lines = [f"{name}: {bits:.4f} bits" for name, bits in results["known"].items()]
    for name, one in results["networks"].items():
        bits = f"{one['bits']:.4f} ± {one['bits_95']:.4f} bits"
        lines.append(f"{name}: {bits}, reaches {one['reaches']} elements, {one['weights']:,} weights")
    for one in results["generation"]:
        ratio = one["naive_ms"] / one["queues_ms"]
        times = f"{one['queues_ms']:.3f} ms with queues, {one['naive_ms']:.3f} ms without"
        lines.append(f"{one['layers']} layers: {times}: {ratio:.1f}×")
    return "\n".join([*lines, f"digest {results['digest']}, {results['seconds']} s"]) + "\n"


if __name__ == "__main__":
    command(__doc__, Settings, run, table)
