"""Writes the seed corpus: tiny programs of every op, as inputs of ``load.cpp``.

python -m tests.engine.fuzz.seeds tests/engine/fuzz/corpus
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from seqgen.export import rounded
from tests.engine import flows, lanes, programs, stacks, symbols
from tests.engine.programs import Array, Shape

SHAPE = Shape(hidden=2, channels=2, width=1, taps=2, hop=2, latency=1)
GENERIC, NOISY_STATE = 4, 8


def packed(choices: int, document: dict[str, Any], weights: dict[str, Array] | bytes) -> bytes:
    """One input: choices (bits 0 and 1: weight format), the length of the program, the program, the tensors."""
    tensors = weights if isinstance(weights, bytes) else save(weights)
    program = json.dumps(document, separators=(",", ":")).encode()
    return bytes([choices]) + len(program).to_bytes(2, "little") + program + tensors


def speaker() -> tuple[dict[str, Any], dict[str, Array]]:
    """A second feature taken out and mapped by a dense layer without bias."""
    document, weights = programs.program(SHAPE), programs.tensors(SHAPE)
    document["ops"][1:1] = [
        {"op": "slice", "in": "features", "out": "hot", "start": 1, "stop": 2},
        {"op": "dense", "in": "hot", "out": "voice", "weight": "voice.weight"},
    ]
    document["ops"][5]["and"] = "voice"
    return document, weights | {"voice.weight": np.ones((1, 1), np.float32)}


def prediction() -> tuple[dict[str, Any], dict[str, Array]]:
    """A synthesis filter of order 2 over two bands."""
    document, weights = programs.program(SHAPE), programs.tensors(SHAPE)
    names = {name: name for name in ("level", "envelope", "correlation")}
    document["ops"].append({"op": "prediction", "silence": -11.5, **names})
    rng = np.random.default_rng(0)
    sizes = {"level": (2,), "envelope": (2, 3), "correlation": (3, 3)}
    return document, weights | {name: rng.normal(0, 1, size) for name, size in sizes.items()}


def rounded_weights() -> bytes:
    """Weights in 8 bits, whole and in blocks, and in 16 bits."""
    shape = Shape(hidden=8, channels=1, width=1, taps=1, hop=1, latency=0)
    document, weights = programs.program(shape) | {"precision": "int8"}, programs.tensors(shape)
    weights["recurrent"][1:-1] = 0
    for op in document["ops"]:
        if op["op"] == "conv":
            del op["initial"]
    with tempfile.TemporaryDirectory() as folder:
        rounded.write(document, weights, Path(folder) / rounded.FILE)
        tensors = (Path(folder) / rounded.FILE).read_bytes()
    assert b"recurrent.columns" in tensors
    return packed(0, document, tensors)


def staggered() -> tuple[dict[str, Any], dict[str, Array]]:
    """Two lanes that read each other through one block."""
    sizes = lanes.Staggered(SHAPE, lanes=2, horizon=0, channels=1, blocks=1)
    return lanes.program(sizes), lanes.tensors(sizes)


def stack(**options: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    """A WaveNet over real numbers."""
    sizes: dict[str, Any] = {"base": SHAPE, "dilations": (1, 2), "residual": 2, "gate": 2, "skip": 2, "head": 2}
    made = stacks.Stack(**(sizes | options))
    return stacks.program(made), stacks.tensors(made)


def mulaw() -> tuple[dict[str, Any], dict[str, Array]]:
    """A WaveNet over µ-law."""
    document, weights = stack(levelled=False, distribution=stacks.MIXTURE | {"mixtures": 1})
    cell = document["ops"][6]
    del cell["unit"]
    document["ops"][6] = cell | {"embedding": "embedding", "start": 128}
    document["ops"][7:] = [{"op": "categorical", "classes": 256}, {"op": "mulaw8"}]
    shapes = {"embedding": (256, 2), "front": (2, 2, 2), "out": (256, 2), "out.bias": (256,)}
    return document, weights | {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}


def context() -> tuple[dict[str, Any], dict[str, Array]]:
    """A WaveNet over real numbers with a context stack of every kind of layer."""
    document, weights = stack()
    document["ops"][7]["context"] = {
        "rate": 2,
        "ops": [
            {"op": "conv", "in": "features", "out": "a", "weight": "slow", "bias": "slow.bias", "dilation": 2,
             "initial": "fresh.slow"},
            {"op": "gelu", "in": "a", "out": "b"},
            {"op": "dense", "in": "b", "out": "c", "weight": "told"},
        ],
        "out": "c",
    }  # fmt: skip
    sizes = {"slow": (1, 2, 2), "slow.bias": (1,), "fresh.slow": (1, 2, 2), "told": (8, 1)}
    return document, weights | {name: np.full(size, 0.5, np.float32) for name, size in sizes.items()}


def student() -> tuple[dict[str, Any], dict[str, Array]]:
    """Two flows, levelled."""
    networks = (flows.small(1, residual=2, gate=2, head=2), flows.small(1, 2, residual=2, gate=2, head=2))
    sizes = flows.Flows(base=SHAPE, flows=networks)
    return flows.program(sizes), flows.tensors(sizes)


def alone(model: symbols.Model) -> tuple[dict[str, Any], dict[str, Array]]:
    """A network over symbols."""
    return symbols.program(model), symbols.tensors(model)


def translator() -> tuple[dict[str, Any], dict[str, Array]]:
    """An encoder of one block before a decoder of two."""
    small = symbols.Convolutional(classes=3, channels=1, dilations=(1,))
    decoder = symbols.Convolutional(classes=2, channels=1, dilations=(1, 2), translates=True)
    return symbols.with_source(decoder, symbols.Source(2, small))


def seeds() -> dict[str, bytes]:
    """Inputs by name."""
    plain = programs.program(SHAPE), programs.tensors(SHAPE)
    wide = Shape(hidden=2, channels=1, width=1, taps=3, hop=1, latency=0)
    dilated = programs.program(wide), programs.tensors(wide) | {"fresh.enter": np.ones((1, 6, 1), np.float32)}
    dilated[0]["ops"][1]["dilation"] = 3
    return {
        "plain": packed(1, *plain),
        "speaker-bf16": packed(2 + GENERIC, *speaker()),
        "prediction-int8": packed(3 + NOISY_STATE, *prediction()),
        "dilated": packed(NOISY_STATE, *dilated),
        "rounded": rounded_weights(),
        "lanes": packed(1 + GENERIC, *staggered()),
        "lanes-int8": packed(3 + NOISY_STATE, *staggered()),
        "mixture": packed(1, *stack()),
        "gaussian-int8": packed(3 + NOISY_STATE, *stack(distribution=stacks.GAUSSIAN, skip=0, kernel=3)),
        "mulaw-bf16": packed(2 + GENERIC, *mulaw()),
        "context": packed(1, *context()),
        "context-int8": packed(3 + GENERIC, *context()),
        "flows": packed(1 + NOISY_STATE, *student()),
        "flows-int8": packed(3 + GENERIC, *student()),
        "recurrent": packed(1 + NOISY_STATE, *alone(symbols.Recurrent(3, 1, 2, 2))),
        "recurrent-wide-int8": packed(3, *alone(symbols.Recurrent(257, 1, 1, 1))),
        "rectified-int8": packed(3 + GENERIC, *alone(symbols.Convolutional(3, 2, 2, (1, 3)))),
        "multiplicative": packed(1 + NOISY_STATE, *alone(symbols.Convolutional(3, 1, 2, (2,), rectified=False))),
        "translator-bf16": packed(2, *translator()),
    }


if __name__ == "__main__":
    for name, content in seeds().items():
        (Path(sys.argv[1]) / name).write_bytes(content)
