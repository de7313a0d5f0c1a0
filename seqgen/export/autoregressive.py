"""A vocoder that draws one element after the other, as two ONNX graphs and as ops of the native engine.

The graphs are assembled from traces of the vocoder's own modules: a frame of the conditioning network and of the
predictor, an audio sample of the body and of the synthesis filter. Each becomes the body of an ONNX ``Scan``, so a
whole chunk is one call and time and batch are free.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from seqgen.audio.codec import Codec
from seqgen.export.contract import DensityExporter, Placed
from seqgen.export.distributions import distribution
from seqgen.export.graph import Piece, model, trace
from seqgen.export.loops import (
    EXAMPLE_BATCH,
    TYPES,
    Loop,
    Names,
    aligned,
    conditioner,
    decoding,
    fixed,
    frame_loop,
    interface,
    stored,
)
from seqgen.export.network import Op
from seqgen.generation.autoregressive import AutoRegressive, parameters, warmth
from seqgen.generation.contract import Generator
from seqgen.generation.gain import GainNormalized
from seqgen.generation.vocoder import Vocoder
from seqgen.nets.synthesis import BandSynthesis, FrameCoefficients, LinearSynthesis
from seqgen.stream.state import leaves, unflatten


class _Sample(nn.Module):
    """The elements of one conditioning vector, an audio sample or a group: ``values`` drawn, or with ``score`` the
    distributions of given ones."""

    def __init__(self, generator: AutoRegressive, score: bool) -> None:
        super().__init__()
        self.generator, self.score = generator, score

    def forward(
        self, cond: Tensor, given: Tensor, temperature: Tensor, previous: Tensor, *flat: Tensor
    ) -> tuple[Tensor, ...]:
        generator = self.generator
        body, distribution = generator.body, generator.distribution
        state: Any = unflatten(body.init_state(1), flat)
        made = []
        for index in range(_together(generator)):
            x = previous[:, None] if body.spec.in_dim == 0 else previous[:, None, None]
            outputs, state = body.step(x, state, cond[:, None] if index == 0 else cond[:, None][:, :0])
            params = parameters(body, outputs)
            if self.score:
                previous = given[:, index]
                made.append(params[:, 0])
            else:
                warm = warmth(body, outputs[:, 0], temperature)
                previous = distribution.sample(params[:, 0], given[:, index], warm)
                made.append(previous)
        return (torch.stack(made, dim=1), previous, *(leaf for _, leaf in leaves(state)))


def _together(generator: AutoRegressive) -> int:
    """Elements that one conditioning vector is for."""
    return generator.symbols_per_sample * generator.stride


def _trace_sample(generator: AutoRegressive, names: Names, score: bool) -> Piece:
    state = generator.init_state(EXAMPLE_BATCH)
    per, distribution = _together(generator), generator.distribution
    noise = torch.full((EXAMPLE_BATCH, per, distribution.num_uniforms), 0.5)
    given = state.previous[:, None].expand(-1, per).clone() if score else noise
    example = {
        "cond": torch.randn(EXAMPLE_BATCH, generator.body.spec.cond_dim),
        "given": given,
        "temperature": torch.tensor(1.0),
        "state.previous": state.previous,
    }
    example |= {name: leaf for name, (_, leaf) in zip(names.body, leaves(state.body), strict=True)}
    outputs = ["made", "state.previous.after", *(f"{name}.after" for name in names.body)]
    axes = {name: {0: "batch"} for name in (*example, *outputs) if name != "temperature"}
    return trace(_Sample(generator, score), example, outputs, axes)


def _sample_loop(generator: AutoRegressive, names: Names, score: bool) -> Loop:
    state = generator.init_state(1)
    real, element = TensorProto.FLOAT, TYPES[state.previous.dtype]
    carried = {"state.previous": element}
    carried |= {name: TYPES[leaf.dtype] for name, (_, leaf) in zip(names.body, leaves(state.body), strict=True)}
    cut = {"cond": real, "given": element if score else real}
    made = {"made": real if score else element}
    return Loop(_trace_sample(generator, names, score), carried, cut, ["aligned", "given"], made)


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
        made, history = self.synthesis.step((level[:, None, None] * 32768).round(), history, predictor[:, None])
        return made[:, 0, 0] / 32768, history


class _Sum(nn.Module):
    """One group: its numbers ``[B, M]`` and what is carried in, samples ``[B, M]`` out."""

    def __init__(self, bands: BandSynthesis) -> None:
        super().__init__()
        self.bands = bands

    def forward(self, group: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        made, state = self.bands.step(group[..., None], unflatten(self.bands.init_state(1), flat))
        return (made[..., 0], *(leaf for _, leaf in leaves(state)))


def _trace_pair(module: nn.Module, example: dict[str, Tensor], made: str, *carried: str) -> Piece:
    outputs = [made, *(f"{name}.after" for name in carried)]
    return trace(module, example, outputs, {name: {0: "batch"} for name in (*example, *outputs)})


def _summed(
    vocoder: Vocoder, elements: str, audio: str
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], list[onnx.TensorProto]]:
    """Groups of numbers ``elements [B, N/M, M]`` to ``audio [B, N]``: nodes, traced weights, constants."""
    assert vocoder.sum is not None
    bands = vocoder.sum.bands
    carried = {f"state.bands.{name}": leaf for name, leaf in leaves(vocoder.sum.init_state(EXAMPLE_BATCH))}
    example = {"group": torch.zeros(EXAMPLE_BATCH, bands), **carried}
    piece = _trace_pair(_Sum(vocoder.sum), example, "made", *carried)
    kinds = {name: TYPES[leaf.dtype] for name, leaf in carried.items()}
    real = TensorProto.FLOAT
    loop = Loop(piece, kinds, {"group": real}, [elements], {"made": real}, "band.groups")
    flat = helper.make_node("Reshape", ["band.groups", "audio.shape"], ["bands" if vocoder.filter is None else audio])
    nodes, limits = [*loop.nodes("bands/"), flat], []
    if vocoder.filter is None:
        nodes.append(helper.make_node("Clip", ["bands", "audio.least", "audio.most"], [audio]))
        limits = [
            numpy_helper.from_array(np.float32(end), f"audio.{name}") for name, end in (("least", -1), ("most", 1))
        ]
    return nodes, list(piece.weights), [fixed("audio.shape", [0, -1]), *limits]


def _synthesis(vocoder: Vocoder) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], list[onnx.TensorProto]]:
    """``features`` and ``excitation [B, N]`` to ``audio``: nodes, traced weights, constants; none for a plain codec."""
    if vocoder.coefficients is None or vocoder.filter is None:
        return [], [], []
    real, order = TensorProto.FLOAT, vocoder.filter.spec.cond_dim
    frame = torch.randn(EXAMPLE_BATCH, vocoder.coefficients.spec.in_dim)
    state = vocoder.init_state(EXAMPLE_BATCH)
    example = {"frame": frame, "state.coefficients": state.coefficients}
    piece = _trace_pair(_Predictor(vocoder.coefficients), example, "made", "state.coefficients")
    frames = Loop(
        piece, {"state.coefficients": real}, {"frame": real}, ["features"], {"made": real}, "predictor.frames"
    )
    example = {
        "level": torch.zeros(EXAMPLE_BATCH),
        "predictor": torch.zeros(EXAMPLE_BATCH, order),
        "state.history": state.history,
    }
    inner = _trace_pair(_Synthesis(vocoder.filter), example, "made", "state.history")
    cut = {"level": real, "predictor": real}
    samples = Loop(inner, {"state.history": real}, cut, ["excitation", "predictor"], {"made": real}, "audio")
    nodes = [
        *frames.nodes("predictor/"),
        helper.make_node("Reshape", ["predictor.frames", "predictor.shape"], ["predictor.vectors"]),
        *aligned("predictor.vectors", "predictor", "given" if vocoder.sum is None else "excitation"),
        *samples.nodes("synthesis/"),
    ]
    return nodes, [*piece.weights, *inner.weights], [fixed("predictor.shape", [0, -1, order])]


def _every(stride: int) -> list[onnx.NodeProto]:
    """``frames [B, F, hop, C]`` to the vectors that the body takes, ``conditioning [B, F·hop / stride, C]``."""
    if stride == 1:
        return [helper.make_node("Reshape", ["frames", "cond.shape"], ["conditioning"])]
    return [
        helper.make_node("Reshape", ["frames", "cond.shape"], ["each"]),
        helper.make_node("Slice", ["each", "every.from", "every.to", "axis.time", "every.step"], ["conditioning"]),
    ]


class AutoRegressiveExporter(DensityExporter):
    """Graphs whose second loop feeds itself; behind the network the engine draws from a distribution."""

    def placed(self, generator: Generator, state: Any = None) -> Placed:
        body, inner = generator.body, None if state is None else state.body
        if isinstance(body, GainNormalized):
            return Placed(body.body, "body.body", inner, gained=True)
        return Placed(body, "body", inner)

    def drawing(self, generator: Generator, codec: Codec) -> list[Op] | None:
        assert isinstance(generator, AutoRegressive)
        return distribution(generator.distribution, codec)

    def assemble(self, vocoder: Vocoder, directory: Path, score: bool) -> onnx.ModelProto:
        generator = vocoder.generator
        assert isinstance(generator, AutoRegressive)
        net = conditioner(generator)
        state = vocoder.init_state(1)
        names = Names.of(state.generator)
        frames, samples = frame_loop(generator, names), _sample_loop(generator, names, score)
        per, drawn = _together(generator), generator.distribution
        width = [per] if score else [per, drawn.num_uniforms]
        constants = [
            fixed("axis.time", [1]),
            fixed("given.shape", [0, -1, *width]),
            fixed("cond.shape", [0, -1, net.spec.out_dim]),
        ]
        if generator.stride > 1:
            ends = {"from": 0, "to": 2**31 - 1, "step": generator.stride}
            constants += [fixed(f"every.{name}", [value]) for name, value in ends.items()]
        filtering, extra, more = _synthesis(vocoder)
        tail: list[onnx.NodeProto] = []
        if score:
            tail.append(helper.make_node("Reshape", ["made", "params.shape"], ["params"]))
            constants.append(fixed("params.shape", [0, -1, drawn.num_params]))
        if filtering or vocoder.sum is not None or not score:
            elements, audio = "given" if score else "made", "excitation" if filtering else "audio"
            decoded, tables = decoding(vocoder.codec, elements, audio) if vocoder.sum is None else ([], [])
            summed, weights, shapes = ([], [], []) if vocoder.sum is None else _summed(vocoder, elements, audio)
            tail += [*decoded, *summed, *filtering]
            extra += weights
            constants += [*tables, *shapes, *more]
        nodes = [
            *frames.nodes("frame/"),
            *_every(generator.stride),
            helper.make_node("Reshape", ["x" if score else "uniforms", "given.shape"], ["given"]),
            *aligned("conditioning", "aligned"),
            *samples.nodes("sample/", ["temperature"]),
            *tail,
        ]
        initializers = stored([*frames.step.weights, *samples.step.weights, *extra], directory)
        return model(interface(vocoder, state, nodes, [*initializers, *constants], score))
