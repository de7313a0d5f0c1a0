"""Random programs for the native engine, made without torch, their inputs, and what they compute in float64 numpy.

``python -m tests.engine.programs FOLDER PRECISION`` writes one for programs in other languages.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from seqgen import noise

Array = npt.NDArray[Any]
MIX = [[1.0, 1 / 256, 0.0, -128.0], [0.0, 1 / 16, 0.0, -8.0], [0.0, 0.0, 1.0, -127.5]]


@dataclass(frozen=True)
class Shape:
    """Sizes of a random program; ``density``: share of the blocks (rows, columns) of weights that are not zero."""

    hidden: int = 32
    channels: int = 5
    width: int = 12
    taps: int = 3
    hop: int = 4
    latency: int = 6
    density: float = 1.0
    block: tuple[int, int] = (16, 4)


def sparse(rng: np.random.Generator, rows: int, columns: int, shape: Shape) -> Array:
    """A matrix of unit row variance with whole blocks left out, cut where the matrix ends."""
    blocks = rng.random((-(-rows // shape.block[0]), -(-columns // shape.block[1]))) < shape.density
    mask = np.kron(blocks, np.ones(shape.block))[:rows, :columns]
    weights = rng.normal(0, 1 / np.sqrt(max(1.0, columns * shape.density)), (rows, columns))
    return (weights * mask).astype(np.float32)


def tensors(shape: Shape, seed: int = 0) -> dict[str, Array]:
    """Weights by name, and the state of a fresh stream."""
    rng = np.random.default_rng(seed)
    half, gates = shape.hidden // 2, 3 * shape.hidden

    def normal(*size: int, scale: float = 1.0) -> Array:
        return rng.normal(0, scale, size).astype(np.float32)

    made = {
        "enter.weight": normal(shape.width, shape.channels, shape.taps, scale=0.3),
        "enter.bias": normal(shape.width, scale=0.1),
        "leave.weight": normal(gates, shape.width, scale=0.5),
        "leave.bias": normal(gates, scale=0.3),
        "recurrent": sparse(rng, gates, shape.hidden, shape),
        "input": normal(gates, 3, scale=0.05),
        "fresh.enter": normal(1, shape.taps - 1, shape.channels),
        "fresh.vector": normal(1, 1, gates),
    }
    for head in ("coarse", "fine"):
        made[f"{head}.inner.weight"] = sparse(rng, half, half, shape)
        made[f"{head}.inner.bias"] = normal(half, scale=0.3)
        made[f"{head}.outer.weight"] = 3 * sparse(rng, 256, half, shape)
        made[f"{head}.outer.bias"] = normal(256)
    return made


def program(shape: Shape) -> dict[str, Any]:
    """The program over those tensors: one convolution, a residual of itself, and the cell."""
    heads = [
        {f"{layer}_{part}": f"{head}.{layer}.{part}" for layer in ("inner", "outer") for part in ("weight", "bias")}
        for head in ("coarse", "fine")
    ]
    return {
        "format": 1,
        "byte_order": "little",
        "sample_rate": 8000,
        "channels": shape.channels,
        "hop": shape.hop,
        "latency": shape.latency,
        "precision": "float32",
        "tensors": ["weights.safetensors"],
        "ops": [
            {"op": "normalise", "in": "features", "out": "a", "start": 0, "stop": shape.channels, "shift": 0.5,
             "scale": 2.0},
            {"op": "conv", "in": "a", "out": "b", "weight": "enter.weight", "bias": "enter.bias", "dilation": 1,
             "initial": "fresh.enter"},
            {"op": "relu", "in": "b", "out": "c"},
            {"op": "add", "in": "b", "and": "c", "out": "d"},
            {"op": "dense", "in": "d", "out": "e", "weight": "leave.weight", "bias": "leave.bias"},
            {"op": "interpolate", "in": "e", "up": shape.hop, "initial": "fresh.vector"},
            {"op": "wavernn", "recurrent": "recurrent", "input": "input", "inputs": MIX, "heads": heads,
             "start": [128, 0]},
            {"op": "categorical", "classes": 256},
            {"op": "bytes16"},
        ],
    }  # fmt: skip


def write(directory: Path, document: dict[str, Any], weights: dict[str, Array]) -> Path:
    """A directory that the engine loads."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "program.json").write_text(json.dumps(document))
    save_file(weights, directory / "weights.safetensors")
    return directory


