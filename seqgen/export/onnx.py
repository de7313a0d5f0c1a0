"""A vocoder as two ONNX graphs: ``step.onnx`` (given elements → distributions) and ``loop.onnx`` (features → audio).

Both are assembled from traces of the vocoder's own modules: a frame of the conditioning network and of the predictor,
an audio sample of the body and of the synthesis filter. Each becomes the body of an ONNX ``Scan``, so a whole chunk is
one call and time and batch are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from seqgen.audio.codec import Codec
from seqgen.errors import SeqgenError
from seqgen.export.graph import Piece, lift_constants, model, rename, shared_weights, trace
from seqgen.generator import GeneratorState
from seqgen.nets.synthesis import FrameCoefficients, LinearSynthesis
from seqgen.sample import AutoRegressive, Vocoder, VocoderState
from seqgen.stream.state import leaves, unflatten

_TYPES = {torch.float32: TensorProto.FLOAT, torch.int64: TensorProto.INT64}
_EXAMPLE_BATCH = 2  # distinct from every other size in a trace, so that a frozen batch axis cannot hide


class _Frame(nn.Module):
    """One frame: features ``[B, M]`` and the conditioning network's leaves in, ``[B, hop, C]`` and leaves out."""

    def __init__(self, generator: AutoRegressive) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, frame: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        net = self.generator.conditioner
        assert net is not None
        made, state = net.step(frame[:, None], unflatten(net.init_state(1), flat))
        return (made, *(leaf for _, leaf in leaves(state)))


class _Sample(nn.Module):
    """One audio sample: ``values`` drawn, or with ``score`` the distributions of given elements."""

    def __init__(self, generator: AutoRegressive, score: bool) -> None:
        super().__init__()
        self.generator, self.score = generator, score

    def forward(
        self, cond: Tensor, given: Tensor, temperature: Tensor, previous: Tensor, *flat: Tensor
    ) -> tuple[Tensor, ...]:
        generator = self.generator
        body, emission = generator.body, generator.emission
        state: Any = unflatten(body.init_state(1), flat)
        made = []
        for index in range(generator.per_sample):
            x = previous[:, None] if body.spec.in_dim == 0 else previous[:, None, None]
            params, state = body.step(x, state, cond[:, None] if index == 0 else cond[:, None][:, :0])
            if self.score:
                previous = given[:, index]
                made.append(params[:, 0])
            else:
                previous = emission.sample(params[:, 0], given[:, index], temperature)
                made.append(previous)
        return (torch.stack(made, dim=1), previous, *(leaf for _, leaf in leaves(state)))


@dataclass(frozen=True)
class _Names:
    """State leaves of the generator, by part, as graph inputs and outputs are named."""

    conditioner: list[str]
    body: list[str]

    @staticmethod
    def of(state: GeneratorState) -> _Names:
        conditioner, body = (
            leaves(part, f"state.{name}") for name, part in (("conditioner", state.conditioner), ("body", state.body))
        )
        return _Names([name for name, _ in conditioner], [name for name, _ in body])


def _trace_frame(generator: AutoRegressive, names: _Names) -> Piece:
    net = generator.conditioner
    assert net is not None
    state = leaves(net.init_state(_EXAMPLE_BATCH))
    example = {"frame": torch.randn(_EXAMPLE_BATCH, net.spec.in_dim)}
    example |= {name: leaf for name, (_, leaf) in zip(names.conditioner, state, strict=True)}
    outputs = ["made", *(f"{name}.after" for name in names.conditioner)]
    return trace(_Frame(generator), example, outputs, {name: {0: "batch"} for name in (*example, *outputs)})


