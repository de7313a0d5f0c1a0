#!/usr/bin/env python3
"""Speed and accuracy of the native engine on the weights of a real trained sparse WaveRNN.

    python tools/bench_wavernn_lyra.py --data DIR [--format int8|bf16|float32] [--streams N] [--seconds S] [--isa NAME]

DIR holds ``768_512_95_4x4_*.raw.gz``, test data of google/lyra v0.0.2 (``sparse_matmul/layers/testdata``): float32,
row-major. Hidden size 1024 in two halves, 4x4 blocks, 5 % of them not zero.

What maps onto the engine's ops: the recurrent matrix [3072, 1024], gate rows (r, u, n) of the coarse half, then of the
fine one; the input columns, of which QRhat has (c, f) of the sample before for each of the 3072 rows and What c_t for
the 1536 rows of the fine half; both projections [512, 512] with their ReLU, and both logits [256, 512]. What does not:

- The recurrent bias stands inside the reset gate, n = tanh(.. + r (R h + b)), where the engine has none. Biases of r
  and u go into the conditioning vector. That of n goes through a unit that is always 1, in a half of 513 units; in a
  fresh stream it is 0, so the first sample lacks this bias, here and in the reference.
- No conditioning network was published. Each frame's vector is a constant; it is interpolated sample by sample all the
  same. What this network says is therefore no speech, and far from what it was trained on.

The scale of the bytes is the paper's, 2 byte / 255 - 1. Logits are compared with a dense float64 computation.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from seqgen.cli.bench_engine import Measurement, measure_apart
from seqgen.errors import SeqgenError
from seqgen.runtime.native import Engine, Format

PREFIX = "768_512_95_4x4_"
HALF, CLASSES = 512, 256
HEADS = ("coarse", "fine")
RATE, HOP = 16000, 160
CHECKED_STREAMS, CHECKED = 8, 48
SHUT = 30.0  # as a gate's input: e^-30 vanishes beside 1 in float32
BYTES = np.array([[2 / 255, 0, 0, -1], [0, 2 / 255, 0, -1], [0, 0, 2 / 255, -1]])

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Head:
    """Projection and logits of one half: ``W2 relu(W1 y + b1) + b2``."""

    inner: Array
    inner_bias: Array
    outer: Array
    outer_bias: Array


@dataclass(frozen=True)
class Net:
    """The published weights, float32.

    Attributes:
        recurrent, bias: ``[3072, 1024]`` and ``[3072]``, rows (r, u, n) of the coarse half, then of the fine one.
        inputs: ``[3072, 3]``, columns of c_{t-1}, f_{t-1} and c_t; the last is zero in the coarse half.
        heads: of the coarse half, then of the fine one.
    """

    recurrent: Array
    bias: Array
    inputs: Array
    heads: tuple[Head, Head]


def read(folder: Path, name: str, *shape: int) -> Array:
    """One array of the published files.

    Raises:
        SeqgenError: where it is missing, damaged or of another size.
    """
    path = folder / f"{PREFIX}{name}.raw.gz"
    try:
        values = np.frombuffer(gzip.decompress(path.read_bytes()), "<f4")
    except (OSError, EOFError, ValueError) as error:
        raise SeqgenError(
            f"{path}: cannot be read ({error})", remedy="give the folder of lyra's sparse_matmul/layers/testdata"
        ) from error
    if values.size != np.prod(shape) or not np.isfinite(values).all():
        raise SeqgenError(f"{path}: {values.size} numbers, expected {shape}", remedy="fetch the files of v0.0.2 again")
    return values.reshape(shape)


def load(folder: Path) -> Net:
    """The network of the published files; weights outside their mask count as zero."""

    def masked(name: str, *shape: int) -> Array:
        return read(folder, f"{name}_weights", *shape) * (read(folder, f"{name}_mask", *shape) != 0)

    inputs = np.zeros((6 * HALF, 3), np.float32)
    inputs[:, :2] = read(folder, "QRhat_weights", 6 * HALF, 2)
    inputs[3 * HALF :, 2] = read(folder, "What_weights", 3 * HALF)
    coarse, fine = (
        Head(
            masked(f"{name}proj", HALF, HALF), read(folder, f"{name}proj_bias", HALF),
            masked(f"{name}logit", CLASSES, HALF), read(folder, f"{name}logit_bias", CLASSES),
        )
        for name in HEADS
    )  # fmt: skip
    recurrent = masked("wavernn_gru", 6 * HALF, 2 * HALF)
    return Net(recurrent, read(folder, "wavernn_gru_bias", 6 * HALF), inputs, (coarse, fine))


def tensors(net: Net) -> dict[str, Array]:
    """The engine's tensors: halves of 513 units, the last of the coarse one always 1 (that of the fine one idles)."""
    units = HALF + 1
    recurrent = np.zeros((6, units, 2, units), np.float32)
    recurrent[:, :HALF, :, :HALF] = net.recurrent.reshape(6, HALF, 2, HALF)
    bias = net.bias.reshape(6, HALF)
    conditioning = np.zeros((6, units), np.float32)
    for gate in range(6):
        if gate % 3 == 2:
            recurrent[gate, :HALF, 0, HALF] = bias[gate]
        else:
            conditioning[gate, :HALF] = bias[gate]
    conditioning[1, HALF], conditioning[2, HALF] = -SHUT, SHUT
    inputs = np.zeros((6, units, 3), np.float32)
    inputs[:, :HALF] = net.inputs.reshape(6, HALF, 3)
    made = {
        "recurrent": recurrent.reshape(6 * units, 2 * units),
        "input": inputs.reshape(6 * units, 3),
        "conditioning.weight": np.zeros((6 * units, 1), np.float32),
        "conditioning.bias": conditioning.ravel(),
        "fresh": conditioning.reshape(1, 1, -1),
    }
    for name, head in zip(HEADS, net.heads, strict=True):
        made[f"{name}.inner_weight"] = np.pad(head.inner, (0, 1))
        made[f"{name}.inner_bias"] = np.pad(head.inner_bias, (0, 1))
        made[f"{name}.outer_weight"] = np.pad(head.outer, ((0, 0), (0, 1)))
        made[f"{name}.outer_bias"] = head.outer_bias
    return {name: np.ascontiguousarray(value) for name, value in made.items()}


