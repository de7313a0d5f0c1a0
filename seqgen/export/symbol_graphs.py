"""A model that draws symbols as two ONNX graphs: ``step.onnx`` (given symbols → logits) and ``loop.onnx`` (uniforms →
symbols, the whole sampling loop in one call).

Both are assembled from traces of the density's own body. The loop is one symbol as the body of an ONNX ``Scan`` along
time. Where the body does the same for blocks of any length (stacks of convolutions say so, ``length_free``), the step
is the trace of a whole block with free time: all positions are worked on at once. Any other body, as recurrent ones
are, is gone through symbol by symbol there too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from seqgen.export.graph import Piece, model, rename, shared_weights, trace
from seqgen.export.loops import EXAMPLE_BATCH, TYPES, Loop
from seqgen.files.inputs import in_utf8
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.stream.state import leaves, unflatten

_EXAMPLE_POSITIONS = 5  # of a traced block; as the batch, distinct from other sizes
_REAL, _WHOLE = TensorProto.FLOAT, TensorProto.INT64
Weights = Callable[[Piece], list[onnx.TensorProto]]  # of a trace, as its graph has them


class _Block(nn.Module):
    """A block of given symbols ``[B, T]``: their logits ``[B, T, V]``, the last symbol, and the body's state."""

    def __init__(self, generator: AutoRegressive) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, given: Tensor, previous: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        body = self.generator.body
        cond, flat = _split(body.spec.cond_dim, rest)
        line = torch.cat([previous[:, None], given], dim=1)  # [B, 1 + T]
        logits, state = body.step(line[:, :-1], unflatten(body.init_state(1), flat), cond)
        return (logits, line[:, -1], *(leaf for _, leaf in leaves(state)))


class _Scored(nn.Module):
    """One given symbol ``[B]``, as :class:`_Block`: its logits ``[B, V]``."""

    def __init__(self, generator: AutoRegressive) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, given: Tensor, previous: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        body = self.generator.body
        cond, flat = _split(body.spec.cond_dim, rest)
        at_once = None if cond is None else cond[:, None]
        logits, state = body.step(previous[:, None], unflatten(body.init_state(1), flat), at_once)
        return (logits[:, 0], given, *(leaf for _, leaf in leaves(state)))


class _Drawn(nn.Module):
    """One symbol ``[B]`` drawn by a uniform number ``[B]``."""

    def __init__(self, generator: AutoRegressive) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, given: Tensor, temperature: Tensor, previous: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        body = self.generator.body
        cond, flat = _split(body.spec.cond_dim, rest)
        at_once = None if cond is None else cond[:, None]
        logits, state = body.step(previous[:, None], unflatten(body.init_state(1), flat), at_once)
        symbol = self.generator.distribution.sample(logits[:, 0], given[:, None], temperature)
        return (symbol, symbol, *(leaf for _, leaf in leaves(state)))


def _split(cond_dim: int, rest: tuple[Tensor, ...]) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    return (rest[0], rest[1:]) if cond_dim else (None, rest)


def export_graphs(generator: AutoRegressive, directory: Path, *, at: str = "") -> None:
    """Write ``step.onnx`` and ``loop.onnx`` beside ``weights.safetensors``, where the density's names begin with
    ``at``.

    Raises:
        onnx.checker.ValidationError: where a graph is malformed (our own mistake).
    """
    generator.eval()
    for name, graph in (("step.onnx", _scoring), ("loop.onnx", _drawing)):
        with torch.no_grad():
            made = graph(generator, lambda piece: stored(piece, directory, "generator.", at))
        save(made, directory, name)


def step_graph(generator: AutoRegressive) -> onnx.GraphProto:
    """The graph of ``step.onnx`` with its weights inside."""
    with torch.no_grad():
        return _scoring(generator.eval(), lambda piece: piece.weights)


def save(graph: onnx.GraphProto, directory: Path, name: str) -> None:
    """Write a graph as a model file, and check it."""
    onnx.save(model(graph), directory / name)
    with in_utf8(directory) as folder:
        onnx.checker.check_model(f"{folder}/{name}")


