"""Random WaveNet programs over real numbers, made without torch, their inputs, and their equations in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.runtime.native import Engine
from tests.engine import programs
from tests.engine.programs import Array

Document = dict[str, Any]
MIXTURE = {"op": "logistic-mixture", "mixtures": 3, "levels": 65536, "origin": -4.0, "min_log_scale": -14.0}
GAUSSIAN = {"op": "gaussian", "origin": -4.0, "min_log_scale": -9.0}


@dataclass(frozen=True)
class Stack:
    """Sizes of a random WaveNet; ``skip`` 0: the head reads the residual stream."""

    base: programs.Shape = field(default_factory=lambda: programs.Shape(hop=20, latency=33))
    dilations: tuple[int, ...] = (1, 2, 4, 1)
    kernel: int = 2
    front: int = 2
    residual: int = 16
    gate: int = 16
    skip: int = 32
    head: int = 16
    unit: float = 0.0625
    levelled: bool = True
    distribution: Document = field(default_factory=lambda: dict(MIXTURE))

    @property
    def outputs(self) -> int:
        """Parameters of the distribution."""
        return 3 * int(self.distribution["mixtures"]) if "mixtures" in self.distribution else 2


def tensors(stack: Stack, seed: int = 0) -> dict[str, Array]:
    """Weights by name, and the state of a fresh stream."""
    rng = np.random.default_rng(seed)
    made = {name: value for name, value in programs.tensors(stack.base, seed).items() if name.startswith("enter")}
    made["fresh.enter"] = programs.tensors(stack.base, seed)["fresh.enter"]

    def normal(name: str, *size: int, scale: float = 1.0) -> None:
        made[name] = (scale * rng.normal(0, size[-1] ** -0.5, size)).astype(np.float32)

    vector = 2 * len(stack.dilations) * stack.gate + stack.levelled
    normal("leave.weight", vector, stack.base.width, scale=0.5)
    normal("leave.bias", vector)
    normal("fresh.vector", 1, 1, vector)
    for name in ("leave.weight", "leave.bias", "fresh.vector") if stack.levelled else ():
        last = made[name] if name == "leave.bias" else made[name][0].T if made[name].ndim == 3 else made[name]
        last[-1] *= 0.2  # a level of some e^±2
    return made | network_tensors(stack, rng)


def network_tensors(stack: Stack, rng: np.random.Generator, at: str = "") -> dict[str, Array]:
    """Weights of the stack alone; ``at`` stands before their names."""
    made: dict[str, Array] = {}

    def normal(name: str, *size: int, scale: float = 1.0) -> None:
        made[at + name] = (scale * rng.normal(0, size[-1] ** -0.5, size)).astype(np.float32)

    normal("front", stack.residual, 1, stack.front)
    normal("front.bias", stack.residual)
    for layer in range(len(stack.dilations)):
        normal(f"gates.{layer}", 2 * stack.gate, stack.kernel * stack.residual)
    for layer in range(len(stack.dilations) - bool(stack.skip)):
        normal(f"residual.{layer}", stack.residual, stack.gate)
        normal(f"residual.{layer}.bias", stack.residual)
    if stack.skip:
        normal("skip", stack.skip, len(stack.dilations) * stack.gate, scale=2)
        normal("skip.bias", stack.skip)
    normal("head", stack.head, stack.skip or stack.residual, scale=2)
    normal("head.bias", stack.head)
    normal("out", stack.outputs, stack.head, scale=0.3)
    normal("out.bias", stack.outputs, scale=0.3)
    return made


def program(stack: Stack) -> Document:
    """The program over those tensors."""
    document = programs.program(stack.base)
    cell = {"op": "wavenet", **network_program(stack), "start": 0.0}
    level = [{"op": "levelled", "spread": 3.0, "typical": 0.0625}] if stack.levelled else []
    document["ops"][6:] = [*level, cell, dict(stack.distribution), {"op": "float"}]
    return document


def network_program(stack: Stack, at: str = "") -> Document:
    """The stack over :func:`network_tensors`."""
    layers = len(stack.dilations)

    def pair(name: str) -> list[str]:
        return [at + name, f"{at}{name}.bias"]

    return {
        "kernel": stack.kernel,
        "dilations": list(stack.dilations),
        "unit": stack.unit,
        "front_weight": f"{at}front",
        "front_bias": f"{at}front.bias",
        "gates": [f"{at}gates.{layer}" for layer in range(layers)],
        "residuals": [pair(f"residual.{layer}") for layer in range(layers - bool(stack.skip))],
        **({"skip": pair("skip")} if stack.skip else {}),
        "head": pair("head"),
        "out": pair("out"),
    }


def write(stack: Stack, directory: Path) -> Path:
    """A directory that the engine loads."""
    return programs.write(directory, program(stack), tensors(stack))


def inputs(stack: Stack, streams: int, frames: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Features, uniforms and values of fresh streams."""
    rng = np.random.default_rng(seed)
    samples = max(0, frames * stack.base.hop - stack.base.latency)
    features = rng.normal(0.5, 0.5, (streams, frames, stack.base.channels)).astype(np.float32)
    draws = 2 if stack.outputs > 2 else 1
    uniforms = np.stack([noise.block(seed, row, 0, draws * samples) for row in range(streams)])
    return features, uniforms, np.clip(rng.normal(0, 0.1, (streams, samples)), -1, 1).astype(np.float32)


