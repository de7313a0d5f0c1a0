"""Random WaveRNN programs for the native engine, written without torch: what serving a voice costs, without training.

Every matrix of the cell and its heads keeps the preset's share of its blocks, at random places; the conditioning
network is dense. It makes noise, at the cost of a voice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from seqgen import bundle
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.manifest import VocoderManifest
from seqgen.presets import Preset
from seqgen.runtime.native import PROGRAM
from seqgen.spec import FeatureSpec, StateLeaf, StreamSpec

_CHANNELS = 128
Tensors = dict[str, npt.NDArray[np.float32]]


def write(preset: Preset, directory: Path) -> Bundle:
    """Write the bundle of a preset, of 24 kHz and two bytes a sample.

    Raises:
        SeqgenError: where the units are not whole blocks in both halves of the cell.
    """
    units, spec = int(preset.model["hidden"]), preset.features
    if units % 32:
        raise SeqgenError(f"unknown preset '{preset.name[:60]}': {units} units", remedy="choose a multiple of 32")

    def fill(folder: Path) -> None:
        save_file(_weights(units, spec.bands, preset.kept, preset.block), folder / "weights.safetensors")
        save_file(_initial(units, spec.bands), folder / "initial.safetensors")
        (folder / PROGRAM).write_text(json.dumps(_program(spec), indent=1) + "\n", encoding="utf-8")

    manifest = VocoderManifest(
        name=preset.name,
        kind="vocoder",
        sample_rate=spec.sample_rate,
        features=spec,
        feature_signature=spec.signature,
        speakers=(),
        codec=preset.codec,
        symbols_per_sample=2,
        uniforms_per_sample=2,
        spec=StreamSpec(in_dim=spec.bands, out_dim=1, up=spec.hop, latency=_latency(spec), context=None),
        state=(StateLeaf("conditioner.0", (4, spec.bands), "float32"),),
        licence="CC0-1.0",
        provenance={"made": "random weights"},
    )
    return bundle.write(directory, manifest, fill)


def _latency(spec: FeatureSpec) -> int:
    """Two frames of look-ahead, and half of one for the interpolation."""
    return 5 * spec.hop // 2


def _weights(units: int, bands: int, density: float, block: tuple[int, int]) -> Tensors:
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
    made |= {"enter.weight": dense(_CHANNELS, bands, 5), "enter.bias": np.zeros(_CHANNELS, np.float32)}
    for i in (1, 2):
        made |= {f"block{i}.weight": dense(_CHANNELS, _CHANNELS, 3), f"block{i}.bias": np.zeros(_CHANNELS, np.float32)}
        made |= {f"mix{i}.weight": dense(_CHANNELS, _CHANNELS), f"mix{i}.bias": np.zeros(_CHANNELS, np.float32)}
    return made | {"leave.weight": dense(3 * units, _CHANNELS), "leave.bias": np.zeros(3 * units, np.float32)}


def _initial(units: int, bands: int) -> Tensors:
    shapes = {"conditioner.0": (4, bands), "conditioner.1": (2, _CHANNELS), "conditioner.2": (2, _CHANNELS)}
    shapes["conditioner.4"] = (1, 3 * units)
    return {name: np.zeros((1, *shape), np.float32) for name, shape in shapes.items()}


def _program(spec: FeatureSpec) -> dict[str, Any]:
    def conv(value: str, made: str, name: str, initial: str) -> dict[str, Any]:
        weights = {"weight": f"{name}.weight", "bias": f"{name}.bias"}
        return {"op": "conv", "in": value, "out": made, **weights, "dilation": 1, "initial": initial}

    def dense(value: str, made: str, name: str) -> dict[str, Any]:
        return {"op": "dense", "in": value, "out": made, "weight": f"{name}.weight", "bias": f"{name}.bias"}

    scale = {"start": 0, "stop": spec.bands, "shift": spec.silence, "scale": 1 / abs(spec.silence)}
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
        {"op": "interpolate", "in": "out", "up": spec.hop, "initial": "conditioner.4"},
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
        "sample_rate": spec.sample_rate,
        "channels": spec.bands,
        "hop": spec.hop,
        "latency": _latency(spec),
        "precision": "float32",
        "tensors": ["weights.safetensors", "initial.safetensors"],
        "ops": ops,
    }