def _drawing(generator: AutoRegressive, weights: Weights) -> onnx.GraphProto:
    example = {"given": torch.full((EXAMPLE_BATCH,), 0.5), "temperature": torch.tensor(1.0)}
    names, state = _state(generator)
    piece = _traced(_Drawn(generator), example, generator, names, ["made"], blocks=False)
    cut = {"given": _REAL} | ({"cond": _REAL} if generator.body.spec.cond_dim else {})
    carried = {name: TYPES[leaf.dtype] for name, leaf in state.items()}
    loop = Loop(piece, carried, cut, ["uniforms", *_columns(generator)], {"made": _WHOLE}, "symbols")
    value = helper.make_tensor_value_info
    inputs = [value("uniforms", _REAL, ["batch", "positions"]), value("temperature", _REAL, [])]
    made = value("symbols", _WHOLE, ["batch", "positions"])
    return _interface(generator, loop.nodes("symbol/", ["temperature"]), inputs, made, weights(piece))


def _scoring(generator: AutoRegressive, weights: Weights) -> onnx.GraphProto:
    spec = generator.body.spec
    value = helper.make_tensor_value_info
    names, state = _state(generator)
    inputs = [value("x", _WHOLE, ["batch", "positions"])]
    made = value("logits", _REAL, ["batch", "positions", spec.out_dim])
    if not generator.body.length_free:
        given = torch.zeros(EXAMPLE_BATCH, dtype=torch.int64)
        piece = _traced(_Scored(generator), {"given": given}, generator, names, ["made"], blocks=False)
        cut = {"given": _WHOLE} | ({"cond": _REAL} if spec.cond_dim else {})
        carried = {name: TYPES[leaf.dtype] for name, leaf in state.items()}
        loop = Loop(piece, carried, cut, ["x", *_columns(generator)], {"made": _REAL}, "logits")
        return _interface(generator, loop.nodes("symbol/"), inputs, made, weights(piece))
    given = torch.zeros(EXAMPLE_BATCH, _EXAMPLE_POSITIONS, dtype=torch.int64)
    piece = _traced(_Block(generator), {"given": given}, generator, names, ["made"], blocks=True)
    keep = {name: name for name in (*piece.inputs, *piece.outputs)} | {"given": "x", "made": "logits"}
    keep |= {"cond": "columns"}
    nodes = rename(piece, "block/", keep).nodes
    return _interface(generator, nodes, inputs, made, weights(piece))


def _state(generator: AutoRegressive) -> tuple[list[str], dict[str, Tensor]]:
    """Names of the state's leaves as the graphs have them, and the leaves of an example."""
    state = generator.init_state(EXAMPLE_BATCH)
    named = {f"state.{name}": leaf for name, leaf in leaves(state)}
    return list(named), named


def _columns(generator: AutoRegressive) -> list[str]:
    return ["columns"] if generator.body.spec.cond_dim else []


def _traced(
    module: nn.Module,
    given: Mapping[str, Tensor],
    generator: AutoRegressive,
    names: list[str],
    made: list[str],
    *,
    blocks: bool,
) -> Piece:
    """A trace on an example of what is given, columns, and state; batch is free, and in blocks time."""
    _, state = _state(generator)
    previous, *others = names
    example: dict[str, Any] = {**given, previous: state[previous]}
    if width := generator.body.spec.cond_dim:
        example["cond"] = torch.randn(EXAMPLE_BATCH, *([_EXAMPLE_POSITIONS] if blocks else []), width)
    example |= {name: state[name] for name in others}
    outputs = [*made, *(f"{name}.after" for name in names)]
    axes = {name: {0: "batch"} for name in (*example, *outputs) if name != "temperature"}
    if blocks:
        axes |= {name: {0: "batch", 1: "positions"} for name in ("given", "cond", "made") if name in axes}
    return trace(module, example, outputs, axes)


def _interface(
    generator: AutoRegressive,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    made: onnx.ValueInfoProto,
    weights: list[onnx.TensorProto],
) -> onnx.GraphProto:
    """The graph with its declared inputs and outputs."""
    value, inputs, outputs = helper.make_tensor_value_info, list(inputs), [made]
    if width := generator.body.spec.cond_dim:
        inputs.append(value("columns", _REAL, ["batch", "positions", width]))
    for name, leaf in _state(generator)[1].items():
        kind, shape = TYPES[leaf.dtype], ["batch", *leaf.shape[1:]]
        inputs.append(value(name, kind, shape))
        outputs.append(value(f"{name}.after", kind, shape))
    return helper.make_graph(nodes, "seqgen", inputs, outputs, initializer=weights)


def stored(piece: Piece, directory: Path, traced: str, at: str) -> list[onnx.TensorProto]:
    """The weights of a trace, which stay in the bundle's file; their names begin with ``traced`` in the trace and with
    ``at`` there."""
    names = {weight.name: f"{at}{weight.name.removeprefix(traced)}" for weight in piece.weights}
    return shared_weights(piece.weights, names, directory / "weights.safetensors")
