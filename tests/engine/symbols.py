"""Random programs over symbols, made without torch: gated recurrent stacks and ByteNets; their equations in float64.

``python -m tests.engine.symbols FOLDER KIND PRECISION`` writes one for programs in other languages.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqgen import noise
from seqgen.runtime.native import Engine
from tests.engine import programs
from tests.engine.programs import Array

Document = dict[str, Any]
EPSILON = 1e-5


@dataclass(frozen=True)
class Recurrent:
    """Sizes of a random recurrent stack."""

    classes: int = 300
    embedding: int = 7
    hidden: int = 20
    layers: int = 2
    columns: int = 0


@dataclass(frozen=True)
class Convolutional:
    """Sizes of a random ByteNet; ``columns``: whether it translates."""

    classes: int = 50
    channels: int = 12
    kernel: int = 3
    dilations: tuple[int, ...] = (1, 2, 4, 1)
    rectified: bool = True
    translates: bool = False

    @property
    def columns(self) -> int:
        """Channels of a column."""
        return 2 * self.channels * self.translates


@dataclass(frozen=True)
class Source:
    """Sizes of a random encoder, and its unfolding."""

    channels: int
    blocks: Convolutional
    factor: float = 1.2
    offset: float = 1.0
    stretch: bool = False


Model = Recurrent | Convolutional


def _document(model: Model, *own: Document) -> Document:
    return {
        "format": 1, "byte_order": "little", "sample_rate": 0, "channels": model.columns, "hop": 1, "latency": 0,
        "precision": "float32", "tensors": ["weights.safetensors"],
        "ops": [*own, {"op": "categorical", "classes": model.classes}, {"op": "symbols"}],
    }  # fmt: skip


def program(model: Model) -> Document:
    """The program of a model."""
    if isinstance(model, Recurrent):
        parts = ("input_weight", "input_bias", "recurrent")
        layers = [{part: f"{layer}.{part}" for part in parts} for layer in range(model.layers)]
        names = {name: name for name in ("embedding", "out_weight", "out_bias")}
        return _document(model, {"op": "gru-stack", **names, "layers": layers, "start": 0})
    head = {name: name for name in ("head", "head_bias", "out", "out_bias")}
    return _document(model, {"op": "bytenet", **_stack(model), **head, "start": 0})


def with_source(model: Convolutional, source: Source) -> tuple[Document, dict[str, Array]]:
    """The program of a translator, and its weights by name."""
    document = program(model)
    names = {name: f"source.{name}" for name in ("norm_gain", "norm_bias", "out", "out_bias")}
    unfolding = {"factor": source.factor, "offset": source.offset, "stretch": int(source.stretch)}
    encoder = {"op": "bytenet-encoder", **_stack(source.blocks, "source."), **names, **unfolding}
    document["ops"].insert(0, encoder)
    return document, tensors(model) | {f"source.{name}": value for name, value in source_tensors(source).items()}


def _stack(model: Convolutional, at: str = "") -> Document:
    norms = ("inner", "output") if model.rectified else ("gates",)
    parts = ["narrow", "taps", "widen", "widen_bias"]
    parts += [f"{norm}_{part}" for norm in ("input", *norms) for part in ("gain", "bias")]
    blocks = [
        {"dilation": dilation, **{part: f"{at}{i}.{part}" for part in parts}}
        for i, dilation in enumerate(model.dilations)
    ]
    return {
        "embedding": f"{at}embedding", "kernel": model.kernel, "epsilon": EPSILON,
        "form": "rectified" if model.rectified else "multiplicative", "blocks": blocks,
    }  # fmt: skip


def tensors(model: Model, seed: int = 0) -> dict[str, Array]:
    """Its weights by name."""
    rng = np.random.default_rng(seed)
    matrix, vector = _random(rng)
    if isinstance(model, Recurrent):
        width, made = model.embedding, {"embedding": rng.normal(0, 1, (model.classes, model.embedding)).astype("f4")}
        for layer in range(model.layers):
            made |= {f"{layer}.recurrent": matrix(3 * model.hidden, model.hidden),
                     f"{layer}.input_weight": matrix(3 * model.hidden, width, 2.0),
                     f"{layer}.input_bias": vector(3 * model.hidden)}  # fmt: skip
            width = model.hidden
        return made | {"out_weight": matrix(model.classes, width, 3.0), "out_bias": vector(model.classes)}
    wide = 2 * model.channels
    return {
        **blocks(model, matrix, vector),
        "head": matrix(wide, wide), "head_bias": vector(wide),
        "out": matrix(model.classes, wide, 2.0), "out_bias": vector(model.classes),
    }  # fmt: skip


def source_tensors(source: Source) -> dict[str, Array]:
    """Weights of an encoder by name."""
    matrix, vector = _random(np.random.default_rng(5))
    wide = 2 * source.blocks.channels
    return {
        **blocks(source.blocks, matrix, vector),
        "norm_gain": vector(wide, 1.0), "norm_bias": vector(wide),
        "out": matrix(source.channels, wide), "out_bias": vector(source.channels),
    }  # fmt: skip


def _random(rng: np.random.Generator) -> tuple[Any, Any]:
    """Matrices that keep the size of what they are multiplied with, and vectors."""

    def matrix(rows: int, columns: int, scale: float = 1.0) -> Array:
        return rng.normal(0, scale / np.sqrt(columns), (rows, columns)).astype(np.float32)

    def vector(count: int, mean: float = 0.0) -> Array:
        return rng.normal(mean, 0.3, count).astype(np.float32)

    return matrix, vector


def blocks(model: Convolutional, matrix: Any, vector: Any) -> dict[str, Array]:
    """Weights of the embedding and of all blocks."""
    d = model.channels
    made = {"embedding": matrix(model.classes, 2 * d, 3.0)}
    parts = {"inner": d, "output": d} if model.rectified else {"gates": 4 * d}
    for i in range(len(model.dilations)):
        made |= {f"{i}.narrow": matrix(d, 2 * d),
                 f"{i}.taps": matrix(d if model.rectified else 4 * d, model.kernel * d),
                 f"{i}.widen": matrix(2 * d, d), f"{i}.widen_bias": vector(2 * d)}  # fmt: skip
        for norm, width in {"input": 2 * d, **parts}.items():
            made |= {f"{i}.{norm}_gain": vector(width, 1.0), f"{i}.{norm}_bias": vector(width)}
    return made


def write(model: Model, where: Path, **changes: Any) -> Path:
    """A directory that the engine loads."""
    return programs.write(where, program(model) | changes, tensors(model))


def inputs(model: Model, streams: int, count: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Columns, uniforms and symbols of fresh streams."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(0, 1, (streams, count, model.columns)).astype(np.float32)
    uniforms = np.stack([noise.block(seed, row, 0, count) for row in range(streams)])
    return columns, uniforms, rng.integers(0, model.classes, (streams, count)).astype(np.int32)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def logits(model: Model, columns: Array, x: Array) -> Array:
    """Logits of given symbols of one fresh stream, ``[T] → [T, classes]``, float64."""
    w = {name: value.astype(float) for name, value in tensors(model).items()}
    before = np.concatenate([[0], x[:-1]]).astype(int)
    if isinstance(model, Recurrent):
        return _recurrent(model, w, before)
    a = w["embedding"][before] + (columns if model.translates else 0)
    for i, dilation in enumerate(model.dilations):
        a = a + block(model, w, i, a, [-(model.kernel - 1 - k) * dilation for k in range(model.kernel)])
    return np.maximum(a @ w["head"].T + w["head_bias"], 0) @ w["out"].T + w["out_bias"]


def _recurrent(model: Recurrent, w: dict[str, Array], before: Array) -> Array:
    made, states = [], [np.zeros(model.hidden) for _ in range(model.layers)]
    for symbol in before:
        x = w["embedding"][symbol]
        for layer, h in enumerate(states):
            g = (w[f"{layer}.input_weight"] @ x + w[f"{layer}.input_bias"]).reshape(3, -1)
            p = (w[f"{layer}.recurrent"] @ h).reshape(3, -1)
            r, z = sigmoid(g[0] + p[0]), sigmoid(g[1] + p[1])
            n = np.tanh(g[2] + r * p[2])
            x = states[layer] = n + z * (h - n)
        made.append(w["out_weight"] @ x + w["out_bias"])
    return np.array(made)


def columns(model: Source, x: Array) -> Array:
    """Unfolded columns of one source, ``[S] → [positions, channels]``, float64."""
    w = {name: value.astype(float) for name, value in source_tensors(model).items()}
    net = model.blocks
    a, side = w["embedding"][x], net.kernel // 2
    for i, dilation in enumerate(net.dilations):
        a = a + block(net, w, i, a, [(k - side) * dilation for k in range(net.kernel)])
    made = np.maximum(norm(w, "norm", a), 0) @ w["out"].T + w["out_bias"]
    count = math.ceil(model.factor * len(x) + model.offset - 1e-9)
    places = [(2 * t + 1) * len(x) // (2 * count) if model.stretch else t for t in range(count)]
    return np.stack([made[place] if place < len(x) else np.zeros(made.shape[1]) for place in places])


def norm(w: dict[str, Array], name: str, x: Array, parts: int = 1) -> Array:
    """Layer normalisation of the channels of every position, in so many parts each by itself."""
    apart = x.reshape(len(x), parts, -1)
    apart = (apart - apart.mean(-1, keepdims=True)) / np.sqrt(apart.var(-1, keepdims=True) + EPSILON)
    return np.asarray(apart.reshape(x.shape) * w[f"{name}_gain"] + w[f"{name}_bias"])


def block(model: Convolutional, w: dict[str, Array], i: int, a: Array, taps: list[int]) -> Array:
    """Residual of a block, its convolution reading positions so far apart; zeros lie outside."""
    entered = norm(w, f"{i}.input", a)
    entered = (np.maximum(entered, 0) if model.rectified else entered) @ w[f"{i}.narrow"].T
    if model.rectified:
        entered = np.maximum(norm(w, f"{i}.inner", entered), 0)
    line = np.concatenate([shifted(entered, tap) for tap in taps], axis=1) @ w[f"{i}.taps"].T
    if model.rectified:
        middle = np.maximum(norm(w, f"{i}.output", line), 0)
    else:
        g1, g2, g3, u = np.split(norm(w, f"{i}.gates", line, 4), 4, axis=1)
        middle = sigmoid(g1) * np.tanh(sigmoid(g2) * entered + sigmoid(g3) * np.tanh(u))
    return np.asarray(middle @ w[f"{i}.widen"].T + w[f"{i}.widen_bias"])


def shifted(x: Array, by: int) -> Array:
    """Row t is row ``t + by`` of x, zero where there is none."""
    made = np.zeros_like(x)
    for t in range(max(0, -by), min(len(x), len(x) - by)):
        made[t] = x[t + by]
    return made


def score(engine: Engine, columns: Array, x: Array, states: Array | None = None) -> tuple[Array, Array]:
    """Logits of given symbols, and the states after them."""
    after = engine.init(len(x)) if states is None else states.copy()
    made = np.full((*x.shape, engine.info.classes), np.nan, np.float32)
    engine.run(after, columns, x.shape[1], drawing=False, given={"symbols": x}, made={"logits": made})
    return made, after


def draw(
    engine: Engine, columns: Array, uniforms: Array, states: Array | None = None, temperature: float = 1.0
) -> tuple[Array, Array]:
    """Symbols drawn with given uniforms, and the states after them."""
    after = engine.init(len(uniforms)) if states is None else states.copy()
    made = np.full(uniforms.shape, -1, np.int32)
    engine.run(after, columns, uniforms.shape[1], drawing=True, given={"uniforms": uniforms}, made={"drawn": made},
               temperature=temperature)  # fmt: skip
    return made, after


DECODER = Convolutional(translates=True, channels=8, dilations=(1, 2))
SOURCES = {
    "padded": Source(16, Convolutional(classes=40, dilations=(1, 2, 4, 8))),
    "stretched": Source(16, Convolutional(classes=257, channels=7, kernel=5, dilations=(1, 3)), 0.8, 2.0, stretch=True),
    "one tap": Source(16, Convolutional(classes=40, kernel=1, dilations=(1, 2)), factor=3.0),
}
KINDS: dict[str, Model] = {
    "recurrent": Recurrent(),
    "one layer": Recurrent(classes=20, embedding=16, hidden=32, layers=1),
    "rectified": Convolutional(),
    "multiplicative": Convolutional(rectified=False, kernel=2, classes=257),
    "translator": Convolutional(translates=True, channels=16, classes=1000, dilations=(1, 2, 4, 8, 16)),
    "one tap": Convolutional(kernel=1, rectified=False, dilations=(1, 3), translates=True),
}


def write_kind(name: str, where: Path, precision: str) -> Path:
    """One of ``KINDS`` or, of a translator that reads one of ``SOURCES``, the whole."""
    if name in KINDS:
        return write(KINDS[name], where, precision=precision)
    document, weights = with_source(DECODER, SOURCES[name])
    return programs.write(where, document | {"precision": precision}, weights)


if __name__ == "__main__":
    write_kind(sys.argv[2], Path(sys.argv[1]), sys.argv[3])
