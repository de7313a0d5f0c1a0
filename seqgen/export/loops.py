"""Parts that the graphs of all vocoders share: steps along time as loops, the conditioning network, the interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from seqgen.audio.codec import Codec
from seqgen.errors import SeqgenError
from seqgen.export.graph import Piece, lift_constants, rename, shared_weights, trace
from seqgen.generation.contract import Generator, GeneratorState
from seqgen.generation.vocoder import Vocoder, VocoderState
from seqgen.stream.contract import Streamable
from seqgen.stream.state import leaves, unflatten

TYPES = {torch.float32: TensorProto.FLOAT, torch.int64: TensorProto.INT64}
EXAMPLE_BATCH = 2  # distinct from every other size in a trace, so that a frozen batch axis cannot hide


def conditioner(generator: Generator) -> Streamable[tuple[Tensor, ...]]:
    """The conditioning network.

    Raises:
        SeqgenError: where there is none.
    """
    if generator.conditioner is None:
        raise SeqgenError("an unconditioned generator has no features to vocode", remedy="export a conditioned one")
    return generator.conditioner


def decoding(codec: Codec, elements: str, audio: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """``elements [B, N, per]`` to ``audio [B, N]`` by one table for each element of a sample, added up."""
    per, levels = codec.symbols_per_sample, codec.alphabet
    if levels == 0:
        return [helper.make_node("Squeeze", [elements, "axis.element"], [audio])], [fixed("axis.element", [2])]
    zero = codec.decode(np.zeros(per, np.int64))[0]
    nodes, tables, parts = [], [], []
    for index in range(per):
        symbols = np.zeros((levels, per), np.int64)
        symbols[:, index] = np.arange(levels)
        table = codec.decode(symbols.reshape(-1)) - (zero if index else 0)
        tables += [
            numpy_helper.from_array(table.astype(np.float32), f"decode.{index}"),
            fixed(f"element.{index}", index),
        ]
        nodes += [
            helper.make_node("Gather", [elements, f"element.{index}"], [f"symbol.{index}"], axis=2),
            helper.make_node("Gather", [f"decode.{index}", f"symbol.{index}"], [f"level.{index}"]),
        ]
        parts.append(f"level.{index}")
    nodes.append(helper.make_node("Sum", parts, [audio]))
    return nodes, tables


class _Frame(nn.Module):
    """One frame: features ``[B, M]`` and the conditioning network's leaves in, ``[B, hop, C]`` and leaves out."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, frame: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        net = conditioner(self.generator)
        made, state = net.step(frame[:, None], unflatten(net.init_state(1), flat))
        return (made, *(leaf for _, leaf in leaves(state)))


@dataclass(frozen=True)
class Names:
    """State leaves of the generator, by part, as graph inputs and outputs are named."""

    conditioner: list[str]
    body: list[str]

    @staticmethod
    def of(state: GeneratorState) -> Names:
        conditioner, body = (
            leaves(part, f"state.{name}") for name, part in (("conditioner", state.conditioner), ("body", state.body))
        )
        return Names([name for name, _ in conditioner], [name for name, _ in body])


def _trace_frame(generator: Generator, names: Names) -> Piece:
    net = conditioner(generator)
    state = leaves(net.init_state(EXAMPLE_BATCH))
    example = {"frame": torch.randn(EXAMPLE_BATCH, net.spec.in_dim)}
    example |= {name: leaf for name, (_, leaf) in zip(names.conditioner, state, strict=True)}
    outputs = ["made", *(f"{name}.after" for name in names.conditioner)]
    return trace(_Frame(generator), example, outputs, {name: {0: "batch"} for name in (*example, *outputs)})


