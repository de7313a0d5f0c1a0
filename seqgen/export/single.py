"""One graph of a bundle as one file: its weights inside, in 8 bits where wished, for onnxruntime wherever it runs.

In 8 bits a matrix W of a loop's step holds whole numbers, one unit a row, as the native engine's does
(:mod:`seqgen.nets.quantization`); what it multiplies is rounded to 8 bits at each step:

    W_q = round(W / unit)        x ≈ s (x_q - z)        W x ≈ (W_q (x_q - z)) · s · unit

Processors without VNNI add products in pairs in 16 bits and cut off what is beyond: the unit is so large that no pair
of neighbours goes beyond 128, 255 · 128 < 2¹⁵, and a file says the same on every processor.

They are initializers of the loop's body, where onnxruntime packs them once; those that a loop takes from outside it
would be packed at each step.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.files.outputs import replacing

TOP = 127
FORMS = (".onnx", ".ort")


@dataclass(frozen=True)
class Written:
    """Report of a graph that was written.

    Attributes:
        size: bytes of the file. weights: numbers in the graph. rounded: those of them that have 8 bits.
    """

    size: int
    weights: int
    rounded: int


def write(bundle: Bundle, graph: str, path: Path, *, int8: bool = False) -> Written:
    """Write ``graph`` ("loop", "step", of a translator "encoder") of a bundle to ``path``: ``.onnx``, or ``.ort`` for
    builds without a parser.

    The file's metadata say what it is of: ``seqgen.digest``, ``seqgen.kind``, ``seqgen.licence``, and what the kind
    adds (:meth:`seqgen.manifest.Manifest.metadata`), a vocoder ``seqgen.features`` and ``seqgen.sample_rate``.

    Raises:
        SeqgenError: for another ending, a bundle without graphs, int8 where no matrix has a product inside a loop, or
            a place that cannot be written.

    Example:
        >>> write(Bundle.open(Path("voice")), "loop", Path("voice.int8.onnx"), int8=True)   # doctest: +SKIP
    """
    if path.suffix not in FORMS:
        raise SeqgenError(f"{path}: the ending says no form", remedy=f"end it in {' or '.join(FORMS)}")
    model = onnx.load(str(bundle.path(f"{graph}.onnx")))
    rounded = sum(_round_body(model.graph, body) for body in _bodies(model.graph)) if int8 else 0
    if int8 and not rounded:
        raise SeqgenError(
            f"{bundle.directory}: {graph}.onnx has no matrix product inside a loop", remedy="leave out --int8"
        )
    _drop_unused(model.graph)
    manifest = bundle.manifest
    about = {"digest": manifest.digest, "kind": manifest.kind, "licence": manifest.licence, **manifest.metadata()}
    helper.set_model_props(model, {f"seqgen.{name}": value for name, value in about.items()})
    data = model.SerializeToString(deterministic=True)
    if path.suffix == ".ort":
        data = _as_ort(data)
    with replacing(path) as file:
        file.write(data)
    holders = [model.graph, *_bodies(model.graph)]
    weights = sum(int(np.prod(one.dims)) for holder in holders for one in holder.initializer)
    return Written(len(data), weights, rounded)


def _bodies(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Bodies of the loops along time."""
    for node in graph.node:
        if node.op_type == "Scan":
            yield helper.get_node_attr_value(node, "body")


def _round_body(graph: onnx.GraphProto, body: onnx.GraphProto) -> int:
    """Put 8-bit products in place of a body's products with float32 weights; how many weights those are."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    nodes, count = list[onnx.NodeProto](), 0
    for node in body.node:
        matrix = _matrix(node, stored, makers)
        if matrix is None:
            nodes.append(node)
            continue
        count += matrix.size
        nodes += _product(node, matrix, body)
    del body.node[:]
    body.node.extend(nodes)
    return count


def _matrix(
    node: onnx.NodeProto, stored: dict[str, onnx.TensorProto], makers: dict[str, onnx.NodeProto]
) -> npt.NDArray[np.float32] | None:
    """The weights ``[inputs, outputs]`` of a product, or None where it is none, or not with weights as they are."""
    if node.op_type not in ("MatMul", "Gemm"):
        return None
    name, turned = node.input[1], False
    maker = makers.get(name)
    if maker is not None and maker.op_type == "Transpose":
        name, turned = maker.input[0], True
    if name not in stored or stored[name].data_type != TensorProto.FLOAT:
        return None
    if node.op_type == "Gemm":
        turned ^= bool(_number(node, "transB", 0))
        if _number(node, "transA", 0) or _number(node, "alpha", 1) != 1 or _number(node, "beta", 1) != 1:
            return None
    weights: npt.NDArray[np.float32] = numpy_helper.to_array(stored[name])
    return weights.T if turned else weights


def _number(node: onnx.NodeProto, name: str, default: float) -> float:
    found = [attribute for attribute in node.attribute if attribute.name == name]
    return float(helper.get_attribute_value(found[0])) if found else default


def _product(node: onnx.NodeProto, matrix: npt.NDArray[np.float32], body: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes of an 8-bit product; its numbers become initializers of the body."""
    made, bias = node.output[0], list(node.input[2:3])
    unit = _units(matrix)
    whole = np.rint(matrix / np.where(unit, unit, 1)).astype(np.int8)
    body.initializer.extend(
        [numpy_helper.from_array(whole, f"{made}.whole"), numpy_helper.from_array(unit, f"{made}.unit")]
    )
    before = f"{made}.scaled" if bias else made
    nodes = [
        helper.make_node("DynamicQuantizeLinear", [node.input[0]], [f"{made}.given", f"{made}.step", f"{made}.zero"]),
        helper.make_node("MatMulInteger", [f"{made}.given", f"{made}.whole", f"{made}.zero"], [f"{made}.sum"]),
        helper.make_node("Cast", [f"{made}.sum"], [f"{made}.real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{made}.step", f"{made}.unit"], [f"{made}.scale"]),
        helper.make_node("Mul", [f"{made}.real", f"{made}.scale"], [before]),
    ]
    return nodes + ([helper.make_node("Add", [before, *bias], [made])] if bias else [])


def _units(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit of each column: the numbers of one sign in a pair of rows sum up to 127 of it at most."""
    even = np.concatenate([matrix, np.zeros((len(matrix) % 2, matrix.shape[1]), np.float32)])
    pairs = even.reshape(-1, 2, matrix.shape[1])
    most = np.maximum(pairs.clip(min=0).sum(axis=1), -pairs.clip(max=0).sum(axis=1)).max(axis=0)
    return (most / TOP).astype(np.float32)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes whose outputs nobody reads, then weights that nobody reads."""
    while True:
        read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        read |= {name for body in _bodies(graph) for node in body.node for name in node.input}
        read |= {value.name for body in _bodies(graph) for value in body.output}
        kept = [node for node in graph.node if read & set(node.output)]
        if len(kept) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(kept)
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def _as_ort(data: bytes) -> bytes:
    """The model in onnxruntime's own form, optimised for no particular processor."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "graph.ort"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(path)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = 3
        options.add_session_config_entry("session.save_model_format", "ORT")
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()
