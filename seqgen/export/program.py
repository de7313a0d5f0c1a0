"""A vocoder as ``program.json``: the list of ops that the native engine runs over the bundle's tensors.

``{"format": 1, "byte_order", "sample_rate", "channels", "hop", "latency", "precision", "tensors":
[files], "ops": [...]}``. The ops of the conditioning network name the values they take and make (``features`` is what
comes in). Behind them stand the interpolation, where there is one the gain that samples are divided by, the network's
own op (its exporter writes it, :mod:`seqgen.export.contract`), what the density puts behind it (its exporter again, the
distribution among it), the codec, and where there are some the sum of bands and the synthesis filter. Weights are named
as in ``weights.safetensors``, states of a fresh stream as in ``initial.safetensors``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from seqgen import registry
from seqgen.errors import SeqgenError
from seqgen.export import rounded
from seqgen.export.contract import Placed, density_exporter, network_exporter
from seqgen.export.distributions import CODECS
from seqgen.export.network import Network, Op
from seqgen.generation.vocoder import Vocoder
from seqgen.models.frames import FrameConditioner

FORMAT = 1
FILE = "program.json"
WEIGHTS, INITIAL = "weights.safetensors", "initial.safetensors"
Precision = Literal["float32", "bf16", "int8"]


def runnable(vocoder: Vocoder) -> bool:
    """Test for the engine to have ops for a kind of vocoder."""
    return isinstance(vocoder.generator.conditioner, FrameConditioner) and _drawing(vocoder) is not None


def _drawing(vocoder: Vocoder) -> list[Op] | None:
    """The ops between network and codec; None where the engine has none for the density, its network or the codec."""
    generator, codec = vocoder.generator, vocoder.codec
    density = density_exporter(generator)
    inside = density.placed(generator).network
    network = network_exporter(inside)
    if network is None or not isinstance(codec, network.codecs) or not network.fits(inside):
        return None
    return density.drawing(generator, codec)


def named(vocoder: Vocoder) -> str:
    """Name of a vocoder's network in messages."""
    generator = vocoder.generator
    lanes = f" of {generator.lanes} lanes" if generator.lanes > 1 else ""
    density, body = type(generator).__name__, type(generator.body).__name__
    return f"{'an' if density[0] in 'AEIOU' else 'a'} {density} density over {body}{lanes}"


def program(vocoder: Vocoder, sample_rate: int, precision: Precision = "float32") -> dict[str, Any]:
    """The program of a vocoder of so many Hz; ``precision`` is the weight format that the engine takes unless told
    otherwise.

    Raises:
        SeqgenError: for a vocoder that the engine cannot run (see :func:`runnable`).

    Example:
        >>> [op["op"] for op in program(vocoder, 8000)["ops"]][-3:]              # doctest: +SKIP
        ['levelled', 'gaussian', 'float']
    """
    if not runnable(vocoder):
        raise _without_ops(vocoder)
    generator = vocoder.generator
    net = generator.conditioner
    assert isinstance(net, FrameConditioner)
    files, state = [WEIGHTS, INITIAL], vocoder.init_state(1)
    ops = _ops(vocoder, net, state)
    if vocoder.sum is not None:
        ops.append({"op": "bands", "weights": vocoder.sum.weights.double().tolist()})
    if vocoder.prediction is not None:
        files.append("prediction.safetensors")
        tensors = {name: name for name in ("level", "envelope", "correlation")}
        ops.append({"op": "prediction", "silence": net.silence, **tensors})
    return {
        "format": FORMAT,
        "byte_order": "little",
        "sample_rate": sample_rate,
        "channels": net.spec.in_dim,
        "hop": net.spec.up,
        "latency": generator.latency,
        "precision": precision,
        "tensors": files,
        "ops": ops,
    }


def _ops(vocoder: Vocoder, net: FrameConditioner, state: Any) -> list[Op]:
    """The ops from features to samples."""
    generator, codec = vocoder.generator, vocoder.codec
    density = density_exporter(generator)
    layers = functools.partial(Network, generator, state)
    conditioning = layers()
    conditioning.conditioner(net, density.conditioner_state(state))
    placed: Placed = replace(density.placed(generator, state), start=codec.start)
    network, drawing = network_exporter(placed.network), _drawing(vocoder)
    assert network is not None
    assert drawing is not None
    own = network.described(placed, layers)
    return [*conditioning.ops, *placed.gain(), own, *drawing, {"op": CODECS[type(codec)]}]


def _without_ops(vocoder: Vocoder) -> SeqgenError:
    generator = vocoder.generator
    distribution = getattr(generator, "distribution", None)
    kind = "no distribution" if distribution is None else type(distribution).__name__
    runs = (registry.NETWORK_EXPORTERS.load(name).runs for name in registry.NETWORK_EXPORTERS)
    return SeqgenError(
        f"the native engine has no ops for {type(generator.body).__name__} with {kind}; it runs "
        + ", ".join(dict.fromkeys(runs)),
        remedy="run this voice through onnxruntime",
    )


def write(
    vocoder: Vocoder,
    directory: Path,
    sample_rate: int,
    precision: Precision = "float32",
    alone: Mapping[str, Any] | None = None,
) -> None:
    """Write ``directory/program.json``; the tensors it names are those that the bundle holds anyway.

    Where no other runtime reads the bundle, ``alone`` has them by name: they are written rounded, see
    :mod:`seqgen.export.rounded`.
    """
    document = program(vocoder, sample_rate, precision)
    if alone is not None:
        others = [name for name in document["tensors"] if name not in (WEIGHTS, INITIAL)]
        document["tensors"] = [rounded.FILE, *others]
        rounded.write(document, alone, directory / rounded.FILE)
    text = json.dumps(document, indent=1)
    (directory / FILE).write_text(text + "\n", encoding="utf-8")
