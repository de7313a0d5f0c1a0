"""Weights stored in 8 and 16 bits: the engine makes the samples of them that it makes of float32 ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from seqgen.errors import SeqgenError
from seqgen.export import rounded
from seqgen.runtime.native import Engine
from tests.engine import flows, programs, stacks
from tests.engine.calls import draw, score
from tests.engine.programs import Array, Shape, inputs
from tests.engine.stacks import Stack

SHAPES = {
    "dense": Shape(hidden=32),
    "ragged": Shape(hidden=46, channels=7, width=19, taps=5, hop=3, latency=5, density=0.2),
    "sparse": Shape(hidden=128, density=0.05),
    "nothing": Shape(hidden=64, density=0.0),
}


def pair(shape: Shape, precision: str, folder: Path) -> tuple[Path, Path]:
    """The same program over float32 tensors and over rounded ones."""
    return both(programs.program(shape) | {"precision": precision}, programs.tensors(shape), folder)


def both(document: dict[str, Any], weights: dict[str, Array], folder: Path) -> tuple[Path, Path]:
    """A program over float32 tensors and over rounded ones."""
    plain = programs.write(folder / "plain", document, weights)
    small = programs.write(folder / "small", document | {"tensors": [rounded.FILE]}, {})
    (small / "weights.safetensors").unlink()
    rounded.write(document, weights, small / rounded.FILE)
    return plain, small


@pytest.mark.parametrize("precision", ["int8", "bf16", "float32"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_same_bits(name: str, precision: str, tmp_path: Path) -> None:
    shape = SHAPES[name]
    features, uniforms, elements = inputs(shape, 3, 9)
    engines = [Engine(where) for where in pair(shape, precision, tmp_path)]
    expected, got = (score(engine, features, elements)[0] for engine in engines)
    assert got.tobytes() == expected.tobytes()
    expected, got = (draw(engine, features, uniforms)[0] for engine in engines)
    assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("precision", ["int8", "bf16"])
@pytest.mark.parametrize("kind", ["stack", "flows"])
def test_the_same_bits_of_wavenets(kind: str, precision: str, tmp_path: Path) -> None:
    """Each tap of a gate's row has a peak of its own, and the last two matrices have 16 bits."""
    sizes = Stack(kernel=3, residual=10, gate=7, dilations=(1, 2, 4, 1, 2, 8))
    student = flows.Flows(flows=(flows.small(1, 2), flows.small(1, skip=20)))
    made = (stacks.program(sizes), stacks.tensors(sizes), stacks.inputs(sizes, 3, 9))
    document, weights, given = made if kind == "stack" else (
        flows.program(student), flows.tensors(student), flows.inputs(student, 3, 3))  # fmt: skip
    weights["0.gates.1" if kind == "flows" else "gates.1"][:, :10] *= 100
    engines = [Engine(where) for where in both(document | {"precision": precision}, weights, tmp_path)]
    features, uniforms, values = given
    expected, got = (score(engine, features, values)[0] for engine in engines)
    assert got.tobytes() == expected.tobytes()
    expected, got = (draw(engine, features, uniforms)[0] for engine in engines)
    assert got.tobytes() == expected.tobytes()
    plain, small = ((tmp_path / name).iterdir() for name in ("plain", "small"))
    sizes_of = [max(file.stat().st_size for file in files) for files in (plain, small)]
    assert sizes_of[1] < {"int8": 0.5, "bf16": 1.0}[precision] * sizes_of[0]


def test_sparse_matrices_are_small(tmp_path: Path) -> None:
    plain, small = pair(Shape(hidden=256, density=0.05), "int8", tmp_path)
    assert 6 * (small / rounded.FILE).stat().st_size < (plain / "weights.safetensors").stat().st_size


def test_numbers_of_16_bits_are_the_nearest() -> None:
    values = np.array([1.0, -2.5, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 0.0], np.float32)
    made = (rounded.bfloat16(values).astype(np.uint32) << 16).view(np.float32)
    assert made.tolist() == [1.0, -2.5, 1.0, 1 + 4 * 2**-8, 1 + 2**-7, 0.0]


SPOILT: dict[str, tuple[Callable[[dict[str, Array]], Any], str]] = {
    "no peaks": (lambda t: t.pop("recurrent.peak"), "no tensor 'recurrent.peak'"),
    "too few peaks": (lambda t: t.update({"recurrent.peak": t["recurrent.peak"][:-1]}), "'recurrent' is I8"),
    "peaks that are no numbers": (lambda t: t["recurrent.peak"].__setitem__(0, np.inf), "NaN or infinity"),
    "another shape": (lambda t: t["recurrent.shape"].__setitem__(1, 132), "3 H x H"),
    "an absurd shape": (lambda t: t["recurrent.shape"].__setitem__(1, 2**31 - 1), "too few blocks for its shape"),
    "a negative shape": (lambda t: t["recurrent.shape"].__setitem__(1, -128), "'recurrent' is I8"),
    "a block too many": (
        lambda t: t["recurrent.counts"].__setitem__(slice(-8, None), 0),
        "more blocks",
    ),
    "a block too few": (lambda t: t["recurrent.counts"].__setitem__(0, 60000), "fewer blocks"),
    "a block outside": (lambda t: t["recurrent.columns"].__setitem__(0, 60000), "outside itself"),
    "blocks in disorder": (lambda t: t["recurrent.columns"].__setitem__(1, 0), "not in order"),
    "no columns": (lambda t: t.pop("recurrent.columns"), "no tensor 'recurrent.columns'"),
    "columns of another size": (lambda t: t.update({"recurrent.columns": t["recurrent.columns"][1:]}), "expected U16"),
    "-128": (lambda t: t["recurrent"].__setitem__((0, 0), -128), "holds -128"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_does_not_fit_is_refused(name: str, tmp_path: Path) -> None:
    shape = SHAPES["sparse"]
    document, weights = programs.program(shape) | {"precision": "int8"}, programs.tensors(shape)
    for kept in list(weights):
        if kept == "recurrent":
            weights |= rounded.int8(kept, weights[kept])
    spoil, words = SPOILT[name]
    spoil(weights)
    where = programs.write(tmp_path, document, weights)
    assert "recurrent" in load_file(where / "weights.safetensors")
    with pytest.raises(SeqgenError) as caught:
        Engine(where)
    assert words in str(caught.value)


def test_a_bias_has_no_8_bits(tmp_path: Path) -> None:
    shape = SHAPES["dense"]
    where = programs.write(tmp_path, programs.program(shape), programs.tensors(shape))
    weights = load_file(where / "weights.safetensors")
    save_file(weights | {"enter.bias": np.zeros(shape.width, np.int8)}, where / "weights.safetensors")
    with pytest.raises(SeqgenError, match=r"'enter\.bias' is I8"):
        Engine(where)
