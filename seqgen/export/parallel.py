"""A voice that makes all samples of a chunk at once, as two ONNX graphs of the same form as any other vocoder's.

``loop.onnx`` turns features and uniforms into audio, ``step.onnx`` gives the distributions behind given noise. The
conditioning network runs frame by frame in a ``Scan``, as everywhere; the flow takes the whole chunk in one pass.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from seqgen.export.graph import Piece, model, rename, trace
from seqgen.export.loops import EXAMPLE_BATCH, Names, aligned, conditioner, fixed, frame_loop, interface, stored
from seqgen.generator import Parallel
from seqgen.sample import Vocoder
from seqgen.stream.state import leaves, unflatten

_EXAMPLE_LENGTH = 7  # samples of a trace; the graph takes any number


class _Chunk(nn.Module):
    """A chunk: ``audio [B, N]`` drawn, or with ``score`` the distributions ``[B, N, 2]`` behind given noise."""

    def __init__(self, generator: Parallel, score: bool) -> None:
        super().__init__()
        self.generator, self.score = generator, score

    def forward(self, cond: Tensor, given: Tensor, temperature: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        body = self.generator.body
        state: Any = unflatten(body.init_state(1), flat)
        if self.score:
            made, state = self.generator.judge(given, state, cond)
        else:
            made, state = self.generator.draw(given, state, cond, temperature)
        return (made, *(leaf for _, leaf in leaves(state)))


def _trace_chunk(generator: Parallel, names: Names, score: bool) -> Piece:
    shape = (EXAMPLE_BATCH, _EXAMPLE_LENGTH)
    example = {
        "aligned": torch.randn(*shape, generator.body.spec.cond_dim),
        "given": torch.full((*shape, 1), 0.5),
        "temperature": torch.tensor(1.0),
    }
    state = leaves(generator.body.init_state(EXAMPLE_BATCH))
    example |= {name: leaf for name, (_, leaf) in zip(names.body, state, strict=True)}
    made = "params" if score else "audio"
    outputs = [made, *(f"{name}.after" for name in names.body)]
    axes = {name: {0: "batch"} for name in (*example, *outputs) if name != "temperature"}
    for name in ("aligned", "given", made):
        axes[name][1] = "samples"
    return trace(_Chunk(generator, score), example, outputs, axes)


def assemble(vocoder: Vocoder, directory: Path, score: bool) -> onnx.ModelProto:
    """``step.onnx`` where ``score``, else ``loop.onnx``."""
    generator = vocoder.generator
    assert isinstance(generator, Parallel)
    state = vocoder.init_state(1)
    names = Names.of(state.generator)
    frames, chunk = frame_loop(generator, names), _trace_chunk(generator, names, score)
    kept = {name: name for name in (*chunk.inputs, *chunk.outputs)}
    made = rename(chunk, "chunk/", kept)
    constants = [
        fixed("axis.time", [1]),
        fixed("given.shape", [0, -1, 1]),
        fixed("cond.shape", [0, -1, conditioner(generator).spec.out_dim]),
    ]
    nodes = [
        *frames.nodes("frame/"),
        helper.make_node("Reshape", ["frames", "cond.shape"], ["conditioning"]),
        helper.make_node("Reshape", ["x" if score else "uniforms", "given.shape"], ["given"]),
        *aligned("conditioning", "aligned"),
        *made.nodes,
    ]
    initializers = stored([*frames.step.weights, *chunk.weights], directory)
    return model(interface(vocoder, state, nodes, [*initializers, *constants], score))