def _trace_sample(generator: AutoRegressive, names: _Names, score: bool) -> Piece:
    state = generator.init_state(_EXAMPLE_BATCH)
    per, emission = generator.per_sample, generator.emission
    noise = torch.full((_EXAMPLE_BATCH, per, emission.draws), 0.5)
    given = state.previous[:, None].expand(-1, per).clone() if score else noise
    example = {
        "cond": torch.randn(_EXAMPLE_BATCH, generator.body.spec.cond_dim),
        "given": given,
        "temperature": torch.tensor(1.0),
        "state.previous": state.previous,
    }
    example |= {name: leaf for name, (_, leaf) in zip(names.body, leaves(state.body), strict=True)}
    outputs = ["made", "state.previous.after", *(f"{name}.after" for name in names.body)]
    axes = {name: {0: "batch"} for name in (*example, *outputs) if name != "temperature"}
    return trace(_Sample(generator, score), example, outputs, axes)


@dataclass(frozen=True)
class _Loop:
    """A traced step as an ONNX Scan along time: what is carried, what is cut along axis 1, and what comes out.

    Each of ``carried`` and ``cut`` is a name with its element type; ``source`` names the outer tensor of each cut.
    """

    step: Piece
    carried: dict[str, int]
    cut: dict[str, int]
    source: list[str]
    made: tuple[str, int]

    def nodes(self, prefix: str, outer: Sequence[str] = ()) -> list[onnx.NodeProto]:
        """The step's constants in front, and the Scan; carried leaf ``n`` enters as ``n`` and leaves as ``n.after``."""
        renaming = {name: f"{prefix}in.{name}" for name in (*self.carried, *self.cut)}
        renaming |= {f"{name}.after": f"{prefix}out.{name}" for name in self.carried} | {name: name for name in outer}
        inner = rename(self.step, prefix, renaming | {"made": f"{prefix}made"})
        constants = lift_constants(inner, outer)
        info = helper.make_tensor_value_info
        inputs = [info(renaming[name], kind, None) for name, kind in (self.carried | self.cut).items()]
        outputs = [info(renaming[f"{name}.after"], kind, None) for name, kind in self.carried.items()]
        outputs.append(info(f"{prefix}made", self.made[1], None))
        scan = helper.make_node(
            "Scan",
            [*self.carried, *self.source],
            [*(f"{name}.after" for name in self.carried), self.made[0]],
            body=helper.make_graph(inner.nodes, prefix.strip("/"), inputs, outputs),
            num_scan_inputs=len(self.cut),
            scan_input_axes=[1] * len(self.cut),
            scan_output_axes=[1],
        )
        return [*constants, scan]


def _frame_loop(generator: AutoRegressive, names: _Names) -> _Loop:
    """Frame by frame, although the network could take many: the arithmetic of a frame then does not depend on how many
    come with it, and the audio not on how the stream was cut."""
    real = TensorProto.FLOAT
    step = _trace_frame(generator, names)
    return _Loop(step, dict.fromkeys(names.conditioner, real), {"frame": real}, ["features"], ("frames", real))


def _sample_loop(generator: AutoRegressive, names: _Names, score: bool) -> _Loop:
    state = generator.init_state(1)
    real, element = TensorProto.FLOAT, _TYPES[state.previous.dtype]
    carried = {"state.previous": element}
    carried |= {name: _TYPES[leaf.dtype] for name, (_, leaf) in zip(names.body, leaves(state.body), strict=True)}
    cut = {"cond": real, "given": element if score else real}
    made = ("made", real if score else element)
    return _Loop(_trace_sample(generator, names, score), carried, cut, ["aligned", "given"], made)


def _fixed(name: str, values: Sequence[int]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.int64), name)


def _aligned(vectors: str, name: str) -> list[onnx.NodeProto]:
    """The last N of ``vectors [B, F·hop, …]`` as ``name``, for the N samples of ``given [B, N, …]``."""
    return [
        helper.make_node("Shape", ["given"], [f"{name}.samples"], start=1, end=2),
        helper.make_node("Shape", [vectors], [f"{name}.length"], start=1, end=2),
        helper.make_node("Sub", [f"{name}.length", f"{name}.samples"], [f"{name}.ahead"]),
        helper.make_node("Slice", [vectors, f"{name}.ahead", f"{name}.length", "axis.time"], [name]),
    ]