def inputs(shape: Shape, streams: int, frames: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Features, uniforms and elements of fresh streams."""
    rng = np.random.default_rng(seed)
    samples = max(0, frames * shape.hop - shape.latency)
    features = rng.normal(0, 1, (streams, frames, shape.channels)).astype(np.float32)
    uniforms = np.stack([noise.block(seed, row, 0, 2 * samples) for row in range(streams)])
    return features, uniforms, rng.integers(0, 256, (streams, 2 * samples)).astype(np.uint8)


def vectors(shape: Shape, weights: dict[str, Array], features: Array) -> Array:
    """Conditioning vectors of one fresh stream, ``[frames, channels] → [frames · hop, 3 · hidden]``, float64."""
    line = np.concatenate([weights["fresh.enter"][0].astype(float), (features - 0.5) * 2])
    kernel, made = weights["enter.weight"].astype(float), []
    for t in range(len(features)):
        b = np.einsum("oik,ki->o", kernel, line[t : t + shape.taps]) + weights["enter.bias"]
        made.append(weights["leave.weight"].astype(float) @ (b + np.maximum(b, 0)) + weights["leave.bias"])
    ends = np.concatenate([weights["fresh.vector"][0].astype(float), np.array(made)])
    share = (np.arange(shape.hop) + shape.hop // 2 - (shape.hop - 1) / 2)[:, None] / shape.hop
    return np.concatenate([(1 - share) * a + share * b for a, b in pairwise(ends)])


def logits(shape: Shape, weights: dict[str, Array], features: Array, elements: Array) -> Array:
    """Logits of given bytes of one fresh stream, ``[2 · samples] → [2 · samples, 256]``, float64."""
    cond = vectors(shape, weights, features)
    return cell(shape, weights, cond[len(cond) - len(elements) // 2 :], elements)


def cell(shape: Shape, weights: dict[str, Array], cond: Array, elements: Array) -> Array:
    """The same from conditioning vectors, ``[samples, 3 · hidden]``."""
    half, w = shape.hidden // 2, {name: value.astype(float) for name, value in weights.items()}
    h, before, made = np.zeros(shape.hidden), (128, 0), []
    for t, given in enumerate(cond):
        c, f = int(elements[2 * t]), int(elements[2 * t + 1])
        x = np.array(MIX) @ np.array([*before, c, 1.0])
        products, fresh = w["recurrent"] @ h, h.copy()
        for which, head in enumerate(("coarse", "fine")):
            rows = slice(which * 3 * half, (which + 1) * 3 * half)
            used = 2 + which  # the coarse half does not see the coarse byte
            g = (given[rows] + w["input"][rows, :used] @ x[:used]).reshape(3, half)
            p, own = products[rows].reshape(3, half), slice(which * half, (which + 1) * half)
            r, u = 1 / (1 + np.exp(-(g[0] + p[0]))), 1 / (1 + np.exp(-(g[1] + p[1])))
            fresh[own] = u * h[own] + (1 - u) * np.tanh(g[2] + r * p[2])
            inner = np.maximum(w[f"{head}.inner.weight"] @ fresh[own] + w[f"{head}.inner.bias"], 0)
            made.append(w[f"{head}.outer.weight"] @ inner + w[f"{head}.outer.bias"])
        h, before = fresh, (c, f)
    return np.array(made)


if __name__ == "__main__":
    sizes = Shape(hidden=int(sys.argv[3]) if len(sys.argv) > 3 else 130, channels=7, hop=20, latency=33, density=0.4)
    write(Path(sys.argv[1]), program(sizes) | {"precision": sys.argv[2]}, tensors(sizes))