@dataclass(frozen=True)
class Loop:
    """A traced step as an ONNX Scan along time: what is carried, what is cut along axis 1, and what comes out.

    Each of ``carried``, ``cut`` and ``made`` is a name with its element type; ``source`` names the outer tensor of each
    cut, ``made_as`` that of what comes out, where it is called something else than in the step.
    """

    step: Piece
    carried: Mapping[str, int]
    cut: Mapping[str, int]
    source: Sequence[str]
    made: Mapping[str, int]
    made_as: str = ""

    def nodes(self, prefix: str, outer: Sequence[str] = ()) -> list[onnx.NodeProto]:
        """The step's constants in front, and the Scan; carried leaf ``n`` enters as ``n`` and leaves as ``n.after``."""
        renaming = {name: f"{prefix}in.{name}" for name in (*self.carried, *self.cut)}
        renaming |= {f"{name}.after": f"{prefix}out.{name}" for name in self.carried} | {name: name for name in outer}
        inner = rename(self.step, prefix, renaming | {name: f"{prefix}{name}" for name in self.made})
        constants = lift_constants(inner, outer)
        info = helper.make_tensor_value_info
        inputs = [info(renaming[name], kind, None) for name, kind in {**self.carried, **self.cut}.items()]
        outputs = [info(renaming[f"{name}.after"], kind, None) for name, kind in self.carried.items()]
        outputs += [info(f"{prefix}{name}", kind, None) for name, kind in self.made.items()]
        scan = helper.make_node(
            "Scan",
            [*self.carried, *self.source],
            [*(f"{name}.after" for name in self.carried), *([self.made_as] if self.made_as else self.made)],
            body=helper.make_graph(inner.nodes, prefix.strip("/"), inputs, outputs),
            num_scan_inputs=len(self.cut),
            scan_input_axes=[1] * len(self.cut),
            scan_output_axes=[1] * len(self.made),
        )
        return [*constants, scan]


def frame_loop(generator: Generator, names: Names) -> Loop:
    """Frame by frame, although the network could take many: the arithmetic of a frame then does not depend on how many
    come with it, and the audio not on how the stream was cut."""
    real = TensorProto.FLOAT
    step = _trace_frame(generator, names)
    return Loop(step, dict.fromkeys(names.conditioner, real), {"frame": real}, ["features"], {"made": real}, "frames")


def fixed(name: str, values: Sequence[int]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.int64), name)


def aligned(vectors: str, name: str, like: str = "given") -> list[onnx.NodeProto]:
    """The last N of ``vectors [B, F·hop, …]`` as ``name``, for the N of ``like [B, N, …]``."""
    return [
        helper.make_node("Shape", [like], [f"{name}.samples"], start=1, end=2),
        helper.make_node("Shape", [vectors], [f"{name}.length"], start=1, end=2),
        helper.make_node("Sub", [f"{name}.length", f"{name}.samples"], [f"{name}.ahead"]),
        helper.make_node("Slice", [vectors, f"{name}.ahead", f"{name}.length", "axis.time"], [name]),
    ]


def stored(weights: Sequence[onnx.TensorProto], directory: Path) -> list[onnx.TensorProto]:
    """Initializers that point into the bundle's safetensors files, each tensor stored once."""
    kept = list(weights)
    for prefix, file in (("generator.", "weights.safetensors"), ("coefficients.prediction.", "prediction.safetensors")):
        if (directory / file).is_file():
            names = {weight.name: weight.name.removeprefix(prefix) for weight in kept}
            kept = shared_weights(kept, names, directory / file)
    return kept


def interface(
    vocoder: Vocoder,
    state: VocoderState,
    nodes: Sequence[onnx.NodeProto],
    initializers: Sequence[onnx.TensorProto],
    score: bool,
) -> onnx.GraphProto:
    """The graph's declared inputs and outputs: named, with free batch and time axes."""
    value = helper.make_tensor_value_info
    real, generator = TensorProto.FLOAT, vocoder.generator
    element = real if generator.body.spec.in_dim else TensorProto.INT64
    inputs = [value("features", real, ["batch", "frames", conditioner(generator).spec.in_dim])]
    if score:
        inputs.append(value("x", element, ["batch", "elements"]))
        outputs = [value("params", real, ["batch", "elements", generator.num_params])]
    else:
        inputs += [value("uniforms", real, ["batch", "numbers"]), value("temperature", real, [])]
        outputs = [value("audio", real, ["batch", "samples"])]
    for name, leaf in leaves(state):
        kind, shape = TYPES[leaf.dtype], ["batch", *leaf.shape[1:]]
        inputs.append(value(f"state.{name}", kind, shape))
        outputs.append(value(f"state.{name}.after", kind, shape))
    return helper.make_graph(list(nodes), "seqgen", inputs, outputs, initializer=list(initializers))