def _decoding(codec: Codec, elements: str, audio: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """``elements [B, N, per]`` to ``audio [B, N]`` by one table for each element of a sample, added up."""
    per, levels = codec.symbols_per_sample, codec.alphabet
    if levels == 0:
        return [helper.make_node("Squeeze", [elements, "axis.element"], [audio])], [_fixed("axis.element", [2])]
    zero = codec.decode(np.zeros(per, np.int64))[0]
    nodes, tables, parts = [], [], []
    for index in range(per):
        symbols = np.zeros((levels, per), np.int64)
        symbols[:, index] = np.arange(levels)
        table = codec.decode(symbols.reshape(-1)) - (zero if index else 0)
        tables += [
            numpy_helper.from_array(table.astype(np.float32), f"decode.{index}"),
            _fixed(f"element.{index}", index),
        ]
        nodes += [
            helper.make_node("Gather", [elements, f"element.{index}"], [f"symbol.{index}"], axis=2),
            helper.make_node("Gather", [f"decode.{index}", f"symbol.{index}"], [f"level.{index}"]),
        ]
        parts.append(f"level.{index}")
    nodes.append(helper.make_node("Sum", parts, [audio]))
    return nodes, tables


class _Predictor(nn.Module):
    """One frame: features ``[B, M]`` and the waiting coefficients in, ``[B, hop, order]`` and the waiting ones out."""

    def __init__(self, coefficients: FrameCoefficients) -> None:
        super().__init__()
        self.coefficients = coefficients

    def forward(self, frame: Tensor, waiting: Tensor) -> tuple[Tensor, Tensor]:
        return self.coefficients.step(frame[:, None], waiting)


class _Synthesis(nn.Module):
    """One sample: excitation ``[B]`` in [-1, 1), its coefficients ``[B, order]`` and the history in, ``[B]`` out."""

    def __init__(self, synthesis: LinearSynthesis) -> None:
        super().__init__()
        self.synthesis = synthesis

    def forward(self, level: Tensor, predictor: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        made, history = self.synthesis.step(level[:, None, None] * 32768, history, predictor[:, None])
        return made[:, 0, 0] / 32768, history


def _trace_pair(module: nn.Module, example: dict[str, Tensor], made: str, carried: str) -> Piece:
    outputs = [made, f"{carried}.after"]
    return trace(module, example, outputs, {name: {0: "batch"} for name in (*example, *outputs)})


def _synthesis(vocoder: Vocoder) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], list[onnx.TensorProto]]:
    """``features`` and ``excitation [B, N]`` to ``audio``: nodes, traced weights, constants; none for a plain codec."""
    if vocoder.coefficients is None or vocoder.filter is None:
        return [], [], []
    real, order = TensorProto.FLOAT, vocoder.filter.spec.cond_dim
    frame = torch.randn(_EXAMPLE_BATCH, vocoder.coefficients.spec.in_dim)
    state = vocoder.init_state(_EXAMPLE_BATCH)
    example = {"frame": frame, "state.coefficients": state.coefficients}
    piece = _trace_pair(_Predictor(vocoder.coefficients), example, "made", "state.coefficients")
    frames = _Loop(piece, {"state.coefficients": real}, {"frame": real}, ["features"], ("predictor.frames", real))
    example = {
        "level": torch.zeros(_EXAMPLE_BATCH),
        "predictor": torch.zeros(_EXAMPLE_BATCH, order),
        "state.history": state.history,
    }
    inner = _trace_pair(_Synthesis(vocoder.filter), example, "made", "state.history")
    cut = {"level": real, "predictor": real}
    samples = _Loop(inner, {"state.history": real}, cut, ["excitation", "predictor"], ("audio", real))
    nodes = [
        *frames.nodes("predictor/"),
        helper.make_node("Reshape", ["predictor.frames", "predictor.shape"], ["predictor.vectors"]),
        *_aligned("predictor.vectors", "predictor"),
        *samples.nodes("synthesis/"),
    ]
    return nodes, [*piece.weights, *inner.weights], [_fixed("predictor.shape", [0, -1, order])]


