#!/usr/bin/env python3
"""Time how fast the densities of a run are drawn from in torch, one stream on one thread, with fresh weights.

Every density of the run is timed: generators, those that make a stretch at once and those that go element by element,
and those of blocks, one block after the other. With
``--windowed`` the latter are also run without a state, by a pass over the receptive field for every element; both must
draw the same. ``--vary KEY … --over VALUE …`` does it again for each value of these keys. Several runs are timed one
after the other.

Example:
    $ tools/generation_speed.py RUN.yaml --elements 4096
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.files.outputs import write_text
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.contract import Density, Generator, GeneratorState
from seqgen.spec import Facts
from seqgen.stream.conditioning import Frames
from seqgen.tasks import experiment, run

T = TypeVar("T")
_TIMES = 3  # the best of so many
_LEVEL = 0.2  # of every frame


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Result of some work, and the seconds that it takes."""
    began = time.perf_counter()
    made = work()
    return made, time.perf_counter() - began


def conditioning(generator: Generator, facts: Facts, samples: int) -> Frames | None:
    """Frames for so many samples, all alike."""
    frames = facts.frame_spec
    if generator.conditioner is None or frames is None:
        return None
    features = torch.full((1, -(-samples // frames.hop) + generator.right, frames.channels), _LEVEL)
    return Frames(features, torch.zeros(1, dtype=torch.int64))


def uniforms(generator: Generator, samples: int) -> Tensor:
    """Noise for one stream of so many samples: ``[1, elements, num_uniforms]``."""
    elements = (samples + generator.ahead) * generator.symbols_per_sample
    return torch.from_numpy(noise.block(3, 0, 0, elements * generator.num_uniforms)).view(1, elements, -1)


def streamed(generator: Generator, facts: Facts, samples: int) -> float:
    """Seconds of one stream, after a short one that warms up."""
    warm = min(samples, 4 * generator.hop)
    generator.sample(uniforms(generator, warm), conditioning(generator, facts, warm))
    u, cond = uniforms(generator, samples), conditioning(generator, facts, samples)
    return min(timed(lambda: generator.sample(u, cond))[1] for _ in range(_TIMES))


def in_blocks(density: Density, elements: int) -> float:
    """Seconds of so many elements of a density of blocks, drawn one block after the other."""
    u = torch.from_numpy(noise.block(3, 0, 0, density.length * density.num_uniforms)).view(1, density.length, -1)
    density.sample(u)
    return min(timed(lambda: density.sample(u))[1] for _ in range(_TIMES)) * elements / density.length


def windowed(generator: AutoRegressive, samples: int) -> dict[str, Any]:
    """Seconds of drawing elements with a state and without one, from a past that the receptive field is full of."""
    reach, body = generator.body.spec.context, generator.body
    if reach is None or generator.conditioner is not None:
        raise SeqgenError("this generator has no finite receptive field, or is conditioned", remedy="omit --windowed")
    u = uniforms(generator, samples)
    like = generator.init_state(1).previous[:, None].expand(1, reach)
    past = like if body.spec.vocab_size else like[..., None]
    before = body.advance(past[:, :-1], body.init_state(1))
    state = GeneratorState((), past[:, -1].reshape(1), before)
    (quick, _), queued = timed(lambda: generator.generate(u, state, None))

    def without_state() -> Tensor:
        window, drawn = past, []
        for t in range(u.shape[1]):
            params, _ = body.step(window, body.init_state(1))
            drawn.append(generator.distribution.sample(params[:, -1], u[:, t]))
            newest = drawn[-1][:, None] if body.spec.vocab_size else drawn[-1][:, None, None]
            window = torch.cat([window[:, 1:], newest], dim=1)
        return torch.stack(drawn, dim=1)

    slow, naive = timed(without_state)
    count = u.shape[1]
    return {"state_ms": 1e3 * queued / count, "windowed_ms": 1e3 * naive / count, "reach": reach,
            "same": int((slow == quick).sum()), "elements": count}  # fmt: skip


@torch.no_grad()
def measured(conf: Path, settings: list[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each density of a run that can be drawn from."""
    config = run.load(conf, settings)
    task = experiment.task_of(config, source=str(conf))
    rows: list[dict[str, Any]] = []
    for name, network in experiment.build(task, source=str(conf)).networks.items():
        whole = isinstance(network, Density) and network.length
        if isinstance(network, Generator) or whole:
            network.eval()
            seconds = in_blocks(network, options.elements) if whole else streamed(network, task.facts, options.elements)
            speed = options.elements / seconds
            row: dict[str, Any] = {"network": name, "samples_per_second": speed}
            if options.windowed and isinstance(network, AutoRegressive):
                row |= windowed(network, options.elements)
            rows.append(row)
    return rows


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    named = "".join(f"{row[key]!s:<{width}}" for key, width in (("run", 22), ("value", 8)) if key in row)
    head = f"{named}{row['network']:<12}{row['samples_per_second']:>12,.0f} samples/s"
    if "windowed_ms" not in row:
        return head
    ratio = row["windowed_ms"] / row["state_ms"]
    return (
        f"{head}{row['state_ms']:>9.3f} ms an element with a state,{row['windowed_ms']:>9.3f} ms by passes over "
        f"{row['reach']} elements: {ratio:.1f}×"
    )


def main(arguments: list[str] | None = None) -> int:
    """Time, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="+", help="YAML files of runs")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of the YAML")
    parser.add_argument("--vary", nargs="+", default=[], metavar="KEY", help="keys that take each value of --over")
    parser.add_argument("--over", nargs="+", default=[""], metavar="VALUE")
    parser.add_argument("--elements", type=int, default=200, help="samples to draw")
    parser.add_argument("--windowed", action="store_true", help="also without a state")
    parser.add_argument("--report", type=Path, metavar="FILE", help="where the rows go as JSON")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    try:
        for conf, value in itertools.product(options.config, options.over):
            settings = [*options.set, *(f"{key}={value}" for key in options.vary)]
            named = ({"run": conf.stem} if len(options.config) > 1 else {}) | ({"value": value} if options.vary else {})
            for row in measured(conf, settings, options):
                rows.append(named | row)
                sys.stdout.write(line(rows[-1]) + "\n")
    except SeqgenError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if options.report is not None:
        write_text(options.report, json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
