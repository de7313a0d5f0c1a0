"""Random programs whose lanes run side by side, their inputs, and what they compute lane after lane in float64 numpy.

``python -m tests.engine.lanes FOLDER PRECISION`` writes one for programs in other languages.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seqgen import noise
from tests.engine import programs
from tests.engine.programs import Array, Shape


@dataclass(frozen=True)
class Staggered:
    """Sizes of a random program with lanes; ``shape.latency`` is the look-ahead of the conditioning network alone."""

    shape: Shape = field(default_factory=Shape)
    lanes: int = 4
    horizon: int = 2
    channels: int = 5
    blocks: int = 2
    unit: float = 4096.0

    @property
    def ahead(self) -> int:
        """Samples under way beyond those that are given out."""
        return (self.lanes - 1) * (self.horizon + 1) * self.lanes

    @property
    def latency(self) -> int:
        """Samples that frames are ahead of what they sound like."""
        return self.shape.latency + -self.shape.latency % self.lanes + self.ahead

    def samples(self, frames: int) -> int:
        """What a fresh stream makes of that many frames."""
        return max(0, frames * self.shape.hop - self.latency)


def tensors(sizes: Staggered, seed: int = 0) -> dict[str, Array]:
    """Weights by name, those of the network that reads the lanes before included."""
    rng, width = np.random.default_rng(seed + 1), sizes.channels

    def normal(*size: int, scale: float) -> Array:
        return rng.normal(0, scale, size).astype(np.float32)

    made = programs.tensors(sizes.shape, seed)
    made["lanes.enter.weight"] = normal(width, 2 * sizes.lanes - 1, sizes.horizon + 3, scale=0.2)
    made["lanes.enter.bias"] = normal(width, scale=0.3)
    for block in range(sizes.blocks):
        for part, size in (("conv", (width, width, 3)), ("dense", (width, width))):
            made[f"lanes.{block}.{part}.weight"] = normal(*size, scale=width**-0.5)
            made[f"lanes.{block}.{part}.bias"] = normal(width, scale=0.1)
    made["lanes.leave.weight"] = normal(3 * sizes.shape.hidden, width, scale=0.5 * width**-0.5)
    made["lanes.leave.bias"] = normal(3 * sizes.shape.hidden, scale=0.1)
    return made


def op(sizes: Staggered) -> dict[str, Any]:
    """The op ``lanes``."""

    def pair(name: str, kind: str = "") -> dict[str, str]:
        return {f"{kind}{part}": f"lanes.{name}.{part}" for part in ("weight", "bias")}

    return {
        "op": "lanes",
        "lanes": sizes.lanes,
        "horizon": sizes.horizon,
        "look_ahead": sizes.shape.latency,
        "unit": sizes.unit,
        "enter": pair("enter"),
        "blocks": [
            {"dilation": 2**block, **pair(f"{block}.conv", "conv_"), **pair(f"{block}.dense", "dense_")}
            for block in range(sizes.blocks)
        ],
        "leave": pair("leave"),
    }


def program(sizes: Staggered) -> dict[str, Any]:
    """The program over those tensors."""
    document = programs.program(sizes.shape) | {"latency": sizes.latency}
    document["ops"].insert(-2, op(sizes))
    return document


def write(directory: Path, sizes: Staggered, precision: str = "float32") -> Path:
    """A directory that the engine loads."""
    return programs.write(directory, program(sizes) | {"precision": precision}, tensors(sizes))


def frames_of(sizes: Staggered, steps: int) -> int:
    """Frames that make at least so many complete lane steps of a fresh stream."""
    return -(-(sizes.latency + steps * sizes.lanes) // sizes.shape.hop)


def inputs(sizes: Staggered, streams: int, frames: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Features, and uniforms and elements of fresh streams with those that lie ahead."""
    rng = np.random.default_rng(seed)
    count = 2 * (sizes.samples(frames) + sizes.ahead)
    features = rng.normal(0, 1, (streams, frames, sizes.shape.channels)).astype(np.float32)
    uniforms = np.stack([noise.block(seed, row, 0, count) for row in range(streams)])
    elements = rng.integers(0, 256, (streams, count)).astype(np.uint8)
    elements[:, ::2] = 120 + elements[:, ::2] % 16
    return features, uniforms, elements


def context(sizes: Staggered, w: dict[str, Array], lane: int, units: Array) -> Array:
    """What a lane is told, ``units [lane steps, lanes] → [lane steps - horizon, 3 · hidden]``."""

    def conv(x: Array, name: str, dilation: int = 1) -> Array:
        kernel = w[f"{name}.weight"]
        left = (kernel.shape[2] - 1) * dilation
        line = np.concatenate([np.zeros((left, x.shape[1])), x])
        taps = (line[k * dilation : k * dilation + len(x)] @ kernel[:, :, k].T for k in range(kernel.shape[2]))
        return sum(taps) + w[f"{name}.bias"]

    hot = np.tile(np.eye(sizes.lanes)[lane], (len(units), 1))
    before = np.zeros((len(units), sizes.lanes - 1))
    before[:, :lane] = units[:, :lane][:, ::-1]
    y = conv(np.concatenate([before, hot], axis=1), "lanes.enter")
    for block in range(sizes.blocks):
        z = conv(np.maximum(y, 0), f"lanes.{block}.conv", 2**block)
        y = y + np.maximum(z, 0) @ w[f"lanes.{block}.dense.weight"].T + w[f"lanes.{block}.dense.bias"]
    return y[sizes.horizon :] @ w["lanes.leave.weight"].T + w["lanes.leave.bias"]


def logits(sizes: Staggered, weights: dict[str, Array], features: Array, elements: Array) -> Array:
    """Logits of the samples that a fresh stream gives out, ``[2 · (samples + ahead)] → [2 · samples, 256]``."""
    w = {name: value.astype(float) for name, value in weights.items()}
    pairs = elements.reshape(-1, sizes.lanes, 2).astype(float)
    units = (256 * pairs[..., 0] + pairs[..., 1] - 32768) / sizes.unit
    count = len(pairs) - sizes.ahead // sizes.lanes
    cond = programs.vectors(sizes.shape, weights, features)[sizes.shape.latency :]
    made = np.empty((count, sizes.lanes, 2, 256))
    for lane in range(sizes.lanes):
        told = context(sizes, w, lane, units[: count + sizes.horizon])
        own = cond[lane :: sizes.lanes][:count] + told
        line = pairs[:count, lane].reshape(-1).astype(int)
        made[:, lane] = programs.cell(sizes.shape, weights, own, line).reshape(count, 2, 256)
    return made.reshape(-1, 256)


if __name__ == "__main__":
    shape = Shape(hidden=160, channels=7, hop=20, latency=33)
    write(Path(sys.argv[1]), Staggered(shape, lanes=5, horizon=2, channels=20), sys.argv[2])
