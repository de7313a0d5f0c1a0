"""Subscale generation as two ONNX graphs of the same form as any other vocoder's, and as an op of the native engine.

The conditioning network runs frame by frame in a ``Scan``, as everywhere; its vectors and the noise are put into the
order of the steps; a second ``Scan`` makes a sample of every lane in each step. How many steps a call takes depends on
the state: those at the start of a stream, in which not all lanes are under way, are made by the first call that gives
samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from seqgen.audio.codec import Codec
from seqgen.export.contract import DensityExporter, Matrices, Placed
from seqgen.export.distributions import distribution
from seqgen.export.graph import Piece, model, rename, trace
from seqgen.export.loops import (
    EXAMPLE_BATCH,
    TYPES,
    Loop,
    Names,
    conditioner,
    decoding,
    fixed,
    frame_loop,
    interface,
    stored,
)
from seqgen.export.network import Op
from seqgen.generation.contract import Generator
from seqgen.generation.subscale.generator import Subscale
from seqgen.generation.subscale.stagger import LanesState
from seqgen.generation.vocoder import Vocoder
from seqgen.nets.layers import CausalConv1d, Dense
from seqgen.stream.state import leaves, unflatten

MOST_LANES = 16  # that the engine makes side by side
_EXAMPLE_STEPS = 3  # complete ones of a trace; the graph takes any number
PARAMS, VECTORS, TAPE = "state.body.params", "state.conditioner.vectors", "state.body.tape"


class _Enter(nn.Module):
    """A call's conditioning and its noise (or elements), in the order of the steps of a fresh stream."""

    def __init__(self, generator: Subscale) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, conditioning: Tensor, given: Tensor, waiting: Tensor) -> tuple[Tensor, ...]:
        net = self.generator
        cond, waiting = net.window(waiting, conditioning, given.shape[1] - net.ahead)
        return net.stagger.skew(cond), net.stagger.skew(given), waiting


class _Step(nn.Module):
    """One step of all lanes; leaves of the state but the distributions' in and out."""

    def __init__(self, generator: Subscale, score: bool) -> None:
        super().__init__()
        self.generator, self.score = generator, score  # by the first name its weights are found in the bundle

    def forward(
        self, cond: Tensor, given: Tensor, temperature: Tensor, previous: Tensor, *flat: Tensor
    ) -> tuple[Tensor, ...]:
        net = self.generator
        template = net.init_state(1).body
        state: Any = unflatten(template, [*flat[:2], template.params, *flat[2:]])
        done, told, previous, state = net.advance(cond, given, previous, state, temperature, score=self.score)
        return (done, told, previous, *_carried(state))


class _Leave(nn.Module):
    """Samples complete after a call: ``elements [B, N, 2]``, or with ``score`` distributions ``[B, 2·N, P]``."""

    def __init__(self, generator: Subscale, score: bool) -> None:
        super().__init__()
        self.stagger, self.score = generator.stagger, score

    def forward(self, skewed: Tensor, done: Tensor, told: Tensor, pending: Tensor) -> tuple[Tensor, Tensor]:
        count = skewed.shape[1] - self.stagger.depth - self.stagger.horizon
        distributions, pending = self.stagger.unskew(told, pending, count)
        if self.score:
            return distributions.flatten(1, 3), pending
        return done[:, done.shape[1] - count :].flatten(1, 2), pending


def _carried(state: LanesState) -> list[Tensor]:
    """Leaves that a step moves on: all but the distributions."""
    return [state.tape, state.made, *(leaf for _, leaf in leaves((state.body, state.context)))]


