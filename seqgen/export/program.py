"""A vocoder as ``program.json``: the list of ops that the native engine runs over the bundle's tensors.

``{"format": 1, "byte_order", "sample_rate", "channels", "hop", "latency", "precision", "tensors":
[files], "ops": [...]}``. The ops of the
conditioning network name the values they take and make (``features`` is what comes in); one op each follows for
interpolation, cell (for a levelled one the level before it, see :mod:`seqgen.export.stack`), distribution, codec and, where
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

from seqgen.audio.codec import Bytes16
from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.export import rounded, stack
from seqgen.export.network import Network, Op
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.subscale.generator import Subscale
from seqgen.generation.vocoder import Vocoder
from seqgen.models.frames import FrameConditioner
from seqgen.models.wavernn import SILENCE, WaveRNN, scale
from seqgen.nets.layers import CausalConv1d, Dense

FORMAT = 1
MOST_LANES = 16
FILE = "program.json"
WEIGHTS, INITIAL = "weights.safetensors", "initial.safetensors"
Precision = Literal["float32", "bf16", "int8"]


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
        drawn = isinstance(generator, (AutoRegressive, Subscale)) and isinstance(generator.distribution, Categorical)
        return drawn and generator.lanes <= MOST_LANES and isinstance(codec, Bytes16)
    return stack.runnable(generator, codec)


def named(vocoder: Vocoder) -> str:
    """What messages call the network of a vocoder."""
    generator = vocoder.generator
    lanes = f" of {generator.lanes} lanes" if generator.lanes > 1 else ""
    return f"a {type(generator).__name__} density over {type(generator.body).__name__}{lanes}"


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
        distribution = getattr(generator, "distribution", None)
        kind = "no distribution" if distribution is None else type(distribution).__name__
        raise SeqgenError(
            f"the native engine has no ops for {type(generator.body).__name__} with {kind}; it runs conditioned "
            "WaveRNNs over bytes, of up to 16 lanes, WaveNets over µ-law, logistic mixtures or Gaussians, and Parallel "
            "WaveNets",
            remedy="run this voice through onnxruntime",
        )
    net, body = generator.conditioner, generator.body
    assert isinstance(net, FrameConditioner)
    state = vocoder.init_state(1)
    network = Network(generator, state)
    network.conditioner(net, state.conditioner.network if isinstance(generator, Subscale) else state.conditioner)
    files = [WEIGHTS, INITIAL]
    if isinstance(body, WaveRNN):
        lanes = [_lanes(generator)] if isinstance(generator, Subscale) else []
        cell = [_cell(body), *lanes, {"op": "categorical", "classes": generator.num_params}, {"op": "bytes16"}]
    else:
        cell = stack.ops(generator, vocoder.codec, state)
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
