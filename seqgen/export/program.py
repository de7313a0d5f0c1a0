"""A vocoder as ``program.json``: the list of ops that the native engine runs over the bundle's tensors.

``{"format": 1, "byte_order", "sample_rate", "channels", "hop", "latency", "precision", "tensors":
[files], "ops": [...]}``. The ops of the
conditioning network name the values they take and make (``features`` is what comes in); one op each follows for
interpolation, cell (for a levelled one the level before it, see :mod:`seqgen.export.stack`), emission, codec and, where
there is one, the synthesis filter. Weights are named as in
``weights.safetensors``, states of a fresh stream as in ``initial.safetensors``. A voice whose lanes run side by side
has one op more behind the cell, ``lanes``: their number and horizon, and the layers of the network that reads the lanes
before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from seqgen.audio.codec import Bytes16
from seqgen.emissions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.export import rounded, stack
from seqgen.models.frames import FrameConditioner
from seqgen.models.wavernn import SILENCE, WaveRNN, scale
from seqgen.nets.layers import ACTIVATIONS, Activation, CausalConv1d, Dense
from seqgen.sample import AutoRegressive, Vocoder
from seqgen.stream.combinators import Interpolate, Residual, Serial
from seqgen.stream.contract import Streamable
from seqgen.stream.state import leaves
from seqgen.subscale import Subscale

FORMAT = 1
MOST_LANES = 16
FILE = "program.json"
WEIGHTS, INITIAL = "weights.safetensors", "initial.safetensors"
Op = dict[str, Any]
Precision = Literal["float32", "bf16", "int8"]


class _Network:
    """Collects the ops of a conditioning network, value by value.

    Args:
        weights: the generator, whose parameter names the ops use. state: that of one fresh stream.
    """

    def __init__(self, weights: nn.Module, state: Any) -> None:
        self.ops: list[Op] = []
        self._tensors = {id(parameter): name for name, parameter in weights.named_parameters()}
        self._states = {id(leaf): name for name, leaf in leaves(state)}

    def conditioner(self, net: FrameConditioner, state: Any) -> str:
        """Ops of the whole network; returns the name of the value that the interpolation takes."""
        mels, silence = net.features.n_mels, net.features.silence
        scaled = self._add("normalise", "features", start=0, stop=mels, shift=silence, scale=1 / abs(silence))
        value = self.layer(net.enter, state[0], scaled)
        if net.speaker is not None:
            hot = self._add("slice", "features", start=mels, stop=mels + net.speakers)
            voice = self._add("dense", hot, weight=self._tensors[id(net.speaker.weight)])
            value = self._add("add", value, **{"and": voice})
        return self.layer(net.rest, state[1], value)

    def layer(self, layer: Streamable[Any], state: Any, value: str) -> str:
        """Ops of one layer over ``value``; returns the name of what it makes.

        Raises:
            SeqgenError: for a layer that the engine has no op for.
        """
        if isinstance(layer, Serial):
            for part, inner in zip(layer.layers, state, strict=True):
                value = self.layer(part, inner, value)  # type: ignore[arg-type]
            return value
        if isinstance(layer, Residual) and not layer.spec.latency:
            return self._add("add", self.layer(layer.body, state.body, value), **{"and": value})
        if isinstance(layer, CausalConv1d):
            initial = {"initial": self._states[id(state)]} if layer.left else {}
            return self._add("conv", value, **self._linear(layer), dilation=layer.dilation, **initial)
        if isinstance(layer, Dense):
            return self._add("dense", value, **self._linear(layer.linear))
        if isinstance(layer, Activation) and layer.function is ACTIVATIONS["relu"]:
            return self._add("relu", value)
        if isinstance(layer, Interpolate):
            self.ops.append({"op": "interpolate", "in": value, "up": layer.spec.up, "initial": self._states[id(state)]})
            return value
        raise SeqgenError(
            f"the native engine has no op for {type(layer).__name__}", remedy="run this voice through onnxruntime"
        )

    def _linear(self, layer: nn.Linear | CausalConv1d) -> dict[str, str]:
        return {"weight": self._tensors[id(layer.weight)], "bias": self._tensors[id(layer.bias)]}

    def _add(self, op: str, value: str, **options: Any) -> str:
        made = f"value.{len(self.ops)}"
        self.ops.append({"op": op, "in": value, "out": made, **options})
        return made


def _inputs(body: WaveRNN) -> list[list[float]]:
    """``A`` of ``inputs = A [c_{t-1}, f_{t-1}, c_t, 1]``: the body's mixture of scaled bytes."""
    shift = float(scale(torch.zeros(()), body.mix))
    return [[*row, shift * sum(row)] for row in body.mix.double().tolist()]