class _Traces:
    """The traced pieces of one graph, and what they are called."""

    def __init__(self, generator: Subscale, score: bool) -> None:
        self.generator, self.score = generator, score
        state = generator.init_state(EXAMPLE_BATCH)
        self.names = Names.of(state)
        self.moving = ["state.previous", *(name for name in self.names.body if name != PARAMS)]
        self.leaves = dict(zip(self.moving, [state.previous, *_carried(state.body)], strict=True))
        self.pending, self.waiting = state.body.params, state.conditioner.vectors
        kind = torch.int64 if score else torch.float32
        self.width = [2] if score else [2, generator.num_uniforms]
        samples = _EXAMPLE_STEPS * generator.config.lanes + generator.ahead
        self.given = torch.full((EXAMPLE_BATCH, samples, *self.width), 0.5).to(kind)

    def enter(self) -> Piece:
        vectors = torch.randn(EXAMPLE_BATCH, self.given.shape[1] + 1, self.waiting.shape[2])
        example = {"conditioning": vectors, "given": self.given, VECTORS: self.waiting}
        outputs = ["vectors", "numbers", f"{VECTORS}.after"]
        axes = {name: {0: "batch"} for name in (*example, *outputs)}
        axes["conditioning"][1], axes["given"][1] = "vectors", "samples"
        axes["vectors"][1] = axes["numbers"][1] = "steps"
        return trace(_Enter(self.generator), example, outputs, axes)

    def step(self) -> Loop:
        lanes = self.generator.config.lanes
        example = {
            "cond": torch.randn(EXAMPLE_BATCH, lanes, self.waiting.shape[2]),
            "given": self.given[:, :lanes],
            "temperature": torch.tensor(1.0),
            **self.leaves,
        }
        outputs = ["done", "told", *(f"{name}.after" for name in self.moving)]
        axes = {name: {0: "batch"} for name in (*example, *outputs) if name != "temperature"}
        piece = trace(_Step(self.generator, self.score), example, outputs, axes)
        real, whole = TensorProto.FLOAT, TensorProto.INT64
        carried = {name: TYPES[leaf.dtype] for name, leaf in self.leaves.items()}
        cut = {"cond": real, "given": whole if self.score else real}
        return Loop(piece, carried, cut, ["cond.steps", "given.steps"], {"done": whole, "told": real})

    def leave(self) -> Piece:
        generator, batch = self.generator, EXAMPLE_BATCH
        lanes, steps = generator.config.lanes, _EXAMPLE_STEPS + generator.stagger.depth + generator.config.horizon
        example = {
            "vectors": torch.zeros(batch, steps, lanes, self.waiting.shape[2]),
            "done": torch.zeros(batch, steps - 1, lanes, 2, dtype=torch.int64),
            "told": torch.zeros(batch, steps - 1, lanes, 2, generator.num_params),
            PARAMS: self.pending,
        }
        outputs = ["params" if self.score else "elements", f"{PARAMS}.after"]
        axes = {name: {0: "batch"} for name in (*example, *outputs)}
        axes["vectors"][1] = "steps"
        axes["done"][1] = axes["told"][1] = "made"
        axes[outputs[0]][1] = "samples"
        return trace(_Leave(generator, self.score), example, outputs, axes)


def _own(piece: Piece, prefix: str) -> list[onnx.NodeProto]:
    """The nodes of a piece that stands once, under its own names of inputs and outputs."""
    return rename(piece, prefix, {name: name for name in (*piece.inputs, *piece.outputs)}).nodes


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


class SubscaleExporter(DensityExporter):
    """Graphs whose second loop makes a sample of every lane; behind the network the engine reads the lanes before."""

    op = "lanes"

    def placed(self, generator: Generator, state: Any = None) -> Placed:
        return Placed(generator.body, "body", None if state is None else state.body.body)

    def drawing(self, generator: Generator, codec: Codec) -> list[Op] | None:
        assert isinstance(generator, Subscale)
        drawn = distribution(generator.distribution, codec) if generator.lanes <= MOST_LANES else None
        return None if drawn is None else [_lanes(generator), *drawn]

    def conditioner_state(self, state: Any) -> Any:
        return state.conditioner.network

    def matrices(self, op: Op) -> Matrices:
        """What lanes are told of those before is held like the network's own; the rest of their network in float32."""
        return Matrices({op["leave"]["weight"]: 1})

    def assemble(self, vocoder: Vocoder, directory: Path, score: bool) -> onnx.ModelProto:
        """``step.onnx`` where ``score``, else ``loop.onnx``."""
        generator = vocoder.generator
        assert isinstance(generator, Subscale)
        traces = _Traces(generator, score)
        frames = frame_loop(generator, Names(traces.names.conditioner[:-1], traces.names.body))
        enter, step, leave = traces.enter(), traces.step(), traces.leave()
        constants = [
            fixed("axis.time", [1]),
            fixed("first", [0]),
            fixed("horizon", [generator.config.horizon]),
            fixed("last", [np.iinfo(np.int64).max]),
            fixed("given.shape", [0, -1, *traces.width]),
            fixed("cond.shape", [0, -1, conditioner(generator).spec.out_dim]),
        ]
        tail: list[onnx.NodeProto] = []
        if not score:
            tail, tables = decoding(vocoder.codec, "elements", "audio")
            constants += tables
        nodes = [
            *frames.nodes("frame/"),
            helper.make_node("Reshape", ["frames", "cond.shape"], ["conditioning"]),
            helper.make_node("Reshape", ["x" if score else "uniforms", "given.shape"], ["given"]),
            *_own(enter, "enter/"),
            # Steps that lie behind: all rows are at the same one.
            helper.make_node("Gather", [TAPE, "first"], ["tape"]),
            helper.make_node("Add", ["tape", "horizon"], ["begin"]),
            helper.make_node("Slice", ["vectors", "begin", "last", "axis.time"], ["cond.steps"]),
            helper.make_node("Slice", ["numbers", "begin", "last", "axis.time"], ["given.steps"]),
            *step.nodes("sample/", ["temperature"]),
            *_own(leave, "leave/"),
            *tail,
        ]
        initializers = stored([*frames.step.weights, *enter.weights, *step.step.weights, *leave.weights], directory)
        return model(interface(vocoder, vocoder.init_state(1), nodes, [*initializers, *constants], score))