def program() -> dict[str, Any]:
    """The ops over those tensors."""
    parts = [f"{layer}_{kind}" for layer in ("inner", "outer") for kind in ("weight", "bias")]
    heads = [{part: f"{name}.{part}" for part in parts} for name in HEADS]
    dense = {"weight": "conditioning.weight", "bias": "conditioning.bias"}
    return {
        "format": 1, "byte_order": "little", "sample_rate": RATE, "channels": 1, "hop": HOP, "latency": 0,
        "precision": "float32", "tensors": ["weights.safetensors"],
        "ops": [
            {"op": "dense", "in": "features", "out": "vector", **dense},
            {"op": "interpolate", "in": "vector", "up": HOP, "initial": "fresh"},
            {"op": "wavernn", "recurrent": "recurrent", "input": "input", "inputs": BYTES.tolist(), "heads": heads,
             "start": [128, 0]},
            {"op": "categorical", "classes": CLASSES},
            {"op": "bytes16"},
        ],
    }  # fmt: skip


def reference(net: Net, elements: Array) -> Array:
    """Logits of given bytes ``[streams, 2 samples]`` of fresh streams, dense in float64, ``[streams, 2 samples, 256]``.

    r, u = σ(W x + R h + b),  n = tanh(W x + r (R h + b)),  h' = u h + (1 - u) n
    """
    recurrent, bias, inputs = (part.astype(float) for part in (net.recurrent, net.bias, net.inputs))
    heads = [Head(*(part.astype(float) for part in vars(head).values())) for head in net.heads]
    streams = len(elements)
    hidden, before, made = np.zeros((streams, 2 * HALF)), np.tile([128.0, 0.0], (streams, 1)), []
    for pair in elements.reshape(streams, -1, 2).transpose(1, 0, 2).astype(float):
        codes = np.concatenate([before, pair[:, :1], np.ones((streams, 1))], axis=1)
        g = (codes @ BYTES.T @ inputs.T).reshape(streams, 6, HALF)
        within = bias.reshape(6, HALF).copy()
        if not made:
            within[[2, 5]] = 0  # a fresh stream's unit of ones is still zero
        p = (hidden @ recurrent.T).reshape(streams, 6, HALF) + within
        for half, head in enumerate(heads):
            r, u = (1 / (1 + np.exp(-(g[:, 3 * half + k] + p[:, 3 * half + k]))) for k in (0, 1))
            n = np.tanh(g[:, 3 * half + 2] + r * p[:, 3 * half + 2])
            own = slice(half * HALF, (half + 1) * HALF)
            hidden[:, own] = u * hidden[:, own] + (1 - u) * n
            inner = np.maximum(hidden[:, own] @ head.inner.T + head.inner_bias, 0)
            made.append(inner @ head.outer.T + head.outer_bias)
        before = pair
    return np.stack(made, axis=1)