def _assemble(vocoder: Vocoder, directory: Path, score: bool) -> onnx.ModelProto:
    generator = vocoder.generator
    net = generator.conditioner
    if net is None:
        raise SeqgenError("an unconditioned generator has no features to vocode", remedy="export a conditioned one")
    state = vocoder.init_state(1)
    names = _Names.of(state.generator)
    frames, samples = _frame_loop(generator, names), _sample_loop(generator, names, score)
    width = [generator.per_sample] if score else [generator.per_sample, generator.emission.draws]
    constants = [
        _fixed("axis.time", [1]),
        _fixed("given.shape", [0, -1, *width]),
        _fixed("cond.shape", [0, -1, net.spec.out_dim]),
    ]
    filtering, extra, more = _synthesis(vocoder)
    tail: list[onnx.NodeProto] = []
    if score:
        tail.append(helper.make_node("Reshape", ["made", "params.shape"], ["params"]))
        constants.append(_fixed("params.shape", [0, -1, generator.emission.params]))
    if filtering or not score:
        decoding, tables = _decoding(
            vocoder.codec, "given" if score else "made", "excitation" if filtering else "audio"
        )
        tail += [*decoding, *filtering]
        constants += [*tables, *more]
    nodes = [
        *frames.nodes("frame/"),
        helper.make_node("Reshape", ["frames", "cond.shape"], ["conditioning"]),
        helper.make_node("Reshape", ["x" if score else "uniforms", "given.shape"], ["given"]),
        *_aligned("conditioning", "aligned"),
        *samples.nodes("sample/", ["temperature"]),
        *tail,
    ]
    initializers = _stored([*frames.step.weights, *samples.step.weights, *extra], directory)
    return model(_interface(vocoder, state, nodes, [*initializers, *constants], score))


def _stored(weights: Sequence[onnx.TensorProto], directory: Path) -> list[onnx.TensorProto]:
    """Initializers that point into the bundle's safetensors files, each tensor stored once."""
    kept = list(weights)
    for prefix, file in (("generator.", "weights.safetensors"), ("coefficients.prediction.", "prediction.safetensors")):
        if (directory / file).is_file():
            names = {weight.name: weight.name.removeprefix(prefix) for weight in kept}
            kept = shared_weights(kept, names, directory / file)
    return kept


def _interface(
    vocoder: Vocoder,
    state: VocoderState,
    nodes: Sequence[onnx.NodeProto],
    initializers: Sequence[onnx.TensorProto],
    score: bool,
) -> onnx.GraphProto:
    """The graph's declared inputs and outputs: named, with free batch and time axes."""
    value = helper.make_tensor_value_info
    real, generator = TensorProto.FLOAT, vocoder.generator
    element = _TYPES[state.previous.dtype]
    channels = generator.conditioner.spec.in_dim if generator.conditioner is not None else 0
    inputs = [value("features", real, ["batch", "frames", channels])]
    if score:
        inputs.append(value("x", element, ["batch", "elements"]))
        outputs = [value("params", real, ["batch", "elements", generator.emission.params])]
    else:
        inputs += [value("uniforms", real, ["batch", "numbers"]), value("temperature", real, [])]
        outputs = [value("audio", real, ["batch", "samples"])]
    for name, leaf in leaves(state):
        kind, shape = _TYPES[leaf.dtype], ["batch", *leaf.shape[1:]]
        inputs.append(value(f"state.{name}", kind, shape))
        outputs.append(value(f"state.{name}.after", kind, shape))
    return helper.make_graph(list(nodes), "seqgen", inputs, outputs, initializer=list(initializers))


def export_graphs(vocoder: Vocoder, directory: Path) -> None:
    """Write ``step.onnx`` and ``loop.onnx`` beside the safetensors files of ``directory``, which they point into.

    Raises:
        onnx.checker.ValidationError: where a graph is malformed (our own mistake).
    """
    vocoder.generator.eval()
    for name, score in (("step.onnx", True), ("loop.onnx", False)):
        path = directory / name
        with torch.no_grad():
            onnx.save(_assemble(vocoder, directory, score), path)
        onnx.checker.check_model(str(path))
