"""Random programs of encoders of audio, made without torch, and their equations in float64."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from seqgen.runtime.native import Engine
from tests.engine.calls import begun
from tests.engine.programs import Array

Document = dict[str, Any]
EPSILON = 1e-5


@dataclass(frozen=True)
class Encoder:
    """Sizes of a random encoder; ``normalised``: by layer, behind each convolution."""

    strides: tuple[int, ...] = (5, 4, 2)
    kernels: tuple[int, ...] = (10, 8, 3)
    channels: int = 20
    hidden: int = 7
    normalised: bool = False

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        return int(np.prod(self.strides))


KINDS = {
    "plain": Encoder(),
    "normalised": Encoder(channels=37, hidden=33, normalised=True),
    "without-overlap": Encoder((3, 2), (3, 2), channels=16, hidden=16),
    "wide": Encoder((4, 2), (9, 7), channels=130, hidden=140),
    "one": Encoder((6,), (6,), channels=3, hidden=2, normalised=True),
}


def program(model: Encoder) -> Document:
    """The program of an encoder."""
    convolutions: list[Document] = []
    for number, stride in enumerate(model.strides):
        own: Document = {"stride": stride, "weight": f"{number}.weight", "bias": f"{number}.bias"}
        if model.normalised:
            own |= {"gain": f"{number}.gain", "norm_bias": f"{number}.norm_bias", "epsilon": EPSILON}
        convolutions.append(own)
    context = {name: f"context.{name}" for name in ("input_weight", "input_bias", "recurrent")}
    return {
        "format": 1, "byte_order": "little", "sample_rate": 0, "channels": model.hop, "hop": 1, "latency": 0,
        "precision": "float32", "tensors": ["weights.safetensors"],
        "ops": [{"op": "waveform-encoder", "convolutions": convolutions, "context": context}],
    }  # fmt: skip


def tensors(model: Encoder, seed: int = 0) -> dict[str, Array]:
    """Its weights by name."""
    rng = np.random.default_rng(seed)
    made, width = {}, 1
    for number, kernel in enumerate(model.kernels):
        scale = 1.5 / np.sqrt(width * kernel)
        made[f"{number}.weight"] = (scale * rng.normal(0, 1, (model.channels, width, kernel))).astype("f4")
        for name in ("bias", "gain", "norm_bias"):
            made[f"{number}.{name}"] = rng.uniform(-0.2, 1, model.channels).astype("f4")
        width = model.channels
    made |= {
        "context.input_weight": (rng.normal(0, 1, (3 * model.hidden, width)) / np.sqrt(width)).astype("f4"),
        "context.recurrent": (rng.normal(0, 1, (3 * model.hidden, model.hidden)) / np.sqrt(model.hidden)).astype("f4"),
        "context.input_bias": rng.uniform(-0.5, 0.5, 3 * model.hidden).astype("f4"),
    }
    return made


def write(model: Encoder, folder: Path, document: Document | None = None) -> Path:
    """Write its program and weights into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors(model), folder / "weights.safetensors")
    (folder / "program.json").write_text(json.dumps(document or program(model)))
    return folder


def expected(model: Encoder, audio: Array) -> Array:
    """Contexts and latents side by side of one stream ``[N]``, by the equations: ``[N / hop, hidden + channels]``."""
    weights = {name: value.astype(np.float64) for name, value in tensors(model).items()}
    x = audio.astype(np.float64)[:, None]
    for number, (stride, kernel) in enumerate(zip(model.strides, model.kernels, strict=True)):
        line = np.concatenate([np.zeros((kernel - stride, x.shape[1])), x])
        pieces = np.stack([line[t * stride : t * stride + kernel] for t in range(len(x) // stride)])  # [T, K, C]
        x = np.einsum("tkc,ock->to", pieces, weights[f"{number}.weight"]) + weights[f"{number}.bias"]
        if model.normalised:
            deviation = np.sqrt(x.var(axis=1, keepdims=True) + EPSILON)
            x = (x - x.mean(axis=1, keepdims=True)) / deviation * weights[f"{number}.gain"]
            x = x + weights[f"{number}.norm_bias"]
        x = np.maximum(x, 0)
    h, contexts, size = np.zeros(model.hidden), [], model.hidden
    for z in x:
        given = weights["context.input_weight"] @ z + weights["context.input_bias"]
        product = weights["context.recurrent"] @ h
        reset, update = (1 / (1 + np.exp(-(given + product)[part])) for part in (slice(0, size), slice(size, 2 * size)))
        new = np.tanh(given[2 * size :] + reset * product[2 * size :])
        h = new + update * (h - new)
        contexts.append(h)
    return np.concatenate([np.stack(contexts), x], axis=1)


def sound(model: Encoder, streams: int, frames: int) -> Array:
    """Audio of some streams."""
    return np.random.default_rng(7).uniform(-1, 1, (streams, frames * model.hop)).astype("f4")


def encode(engine: Engine, audio: Array, states: Array | None = None) -> tuple[Array, Array]:
    """Parameters of all frames, and the states after them; none of those given move."""
    after = begun(engine, len(audio), states)
    frames = audio.reshape(len(audio), -1, engine.info.channels)
    params = np.full((*frames.shape[:2], engine.info.params), np.nan, np.float32)
    engine.run(after, frames, frames.shape[1], drawing=False, given={}, made={"params": params})
    return params, after