def write(net: Net, directory: Path) -> None:
    """``program.json`` and its tensors."""
    (directory / "program.json").write_text(json.dumps(program()))
    save_file(tensors(net), directory / "weights.safetensors")


def drawn(directory: Path) -> Array:
    """Bytes that the network itself draws in float32 from fresh states, ``[streams, 2 samples]``."""
    pcm, ids = np.empty((CHECKED_STREAMS, HOP), np.int16), np.arange(CHECKED_STREAMS, dtype=np.uint64)
    engine = Engine(directory, format="float32")
    engine.run(
        engine.init(len(pcm)), np.zeros((len(pcm), 1, 1), np.float32), HOP, drawing=True, seed=1,
        given={"stream_ids": ids, "positions": 0 * ids}, made={"pcm": pcm}, temperature=1.0,
    )  # fmt: skip
    code = pcm.astype(np.int64) + 32768
    return np.stack([code >> 8, code & 255], axis=2).reshape(len(pcm), -1).astype(np.uint8)


def log_softmax(logits: Array) -> Array:
    """Natural logarithms of the classes' probabilities."""
    below = logits - logits.max(-1, keepdims=True)
    return np.asarray(below - np.log(np.exp(below).sum(-1, keepdims=True)))


def compare(
    directory: Path, form: Format, elements: Array, expected: Array, isa: str | None = None
) -> dict[str, float]:
    """Largest error of a logit over the largest logit, and the mean Kullback–Leibler divergence in nats per byte.

    Over the first ``CHECKED`` samples of each stream: without conditioning the recurrence magnifies any rounding.
    """
    logits = np.empty((*elements.shape, CLASSES), np.float32)
    engine = Engine(directory, format=form, isa=isa)
    engine.run(
        engine.init(len(elements)), np.zeros((len(elements), 1, 1), np.float32), HOP, drawing=False,
        given={"elements": elements}, made={"logits": logits},
    )  # fmt: skip
    got = logits[:, : expected.shape[1]].astype(float)
    ours, theirs = log_softmax(got), log_softmax(expected)
    return {
        "logits_error": float(np.abs(got - expected).max() / np.abs(expected).max()),
        "divergence_nats": float((np.exp(theirs) * (theirs - ours)).sum(-1).mean()),
    }


def parse(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .raw.gz files")
    parser.add_argument("--format", default="int8", choices=["int8", "bf16", "float32"])
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--isa", help="kernels by name (default: the fastest here)")
    parser.add_argument("--json", action="store_true", help="print one object")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Check, measure, print."""
    given = parse(words)
    try:
        net = load(given.data)
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch)
            write(net, directory)
            elements = drawn(directory)
            error = compare(directory, given.format, elements, reference(net, elements[:, : 2 * CHECKED]), given.isa)
            name = f"lyra-wavernn-1024-{given.format}"
            wanted = Measurement(given.format, given.streams, given.seconds, isa=given.isa)
            row = measure_apart(name, directory, wanted)
    except SeqgenError as wrong:
        print(f"bench_wavernn_lyra: {wrong}", file=sys.stderr)
        return 1
    row |= {key: round(value, 6) for key, value in error.items()}
    sys.stdout.write(json.dumps(row) + "\n" if given.json else "".join(f"{k:<20} {v}\n" for k, v in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
