"""Feature extractors as bundles: one streamed graph, ``encoder.onnx``, audio in and the vectors of every layer out.

The graph is the trace of a block of free length, its state going in and out by name. Its layers are the encoder's
outputs, ``context``, and where it shows what they are made of (:meth:`~seqgen.stream.contract.Streamable.observe`) the
last inner activation, ``latent``.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file
from torch import Tensor, nn

from seqgen import bundle
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.export import encoder_program
from seqgen.export.graph import Piece, rename, trace
from seqgen.export.loops import EXAMPLE_BATCH, TYPES
from seqgen.export.program import Precision
from seqgen.export.symbol_graphs import save, stored
from seqgen.files.outputs import write_text
from seqgen.manifest import EncoderManifest
from seqgen.stream.contract import Streamable
from seqgen.stream.state import leaves, table, unflatten
from seqgen.train import weights

GOLDEN_ROWS, GOLDEN_FRAMES = 2, 40
_EXAMPLE_FRAMES = 5  # of a traced block; as the batch, distinct from other sizes


@dataclass(frozen=True)
class Described:
    """Description of an encoder in its bundle.

    Attributes:
        name, licence, provenance: as in the manifest; the versions of torch and platform are added.
        config: resolved configuration of the run, YAML. sample_rate: Hz of the audio that the encoder was trained on.
    """

    name: str
    licence: str
    config: str
    sample_rate: int
    provenance: Mapping[str, str] = field(default_factory=dict)


class _Layers(nn.Module):
    """A block of audio ``[B, F·hop]``: the vectors of every layer ``[B, F, C]``, and the encoder's state."""

    def __init__(self, encoder: Streamable[Any]) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, audio: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        state = unflatten(self.encoder.init_state(1), flat)
        vectors, after = every_layer(self.encoder, audio, state)
        return (*vectors.values(), *(leaf for _, leaf in leaves(after)))


def every_layer(encoder: Streamable[Any], audio: Tensor, state: Any) -> tuple[dict[str, Tensor], Any]:
    """Vectors of a block of audio, ``[B, F·hop] → [B, F, C]`` by layer, and the state after it."""
    context, after, inside = encoder.observe(audio[..., None], state)
    return {"context": context, **({"latent": inside[-1]} if inside else {})}, after


def require_exportable(encoder: nn.Module) -> Streamable[Any]:
    """The encoder, where it is one that a bundle can have.

    Raises:
        SeqgenError: for what is no stream from audio to vectors.
    """
    spec = encoder.spec if isinstance(encoder, Streamable) else None
    if spec is None or (spec.in_dim, spec.cond_dim, spec.up) != (1, 0, 1):
        raise SeqgenError(
            f"{type(encoder).__name__} is no encoder of audio: it has to turn one channel of samples into vectors",
            remedy="export the encoder of a run on recordings",
        )
    assert isinstance(encoder, Streamable)
    return encoder


def write(
    encoder: nn.Module, about: Described, out: Path, precision: Precision = "float32", *, engine_only: bool = False
) -> Bundle:
    """Write an encoder as it stands as a bundle, golden vectors included.

    ``precision`` is how the native engine holds the weights when the bundle is opened. With ``engine_only`` the bundle
    has what that engine reads and no more, its weights rounded to ``precision``.

    Raises:
        SeqgenError: where ``out`` cannot be written, the network is no encoder of audio, or the engine cannot run what
            it is asked to.
    """
    net = require_exportable(encoder).eval()
    programmed = encoder_program.runnable(net)
    if (precision != "float32" or engine_only) and not programmed:
        remedy = "leave out --engine-only" if engine_only else "export it in float32"
        raise SeqgenError(f"the native engine cannot run {type(net).__name__}", remedy=remedy)
    with torch.no_grad():
        state = net.init_state(1)

    def fill(directory: Path) -> None:
        write_text(directory / "config.yaml", about.config)
        parameters = {name: tensor.contiguous() for name, tensor in weights.of(net).items()}
        if not engine_only:
            save_file(parameters, directory / "weights.safetensors")
            save_numpy({name: leaf.numpy().copy() for name, leaf in leaves(state)}, directory / "initial.safetensors")
            with torch.no_grad():
                save(_graph(net, directory), directory, "encoder.onnx")
        golden = _golden(net)
        if programmed:
            alone = {name: tensor.numpy() for name, tensor in parameters.items()} if engine_only else None
            encoder_program.write(net, directory, precision, alone)
        if precision != "float32":
            golden |= encoder_program.golden(directory, golden, precision, manifest.layers)
        if engine_only:
            suffix = "" if precision == "float32" else f".{precision}"
            golden = {name: golden[name] for name in ("audio", *(f"{layer}{suffix}" for layer in manifest.layers))}
        save_numpy(golden, directory / "golden.safetensors")

    manifest = _manifest(net, about, state)
    return bundle.write(out, manifest, fill)


