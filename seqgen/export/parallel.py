"""A vocoder that makes all samples of a chunk at once, as two ONNX graphs of the same form as any other's, and as ops.

``loop.onnx`` turns features and uniforms into audio, ``step.onnx`` gives the distributions behind given noise. The
conditioning network runs frame by frame in a ``Scan``, as everywhere; the flow takes the whole chunk in one pass, and
each of its layers interpolates its own conditioning between the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from seqgen.audio.codec import Codec
from seqgen.errors import SeqgenError
from seqgen.export.contract import DensityExporter, Placed
from seqgen.export.graph import Piece, model, rename, trace
from seqgen.export.loops import EXAMPLE_BATCH, Loop, Names, conditioner, fixed, interface, stored
from seqgen.export.network import Op
from seqgen.flows.affine import TRUNCATION, Composed
from seqgen.generation.contract import Generator
from seqgen.generation.gain import GainFlow
from seqgen.generation.parallel import Parallel
from seqgen.generation.vocoder import Vocoder
from seqgen.models.frames import FrameConditioner
from seqgen.stream.state import leaves, unflatten

_EXAMPLE_FRAMES = 5  # of a trace; the graph takes any number


def _network(generator: Parallel) -> FrameConditioner:
    net = conditioner(generator)
    if not isinstance(net, FrameConditioner):
        raise SeqgenError(f"there is no graph for {type(net).__name__}", remedy="condition the voice by `frames`")
    return net


class _Frame(nn.Module):
    """One frame: features ``[B, M]`` and all states but the interpolation's in, ``[B, C]`` and those states out."""

    def __init__(self, generator: Parallel) -> None:
        super().__init__()
        self.generator = generator  # by this name its weights are found in the bundle

    def forward(self, frame: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        net = _network(self.generator)
        fresh = net.init_state(1)
        made, state = net.frames(frame[:, None], unflatten(fresh, [*flat, fresh[1][-1]]))
        return (made[:, 0], *[leaf for _, leaf in leaves(state)][:-1])


class _Chunk(nn.Module):
    """A chunk: ``audio [B, N]`` drawn, or with ``score`` the distributions ``[B, N, 2]`` behind given noise."""

    def __init__(self, generator: Parallel, score: bool) -> None:
        super().__init__()
        self.generator, self.score, self.interpolate = generator, score, _network(generator).interpolate

    def forward(
        self, frames: Tensor, given: Tensor, temperature: Tensor, waiting: Tensor, *flat: Tensor
    ) -> tuple[Tensor, ...]:
        made = frames.shape[1] * self.interpolate.spec.up
        cond: Any
        cond, waiting = self.interpolate.lazy(frames, waiting, made - given.shape[1], made)
        state: Any = unflatten(self.generator.body.init_state(1), flat)
        if self.score:
            audio, state = self.generator.affine_params(given, state, cond)
        else:
            audio, state = self.generator.draw(given, state, cond, temperature)
        return (audio, waiting, *(leaf for _, leaf in leaves(state)))


def _frame_loop(generator: Parallel, names: Sequence[str]) -> Loop:
    net = _network(generator)
    state = [leaf for _, leaf in leaves(net.init_state(EXAMPLE_BATCH))][:-1]
    example = {"frame": torch.randn(EXAMPLE_BATCH, net.spec.in_dim)} | dict(zip(names, state, strict=True))
    outputs = ["made", *(f"{name}.after" for name in names)]
    step = trace(_Frame(generator), example, outputs, {name: {0: "batch"} for name in (*example, *outputs)})
    real = TensorProto.FLOAT
    return Loop(step, dict.fromkeys(names, real), {"frame": real}, ["features"], {"made": real}, "frames")


def _trace_chunk(generator: Parallel, names: Names, score: bool) -> Piece:
    net = _network(generator)
    samples = _EXAMPLE_FRAMES * net.spec.up - 3
    example = {
        "frames": torch.randn(EXAMPLE_BATCH, _EXAMPLE_FRAMES, net.spec.out_dim),
        "given": torch.full((EXAMPLE_BATCH, samples, 1), 0.5),
        "temperature": torch.tensor(1.0),
        names.conditioner[-1]: net.interpolate.init_state(EXAMPLE_BATCH),
    }
    state = leaves(generator.body.init_state(EXAMPLE_BATCH))
    example |= {name: leaf for name, (_, leaf) in zip(names.body, state, strict=True)}
    made = "params" if score else "audio"
    outputs = [made, *(f"{name}.after" for name in (names.conditioner[-1], *names.body))]
    axes = {name: {0: "batch"} for name in (*example, *outputs) if name != "temperature"}
    axes["frames"][1] = "frames"
    axes["given"][1] = axes[made][1] = "samples"
    return trace(_Chunk(generator, score), example, outputs, axes)


class ParallelExporter(DensityExporter):
    """Graphs that run the flow once over a chunk; in front of the network the engine draws logistic noise."""

    def placed(self, generator: Generator, state: Any = None) -> Placed:
        body: Any = generator.body
        if isinstance(body, Composed) and len(body.flows) == 2 and isinstance(body.flows[1], GainFlow):
            return Placed(body.flows[0], "body.flows.0", gained=True)
        return Placed(body, "body")

    def drawing(self, generator: Generator, codec: Codec) -> list[Op] | None:
        return [{"op": "logistic", "truncation": TRUNCATION}]

    def assemble(self, vocoder: Vocoder, directory: Path, score: bool) -> onnx.ModelProto:
        """``step.onnx`` where ``score``, else ``loop.onnx``.

        Raises:
            SeqgenError: for a conditioning network other than :class:`~seqgen.models.frames.FrameConditioner`.
        """
        generator = vocoder.generator
        assert isinstance(generator, Parallel)
        state = vocoder.init_state(1)
        names = Names.of(state.generator)
        frames, chunk = _frame_loop(generator, names.conditioner[:-1]), _trace_chunk(generator, names, score)
        made = rename(chunk, "chunk/", {name: name for name in (*chunk.inputs, *chunk.outputs)})
        nodes = [
            *frames.nodes("frame/"),
            helper.make_node("Reshape", ["x" if score else "uniforms", "given.shape"], ["given"]),
            *made.nodes,
        ]
        initializers = stored([*frames.step.weights, *chunk.weights], directory)
        return model(interface(vocoder, state, nodes, [*initializers, fixed("given.shape", [0, -1, 1])], score))
