"""Random Parallel WaveNet programs, made without torch, and their equations in float64.

``python -m tests.engine.flows FOLDER`` writes one for programs in other languages.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from seqgen import noise
from tests.engine import programs, stacks
from tests.engine.programs import Array
from tests.engine.stacks import Document, Stack

TRUNCATION = 1e-5


def small(*dilations: int, **changes: int) -> Stack:
    """A flow's network, without skips, over one real number."""
    sizes = {"front": 1, "residual": 16, "gate": 16, "skip": 0, "head": 16} | changes
    return Stack(dilations=dilations, unit=0.5, levelled=False, distribution=stacks.GAUSSIAN, **sizes)


@dataclass(frozen=True)
class Flows:
    """Sizes of a random student: the networks of its flows. A frame is longer than what one pass takes."""

    base: programs.Shape = field(default_factory=lambda: programs.Shape(hop=150, latency=33))
    flows: tuple[Stack, ...] = (small(1, 2, 80), small(1, 2, 4, 1))
    levelled: bool = True
    shift: float = -1.0
    floor: float = 0.01

    @property
    def vector(self) -> int:
        """Conditioning channels."""
        return sum(2 * len(stack.dilations) * stack.gate for stack in self.flows) + self.levelled


def tensors(sizes: Flows, seed: int = 0) -> dict[str, Array]:
    """Weights by name, and the state of a fresh stream."""
    rng = np.random.default_rng(seed)
    plain = programs.tensors(sizes.base, seed)
    made = {name: value for name, value in plain.items() if name.startswith(("enter", "fresh.enter"))}
    last = np.ones(sizes.vector)
    last[-1] = 0.2 if sizes.levelled else 1.0  # a level of some e^±2
    line = rng.normal(0, 0.3, (sizes.vector, sizes.base.width + 2)) * last[:, None]
    made["leave.weight"] = line[:, 2:].astype(np.float32)
    made["leave.bias"], made["fresh.vector"] = line[:, 0].astype(np.float32), line[None, None, :, 1].astype(np.float32)
    for index, stack in enumerate(sizes.flows):
        made |= stacks.network_tensors(stack, rng, f"{index}.")
        made[f"{index}.out"] *= 3
    return made


def program(sizes: Flows) -> Document:
    """The program over those tensors."""
    document = programs.program(sizes.base)
    flows = [
        {"shift": sizes.shift, "floor": sizes.floor, **stacks.network_program(stack, f"{index}.")}
        for index, stack in enumerate(sizes.flows)
    ]
    level = [{"op": "levelled", "spread": 3.0, "typical": 0.0625}] if sizes.levelled else []
    made = {"op": "parallel-wavenet", "flows": flows}
    document["ops"][6:] = [*level, made, {"op": "logistic", "truncation": TRUNCATION}, {"op": "float"}]
    return document


def write(sizes: Flows, directory: Path) -> Path:
    """A directory that the engine loads."""
    return programs.write(directory, program(sizes), tensors(sizes))


def inputs(sizes: Flows, streams: int, frames: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Features, uniforms and noise of fresh streams."""
    rng = np.random.default_rng(seed)
    samples = max(0, frames * sizes.base.hop - sizes.base.latency)
    features = rng.normal(0.5, 0.5, (streams, frames, sizes.base.channels)).astype(np.float32)
    uniforms = np.stack([noise.block(seed, row, 0, samples) for row in range(streams)])
    return features, uniforms, logistic(uniforms).astype(np.float32)


def logistic(uniforms: Array) -> Array:
    """Standard logistic noise, float64."""
    u = np.clip(uniforms, np.float32(TRUNCATION), np.float32(1) - np.float32(TRUNCATION)).astype(float)
    return np.asarray(np.log(u) - np.log1p(-u))


def parameters(sizes: Flows, features: Array, z: Array) -> Array:
    """Mean and log-scale of the samples behind given noise of a fresh stream, ``[samples] → [samples, 2]``, float64."""
    weights = {name: value.astype(float) for name, value in tensors(sizes).items()}
    cond = programs.vectors(sizes.base, weights, features)
    cond = cond[len(cond) - len(z) :]
    mean, log_scale, first = np.zeros(len(z)), np.zeros(len(z)), 0
    for index, stack in enumerate(sizes.flows):
        x = z * np.exp(log_scale) + mean
        made = stacks.network(stack, weights, np.concatenate([[0.0], x[:-1]]), cond[:, first:], f"{index}.")
        scale = sizes.floor + np.log1p(np.exp(made[:, 1] + sizes.shift))
        mean, log_scale = mean * scale + made[:, 0], log_scale + np.log(scale)
        first += 2 * len(stack.dilations) * stack.gate
    level = 3 * cond[:, -1] + np.log(0.0625) if sizes.levelled else np.zeros(len(z))
    return np.stack([mean * np.exp(level), log_scale + level], axis=1)


if __name__ == "__main__":
    write(Flows(), Path(sys.argv[1]))