def _manifest(encoder: Streamable[Any], about: Described, state: Any) -> EncoderManifest:
    versions = {"torch": torch.__version__, "platform": f"{platform.system()} {platform.machine()}"}
    return EncoderManifest(
        name=about.name,
        kind="encoder",
        spec=encoder.spec,
        state=table(state),
        licence=about.licence,
        provenance={**versions, **about.provenance},
        sample_rate=about.sample_rate,
        latent_dim=encoder.observed_dims[-1] if encoder.observed_dims else 0,
    )


def _graph(encoder: Streamable[Any], directory: Path) -> onnx.GraphProto:
    state = {f"state.{name}": leaf for name, leaf in leaves(encoder.init_state(EXAMPLE_BATCH))}
    audio = torch.randn(EXAMPLE_BATCH, _EXAMPLE_FRAMES * encoder.spec.down)
    made, _ = every_layer(encoder, audio, encoder.init_state(EXAMPLE_BATCH))
    piece = _traced(encoder, {"audio": audio, **state}, list(made))
    value, real = helper.make_tensor_value_info, TensorProto.FLOAT
    inputs = [value("audio", real, ["batch", "samples"])]
    outputs = [value(layer, real, ["batch", "frames", vectors.shape[2]]) for layer, vectors in made.items()]
    for name, leaf in state.items():
        kind, shape = TYPES[leaf.dtype], ["batch", *leaf.shape[1:]]
        inputs.append(value(name, kind, shape))
        outputs.append(value(f"{name}.after", kind, shape))
    nodes = rename(piece, "block/", {name: name for name in (*piece.inputs, *piece.outputs)}).nodes
    parameters = stored(piece, directory, "encoder.", "")
    return helper.make_graph(nodes, "seqgen", inputs, outputs, initializer=parameters)


def _traced(encoder: Streamable[Any], example: Mapping[str, Tensor], layers: list[str]) -> Piece:
    outputs = [*layers, *(f"{name}.after" for name in example if name != "audio")]
    axes = {name: {0: "batch"} for name in (*example, *outputs)}
    axes |= {"audio": {0: "batch", 1: "samples"}, **{layer: {0: "batch", 1: "frames"} for layer in layers}}
    return trace(_Layers(encoder), example, outputs, axes)


@torch.no_grad()
def _golden(encoder: Streamable[Any]) -> dict[str, npt.NDArray[Any]]:
    """Audio, the vectors of every layer that torch makes of it, and the state after it."""
    rng = np.random.Generator(np.random.Philox(0))
    audio = 0.1 * rng.standard_normal((GOLDEN_ROWS, GOLDEN_FRAMES * encoder.spec.down)).astype(np.float32)
    made, after = every_layer(encoder, torch.from_numpy(audio), encoder.init_state(GOLDEN_ROWS))
    state = {f"state.{name}": leaf for name, leaf in leaves(after)}
    vectors = {name: np.ascontiguousarray(value.numpy()) for name, value in (made | state).items()}
    return {"audio": audio, **vectors}
