"""Small surgery on ONNX graphs: renaming, lifting constants out of loops, sharing weights with a safetensors file."""

from __future__ import annotations

import io
import json
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import helper
from torch import nn

OPSET = 18


@dataclass
class Piece:
    """Nodes of a traced module with its initializers; inputs and outputs are names."""

    nodes: list[onnx.NodeProto]
    weights: list[onnx.TensorProto]
    inputs: list[str]
    outputs: list[str]


def trace(
    module: nn.Module, example: Mapping[str, torch.Tensor], outputs: Sequence[str], axes: dict[str, dict[int, str]]
) -> Piece:
    """Trace ``module`` on example inputs, once, with Python control flow resolved for them.

    The tracing exporter is used on purpose: which half of a sample comes next is Python control flow on a state leaf,
    known at every place of an unrolled loop body, and a symbolic exporter would have to carry both branches.
    """
    module.eval()  # the exporter puts all that is inside back to how the module itself stands
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation of the tracing exporter, and the control flow spoken of above
        torch.onnx.export(
            module,
            tuple(example.values()),
            buffer,
            input_names=list(example),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            do_constant_folding=False,  # folded (transposed) copies would not be the tensors of weights.safetensors
            dynamo=False,
        )
    graph = onnx.load_from_string(buffer.getvalue()).graph
    return Piece(
        list(graph.node), list(graph.initializer), [i.name for i in graph.input], [o.name for o in graph.output]
    )


def rename(piece: Piece, prefix: str, keep: Mapping[str, str]) -> Piece:
    """Prefix every inner name; ``keep`` maps inputs and outputs to the names they get. Weights keep theirs."""
    weights = {weight.name for weight in piece.weights}

    def new(name: str) -> str:
        return name if name in weights or not name else keep.get(name, prefix + name)

    nodes = []
    for node in piece.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = prefix + node.name
        copy.ClearField("input")
        copy.ClearField("output")
        copy.input.extend(new(name) for name in node.input)
        copy.output.extend(new(name) for name in node.output)
        nodes.append(copy)
    # An output that is an input passed through has no node of its own to rename.
    return Piece(nodes, piece.weights, [new(n) for n in piece.inputs], [new(n) for n in piece.outputs])


def lift_constants(piece: Piece, outer: Sequence[str]) -> list[onnx.NodeProto]:
    """Take out of a loop body the nodes that depend on weights, constants and ``outer`` names alone."""
    known = {*outer, *(weight.name for weight in piece.weights)}
    outside, inside = [], []
    for node in piece.nodes:
        if all(not name or name in known for name in node.input):
            known.update(node.output)
            outside.append(node)
        else:
            inside.append(node)
    piece.nodes = inside
    return outside


def shared_weights(weights: Sequence[onnx.TensorProto], names: Mapping[str, str], file: Path) -> list[onnx.TensorProto]:
    """Initializers that point into a safetensors file where it holds them; small others stay in the graph.

    ``names`` maps an initializer's name to the tensor's name in ``file``. A safetensors file is an 8-byte header
    length, a JSON header with each tensor's byte range, and raw little-endian data: just what ONNX external data reads.
    """
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    made = []
    for weight in {weight.name: weight for weight in weights}.values():
        entry = header.get(names.get(weight.name, ""))
        if entry is None:
            made.append(weight)
            continue
        first, last = entry["data_offsets"]
        if last - first != len(weight.raw_data):
            raise AssertionError(f"{weight.name}: graph and weights file disagree")
        tensor = onnx.TensorProto(name=weight.name, data_type=weight.data_type, dims=weight.dims)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        place = {"location": file.name, "offset": 8 + length + first, "length": last - first}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        made.append(tensor)
    return made


def model(graph: onnx.GraphProto) -> onnx.ModelProto:
    """The graph as a model file of this exporter's versions."""
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9, producer_name="seqgen"
    )
