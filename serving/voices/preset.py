"""A voice of random weights in a named shape, e.g. ``wavernn-896-sparse95-int8``: what serving costs, without training.

24 kHz, 80 bands, 12.5 ms a frame. Every matrix of the cell and its heads keeps the named share of its blocks, at random
places; the conditioning network is dense. It makes noise, at the cost of a voice.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from seqgen.bundle import Bundle, Manifest, write
from seqgen.errors import SeqgenError
from seqgen.runtime.native import PROGRAM, Format, NativeRuntime
from seqgen.spec import FeatureSpec, StateLeaf, StreamSpec
from serving.voices.capacity import calibrate
from serving.voices.vocoder import StreamingVocoder
from serving.voices.voice import LoadedVoice

_SHAPE = re.compile(r"wavernn-(?P<units>\d{2,4})-(?P<kind>dense|sparse(?P<percent>\d\d?))-(?P<form>int8|bf16|f32)")
_FORMATS = {"int8": "int8", "bf16": "bf16", "f32": "float32"}
_BLOCKS = {"int8": (16, 4), "bf16": (16, 2), "f32": (16, 1)}
_SPEC = FeatureSpec(sample_rate=24000, n_fft=2048, window=1200, hop=300, n_mels=80)
_CHANNELS = 128
_LATENCY = 750  # two frames of look-ahead, and half of one for the interpolation
Tensors = dict[str, npt.NDArray[np.float32]]


def open_preset(name: str, directory: Path) -> LoadedVoice:
    """Make the voice in ``directory`` and open it for serving.

    Raises:
        SeqgenError: for an unknown name, or where the native engine is not built.
    """
    form = _shape(name)["form"]
    bundle = write_preset(name, directory)
    runtime = NativeRuntime(bundle, format=cast(Format, _FORMATS[form]))
    vocoder = StreamingVocoder(bundle, runtime)
    vocoder.warm_up()
    return LoadedVoice(vocoder, calibrate(vocoder), sum(entry.size for entry in bundle.manifest.files))


def _shape(name: str) -> re.Match[str]:
    found = _SHAPE.fullmatch(name)
    if found is None or int(found["units"]) % 32:
        raise SeqgenError(
            f"unknown preset '{name[:60]}'", remedy="e.g. wavernn-896-sparse95-int8, or wavernn-512-dense-f32"
        )
    return found


def write_preset(name: str, directory: Path) -> Bundle:
    """The bundle of such a voice.

    Raises:
        SeqgenError: for an unknown name.
    """
    shape = _shape(name)
    units = int(shape["units"])

    def fill(folder: Path) -> None:
        weights = _weights(units, 1 - int(shape["percent"] or 0) / 100, _BLOCKS[shape["form"]])
        save_file(weights, folder / "weights.safetensors")
        save_file(_initial(units), folder / "initial.safetensors")
        (folder / PROGRAM).write_text(json.dumps(_program(), indent=1) + "\n", encoding="utf-8")

    manifest = Manifest(
        name=name,
        kind="vocoder",
        sample_rate=_SPEC.sample_rate,
        features=_SPEC,
        feature_signature=_SPEC.signature,
        speakers=(),
        codec="bytes16",
        symbols_per_sample=2,
        uniforms_per_sample=2,
        spec=StreamSpec(in_dim=_SPEC.n_mels, out_dim=1, up=_SPEC.hop, latency=_LATENCY, context=None),
        state=(StateLeaf("conditioner.0", (4, _SPEC.n_mels), "float32"),),
        licence="CC0-1.0",
        provenance={"made": "random weights"},
    )
    return write(directory, manifest, fill)


def _weights(units: int, density: float, block: tuple[int, int]) -> Tensors:
    rng = np.random.default_rng(0)

    def dense(*shape: int) -> npt.NDArray[np.float32]:
        fan = float(np.prod(shape[1:]))
        made: npt.NDArray[np.float32] = (rng.uniform(-1, 1, shape) / np.sqrt(fan)).astype(np.float32)
        return made

    def pruned(rows: int, columns: int) -> npt.NDArray[np.float32]:
        blocks = (rows // block[0], columns // block[1])
        keep = np.zeros(blocks[0] * blocks[1], np.float32)
        keep[rng.permutation(keep.size)[: round(keep.size * density)]] = 1
        mask: npt.NDArray[np.float32] = np.kron(keep.reshape(blocks), np.ones(block, np.float32))
        kept: npt.NDArray[np.float32] = dense(rows, columns) * mask
        return kept

    half, made = units // 2, {"body.recurrent": pruned(3 * units, units), "body.input": dense(3 * units, 3)}
    for inner, outer in (("o1", "o2"), ("o3", "o4")):
        made |= {f"body.{inner}.weight": pruned(half, half), f"body.{inner}.bias": np.zeros(half, np.float32)}
        made |= {f"body.{outer}.weight": pruned(256, half), f"body.{outer}.bias": np.zeros(256, np.float32)}
    made |= {"enter.weight": dense(_CHANNELS, _SPEC.n_mels, 5), "enter.bias": np.zeros(_CHANNELS, np.float32)}
    for i in (1, 2):
        made |= {f"block{i}.weight": dense(_CHANNELS, _CHANNELS, 3), f"block{i}.bias": np.zeros(_CHANNELS, np.float32)}
        made |= {f"mix{i}.weight": dense(_CHANNELS, _CHANNELS), f"mix{i}.bias": np.zeros(_CHANNELS, np.float32)}
    return made | {"leave.weight": dense(3 * units, _CHANNELS), "leave.bias": np.zeros(3 * units, np.float32)}


def _initial(units: int) -> Tensors:
    shapes = {"conditioner.0": (4, _SPEC.n_mels), "conditioner.1": (2, _CHANNELS), "conditioner.2": (2, _CHANNELS)}
    shapes["conditioner.4"] = (1, 3 * units)
    return {name: np.zeros((1, *shape), np.float32) for name, shape in shapes.items()}


def _program() -> dict[str, Any]:
    def conv(value: str, made: str, name: str, initial: str) -> dict[str, Any]:
        weights = {"weight": f"{name}.weight", "bias": f"{name}.bias"}
        return {"op": "conv", "in": value, "out": made, **weights, "dilation": 1, "initial": initial}

    def dense(value: str, made: str, name: str) -> dict[str, Any]:
        return {"op": "dense", "in": value, "out": made, "weight": f"{name}.weight", "bias": f"{name}.bias"}

    scale = {"start": 0, "stop": _SPEC.n_mels, "shift": _SPEC.silence, "scale": 1 / abs(_SPEC.silence)}
    ops: list[dict[str, Any]] = [
        {"op": "normalise", "in": "features", "out": "scaled", **scale},
        conv("scaled", "entered", "enter", "conditioner.0"),
        {"op": "relu", "in": "entered", "out": "value0"},
    ]
    for i in (1, 2):
        ops += [
            conv(f"value{i - 1}", f"conv{i}", f"block{i}", f"conditioner.{i}"),
            {"op": "relu", "in": f"conv{i}", "out": f"active{i}"},
            dense(f"active{i}", f"mixed{i}", f"mix{i}"),
            {"op": "add", "in": f"mixed{i}", "out": f"value{i}", "and": f"value{i - 1}"},
        ]
    ops += [
        dense("value2", "out", "leave"),
        {"op": "interpolate", "in": "out", "up": _SPEC.hop, "initial": "conditioner.4"},
    ]
    heads = [
        {"inner_weight": f"body.{inner}.weight", "inner_bias": f"body.{inner}.bias",
         "outer_weight": f"body.{outer}.weight", "outer_bias": f"body.{outer}.bias"}
        for inner, outer in (("o1", "o2"), ("o3", "o4"))
    ]  # fmt: skip
    # Rows: what of the last two bytes and the present coarse one goes into each gate's input, and the offset.
    inputs = [[1.0, 2.0**-8, 0.0, -127.998046875], [0.0, 2.0**-4, 0.0, -7.96875], [0.0, 0.0, 1.0, -127.5]]
    cell = {"op": "wavernn", "recurrent": "body.recurrent", "input": "body.input", "inputs": inputs, "heads": heads}
    ops += [cell | {"start": [128, 0]}, {"op": "categorical", "classes": 256}, {"op": "bytes16"}]
    return {
        "format": 1,
        "byte_order": "little",
        "sample_rate": _SPEC.sample_rate,
        "channels": _SPEC.n_mels,
        "hop": _SPEC.hop,
        "latency": _LATENCY,
        "precision": "float32",
        "tensors": ["weights.safetensors", "initial.safetensors"],
        "ops": ops,
    }