def parameters(stack: Stack, features: Array, values: Array) -> Array:
    """Parameters of given samples' distributions in one fresh stream, ``[samples] → [samples, outputs]``, float64."""
    weights = tensors(stack)
    w = {name: value.astype(float) for name, value in weights.items()}
    cond = programs.vectors(stack.base, weights, features)
    cond = cond[len(cond) - len(values) :]
    level = 3 * cond[:, -1] + np.log(0.0625) if stack.levelled else np.zeros(len(values))
    made = network(stack, w, np.concatenate([[0.0], values[:-1]]) * np.exp(-level), cond)
    third = stack.outputs // 3 or 1
    means = slice(third, 2 * third) if stack.outputs > 2 else slice(0, 1)
    made[:, means] *= np.exp(level)[:, None]
    made[:, means.stop :] += level[:, None]
    return made


def network(stack: Stack, weights: dict[str, Array], before: Array, cond: Array, at: str = "") -> Array:
    """Outputs of the stack for the samples before each, ``[samples], [samples, ≥ vector] → [samples, outputs]``."""
    w, x = {name.removeprefix(at): value for name, value in weights.items() if name.startswith(at)}, before / stack.unit

    def delayed(line: Array, steps: int) -> Array:
        return np.concatenate([np.zeros_like(line[:steps]), line])[: len(line)]

    a = w["front.bias"] + sum(
        delayed(x, stack.front - 1 - tap)[:, None] * w["front"][:, 0, tap] for tap in range(stack.front)
    )
    gated = []
    for layer, dilation in enumerate(stack.dilations):
        taps = np.concatenate([delayed(a, back * dilation) for back in range(stack.kernel - 1, -1, -1)], axis=1)
        inner = taps @ w[f"gates.{layer}"].T + cond[:, 2 * layer * stack.gate :][:, : 2 * stack.gate]
        gated.append(np.tanh(inner[:, : stack.gate]) / (1 + np.exp(-inner[:, stack.gate :])))
        if f"residual.{layer}" in w:
            a = a + gated[-1] @ w[f"residual.{layer}"].T + w[f"residual.{layer}.bias"]
    total = np.concatenate(gated, axis=1) @ w["skip"].T + w["skip.bias"] if stack.skip else a
    head = np.maximum(np.maximum(total, 0) @ w["head"].T + w["head.bias"], 0)
    return np.asarray(head @ w["out"].T + w["out.bias"])


def op(document: Document, name: str) -> Document:
    """The first op of that name."""
    found: Document = next(op for op in document["ops"] if op["op"] == name)
    return found


def refusal(document: Document, weights: dict[str, Array], spoil: Callable[[Document], Any], directory: Path) -> str:
    """What the engine says of a program that was spoilt."""
    spoil(document)
    with pytest.raises(SeqgenError) as caught:
        Engine(programs.write(directory, document, weights))
    return str(caught.value)