def _cell(body: WaveRNN) -> Op:
    heads = [
        {"inner_weight": f"body.{inner}.weight", "inner_bias": f"body.{inner}.bias",
         "outer_weight": f"body.{outer}.weight", "outer_bias": f"body.{outer}.bias"}
        for inner, outer in (("o1", "o2"), ("o3", "o4"))
    ]  # fmt: skip
    return {
        "op": "wavernn",
        "recurrent": "body.recurrent",
        "input": "body.input",
        "inputs": _inputs(body),
        "heads": heads,
        "start": [SILENCE, Bytes16.start],
    }


def _lanes(generator: Subscale) -> Op:
    name, config = "context.net.layers", generator.config
    enter, *blocks, leave = generator.context.net.layers
    assert isinstance(enter, CausalConv1d)
    assert isinstance(leave, Dense)

    def pair(part: str, kind: str = "") -> dict[str, str]:
        return {f"{kind}{one}": f"{name}.{part}.{one}" for one in ("weight", "bias")}

    return {
        "op": "lanes",
        "lanes": config.lanes,
        "horizon": config.horizon,
        "look_ahead": generator.look_ahead,
        "unit": config.unit,
        "enter": pair("0"),
        "blocks": [
            {
                "dilation": 2**k,
                **pair(f"{k + 1}.body.layers.1", "conv_"),
                **pair(f"{k + 1}.body.layers.3.linear", "dense_"),
            }
            for k in range(len(blocks))
        ],
        "leave": pair(f"{len(blocks) + 1}.linear"),
    }


def runnable(vocoder: Vocoder) -> bool:
    """Whether the engine has ops for this kind of vocoder: a conditioned WaveRNN over bytes, of up to 16 lanes, a
    WaveNet or a Parallel WaveNet (see :func:`seqgen.export.stack.runnable`)."""
    generator, codec = vocoder.generator, vocoder.codec
    if not isinstance(generator.conditioner, FrameConditioner):
        return False
    if isinstance(generator.body, WaveRNN):
        drawn = isinstance(generator, (AutoRegressive, Subscale)) and isinstance(generator.emission, Categorical)
        return drawn and generator.lanes <= MOST_LANES and isinstance(codec, Bytes16)
    return stack.runnable(generator, codec)


def program(vocoder: Vocoder, precision: Precision = "float32") -> dict[str, Any]:
    """The program of a vocoder; ``precision`` is the weight format that the engine takes unless told otherwise.

    Raises:
        SeqgenError: for a vocoder that the engine cannot run (see :func:`runnable`).

    Example:
        >>> [op["op"] for op in program(vocoder)["ops"]][-4:]              # doctest: +SKIP
        ['interpolate', 'wavernn', 'categorical', 'bytes16']
    """
    generator = vocoder.generator
    if not runnable(vocoder):
        emission = getattr(generator, "emission", None)
        kind = "no emission" if emission is None else type(emission).__name__
        raise SeqgenError(
            f"the native engine has no ops for {type(generator.body).__name__} with {kind}; it runs conditioned "
            "WaveRNNs over bytes, of up to 16 lanes, WaveNets over µ-law, logistic mixtures or Gaussians, and Parallel "
            "WaveNets",
            remedy="run this voice through onnxruntime",
        )
    net, body = generator.conditioner, generator.body
    assert isinstance(net, FrameConditioner)
    state = vocoder.init_state(1)
    network = _Network(generator, state)
    network.conditioner(net, state.conditioner.network if isinstance(generator, Subscale) else state.conditioner)
    files = [WEIGHTS, INITIAL]
    if isinstance(body, WaveRNN):
        lanes = [_lanes(generator)] if isinstance(generator, Subscale) else []
        cell = [_cell(body), *lanes, {"op": "categorical", "classes": generator.params}, {"op": "bytes16"}]
    else:
        cell = stack.ops(generator, vocoder.codec)
    ops = [*network.ops, *cell]
    if vocoder.prediction is not None:
        files.append("prediction.safetensors")
        tensors = {name: name for name in ("level", "envelope", "correlation")}
        ops.append({"op": "prediction", "silence": net.features.silence, **tensors})
    return {
        "format": FORMAT,
        "byte_order": "little",
        "sample_rate": net.features.sample_rate,
        "channels": net.spec.in_dim,
        "hop": net.spec.up,
        "latency": generator.latency,
        "precision": precision,
        "tensors": files,
        "ops": ops,
    }


def write(
    vocoder: Vocoder, directory: Path, precision: Precision = "float32", alone: Mapping[str, Any] | None = None
) -> None:
    """Write ``directory/program.json``; the tensors it names are those that the bundle holds anyway.

    Where no other runtime reads the bundle, ``alone`` has them by name: they are written rounded, see
    :mod:`seqgen.export.rounded`.
    """
    document = program(vocoder, precision)
    if alone is not None:
        others = [name for name in document["tensors"] if name not in (WEIGHTS, INITIAL)]
        document["tensors"] = [rounded.FILE, *others]
        rounded.write(document, alone, directory / rounded.FILE)
    text = json.dumps(document, indent=1)
    (directory / FILE).write_text(text + "\n", encoding="utf-8")
