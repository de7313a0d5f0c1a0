"""A vocoder's tensors as small as the native engine reads them: ``engine.safetensors``.

With int8 weights a network's matrices have 8 bits, ``w = q · peak / 127`` with one peak a row and
``q = round(127 w / peak)`` (:mod:`seqgen.nets.quantization`); where it is smaller, only their blocks of 4 × 4 that are
not zero. Those of dilated layers have a peak for each tap of a row. Matrices of the conditioning network have bfloat16,
as in the engine itself, and so do the last two of a network that makes distributions of real numbers; which matrices
those are the exporter of an op tells (:mod:`seqgen.export.contract`). All are the very numbers that the engine makes of
float32 weights when it loads them, so nothing is rounded twice and the samples are the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seqgen.export import contract
from seqgen.nets import quantization

FILE = "engine.safetensors"
SIDE = 4
LEAST_DENSE = 256  # of fewer blocks than one in so many the engine makes no matrix
KINDS = {"float64": "F64", "float32": "F32", "int32": "I32", "uint16": "U16", "int8": "I8"}

Array = npt.NDArray[Any]


def int8(name: str, matrix: Array, parts: int = 1) -> dict[str, Array]:
    """The arrays of a matrix ``[rows, columns]`` in 8 bits, by name; see ``tensors.hpp`` of the engine. Each of several
    side by side has peaks of its own."""
    rows, columns = matrix.shape
    levels = quantization.weights(torch.from_numpy(matrix).reshape(rows * parts, columns // parts))
    whole, peak = levels.whole.numpy().astype(np.int8).reshape(rows, columns), levels.absmax[:, 0].numpy()
    if parts > 1:
        return {name: whole, f"{name}.peak": peak}
    padded = np.pad(whole, ((0, -rows % SIDE), (0, -columns % SIDE)))
    blocks = padded.reshape(-(-rows // SIDE), SIDE, -(-columns // SIDE), SIDE).swapaxes(1, 2)
    held = blocks.any((2, 3))
    count = int(held.sum())
    if count * (SIDE**2 + 2) + 2 * len(held) >= whole.size or whole.size // LEAST_DENSE > count * SIDE**2:
        return {name: whole, f"{name}.peak": peak}
    return {
        name: blocks[held].reshape(-1, SIDE**2),
        f"{name}.peak": peak,
        f"{name}.shape": np.array([rows, columns], np.int32),
        f"{name}.counts": held.sum(1).astype(np.uint16),
        f"{name}.columns": held.nonzero()[1].astype(np.uint16),
    }


def bfloat16(values: Array) -> Array:
    """The upper halves of float32 numbers, rounded to the nearest, ties to even; uint16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def uses(document: Mapping[str, Any]) -> tuple[dict[str, int], set[str]]:
    """Names of the matrices that have 8 bits, with how many each is of; and of those that have bfloat16."""
    eighths, halves, exporters = dict[str, int](), set[str](), contract.exporters()
    for op in document["ops"]:
        if op["op"] in ("conv", "dense"):
            halves.add(op["weight"])
        elif op["op"] in exporters:
            held = exporters[op["op"]].matrices(op)
            eighths |= held.int8
            halves |= held.bfloat16
    return eighths, halves


def words(value: Any) -> set[str]:
    """Every string of a JSON value, whatever it stands for."""
    if isinstance(value, str):
        return {value}
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return set().union(*map(words, inner))


def write(document: Mapping[str, Any], tensors: Mapping[str, Array], path: Path) -> None:
    """Write those float32 ``tensors`` that a program names, rounded as its precision says.

    With bf16 the body's matrices, all but a stack's last two, stay float32: the engine rounds some times a factor.
    """
    eighths, halves = uses(document)
    made: dict[str, Array] = {}
    if document["precision"] == "float32":
        halves = set()
    for name, values in ((name, tensors[name]) for name in sorted(words(document["ops"]) & set(tensors))):
        if name in eighths and document["precision"] == "int8":
            made |= int8(name, values, eighths[name])
        else:
            made[name] = bfloat16(values) if name in halves else values
    kinds = {name: "BF16" if name in halves else KINDS[values.dtype.name] for name, values in made.items()}
    _save({name: (kinds[name], values) for name, values in made.items()}, path)


def _save(arrays: Mapping[str, tuple[str, Array]], path: Path) -> None:
    """A safetensors file: length of the header, header, numbers; numpy's own writer knows no bfloat16."""
    header, extent = {}, 0
    # Wide numbers first, so that each begins at a multiple of its size.
    order = sorted(arrays, key=lambda name: (-arrays[name][1].itemsize, name))
    for name in order:
        kind, values = arrays[name]
        header[name] = {"dtype": kind, "shape": values.shape, "data_offsets": [extent, extent + values.nbytes]}
        extent += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            values = arrays[name][1]
            stream.write(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
