"""Every instruction set gives the very bits of the plain loops, and those are the published equations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.runtime.native import MAX_STREAMS, Engine, Format
from tests.engine import programs
from tests.engine.calls import TOLERANCE, draw, same_on_all_sets, score
from tests.engine.programs import Shape, inputs

FORMATS: tuple[Format, ...] = ("float32", "bf16", "int8")
SHAPES = {
    "smallest": Shape(hidden=2, channels=1, width=1, taps=2, hop=1, latency=0),
    "one vector": Shape(hidden=32),
    "ragged": Shape(hidden=46, channels=7, width=19, taps=5, hop=3, latency=5),
    "sparse": Shape(hidden=130, density=0.2, hop=5, latency=9),
    "emptied": Shape(hidden=96, density=0.01),
    "nothing": Shape(hidden=64, density=0.0),
    "wide": Shape(hidden=320, width=40, density=0.5),
    "strips": Shape(hidden=160, density=0.15, block=(4, 4)),
    "strips, ragged": Shape(hidden=94, channels=7, width=19, hop=3, latency=5, density=0.1, block=(4, 4)),
    "strips, hardly any": Shape(hidden=320, density=0.003, block=(4, 4)),
}


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]


@pytest.fixture
def where(shape: Shape, tmp_path: Path) -> Path:
    return programs.write(tmp_path / "program", programs.program(shape), programs.tensors(shape))


@pytest.mark.parametrize("form", FORMATS)
def test_generic_kernels_compute_the_equations(shape: Shape, where: Path, form: Format) -> None:
    features, _, elements = inputs(shape, 2, 9)
    got, _ = score(Engine(where, format=form, isa="generic"), features, elements)
    weights = programs.tensors(shape)
    expected = np.stack([programs.logits(shape, weights, f, e) for f, e in zip(features, elements, strict=True)])
    assert np.abs(got - expected).max() <= TOLERANCE[form] * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("form", FORMATS)
def test_all_sets_give_the_same_bits(shape: Shape, where: Path, form: Format, sets: list[str]) -> None:
    features, uniforms, elements = inputs(shape, MAX_STREAMS, 9, seed=1)
    same_on_all_sets(where, form, sets, features, uniforms, elements)


def test_a_unit_whose_update_gate_saturates_keeps_its_state(tmp_path: Path, sets: list[str]) -> None:
    """An update gate that ended at 0.9999 would let go of a fifth of it in these 2,000 samples."""
    shape = Shape(hidden=64, latency=0)
    weights = programs.tensors(shape)
    for name in ("leave.weight", "input", "leave.bias", "fresh.vector"):
        gates = weights[name].reshape(2, 3, 32, -1)  # halves, gates (r, u, n), units
        gates[:, 1] = 12 if name in ("leave.bias", "fresh.vector") else 0
    where = programs.write(tmp_path / "program", programs.program(shape), weights)
    features, _, elements = inputs(shape, 1, 500)
    for name in sets:
        logits, _ = score(Engine(where, format="int8", isa=name), features, elements)
        assert np.array_equal(logits[0, 0::2], np.repeat(logits[0, :1], 2000, axis=0))
        assert np.array_equal(logits[0, 1::2], np.repeat(logits[0, 1:2], 2000, axis=0))


@pytest.mark.parametrize("form", FORMATS)
def test_blocks_of_four_rows_are_not_filled_up(form: Format, tmp_path: Path) -> None:
    shape = SHAPES["strips"]
    weights = programs.tensors(shape)
    where = programs.write(tmp_path, programs.program(shape), weights)
    matrices = [weights["recurrent"]]
    matrices += [weights[f"{head}.{layer}.weight"] for head in ("coarse", "fine") for layer in ("inner", "outer")]
    held = sum(np.count_nonzero(matrix) for matrix in matrices) * {"float32": 4, "bf16": 2, "int8": 1}[form] / 64
    assert held < Engine(where, format=form).info.weight_blocks < 1.2 * held


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["ragged", "sparse", "strips"])
def test_batch_mates_change_nothing(name: str, form: Format, tmp_path: Path, sets: list[str]) -> None:
    shape = SHAPES[name]
    where = programs.write(tmp_path, programs.program(shape), programs.tensors(shape))
    features, uniforms, _ = inputs(shape, MAX_STREAMS, 8, seed=2)
    for name in sets:
        engine = Engine(where, format=form, isa=name)
        alone = np.concatenate([draw(engine, features[r : r + 1], uniforms[r : r + 1])[0] for r in range(MAX_STREAMS)])
        assert len({row.tobytes() for row in alone}) == MAX_STREAMS
        for streams in range(2, MAX_STREAMS + 1):
            audio, _ = draw(engine, features[:streams], uniforms[:streams])
            assert np.array_equal(audio, alone[:streams])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("cuts", [(3, 1, 1, 1, 1, 1, 1), (0, 2, 5, 0, 2), (8, 1)], ids=str)
def test_chunks_change_nothing(form: Format, cuts: tuple[int, ...], tmp_path: Path, sets: list[str]) -> None:
    shape = SHAPES["ragged"]
    where = programs.write(tmp_path, programs.program(shape), programs.tensors(shape))
    features, uniforms, _ = inputs(shape, 3, 9, seed=3)
    for name in sets:
        engine = Engine(where, format=form, isa=name)
        whole, final = draw(engine, features, uniforms)
        state, frame, made, parts = engine.init(3), 0, 0, []
        for count in cuts:
            stop = max(0, (frame + count) * shape.hop - shape.latency)
            audio, state = draw(engine, features[:, frame : frame + count], uniforms[:, 2 * made : 2 * stop], state)
            parts.append(audio)
            frame, made = frame + count, stop
        assert np.array_equal(np.concatenate(parts, axis=1), whole)
        assert np.array_equal(state, final)


def test_philox_is_that_of_python(tmp_path: Path) -> None:
    shape = SHAPES["one vector"]
    engine = Engine(programs.write(tmp_path, programs.program(shape), programs.tensors(shape)))
    features, uniforms, _ = inputs(shape, 3, 9)
    seed, start = 2**63 + 12345, 2**40 + 3
    ids, positions = np.array([0, 7, 2**64 - 1], np.uint64), np.full(3, start, np.uint64)
    given = np.stack([noise.block(seed, int(row), start, uniforms.shape[1]) for row in ids])
    expected, _ = draw(engine, features, given)
    got = np.empty_like(expected)
    engine.run(engine.init(3), features, got.shape[1], drawing=True, made={"audio": got}, seed=seed, temperature=1.0,
               given={"stream_ids": ids, "positions": positions})  # fmt: skip
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_draws_invert_the_cumulative_sum(temperature: float, tmp_path: Path, sets: list[str]) -> None:
    """Each byte is the first whose cumulative probability passes the uniform number, up to rounding."""
    shape = SHAPES["one vector"]
    where = programs.write(tmp_path, programs.program(shape), programs.tensors(shape))
    features, uniforms, _ = inputs(shape, 2, 40, seed=5)
    uniforms[:, :2], uniforms[:, 2:4] = 0, 1 - 2**-24
    for name in sets:
        engine = Engine(where, isa=name)
        audio, _ = draw(engine, features, uniforms, temperature=temperature)
        pcm = np.rint(audio * 32768).astype(np.int64) + 32768
        elements = np.stack([pcm >> 8, pcm & 255], axis=2).reshape(2, -1)
        logits, _ = score(engine, features, elements.astype(np.uint8))
        sharp = logits.astype(float) / max(temperature, 1e-3)
        mass = np.exp(sharp - sharp.max(axis=2, keepdims=True))
        edges = mass.cumsum(axis=2) / mass.sum(axis=2, keepdims=True)
        upper = np.take_along_axis(edges, elements[..., None], axis=2)[..., 0]
        lower = upper - np.take_along_axis(mass / mass.sum(axis=2, keepdims=True), elements[..., None], axis=2)[..., 0]
        near = 1e-5 if temperature else 2e-3  # a thousandfold sharpness magnifies the rounding of the logits
        assert (lower - near <= uniforms).all()
        assert (uniforms < upper + near).all()


def test_frames_that_make_no_sample_move_the_state(tmp_path: Path) -> None:
    shape = Shape(hop=4, latency=9)
    engine = Engine(programs.write(tmp_path, programs.program(shape), programs.tensors(shape)))
    features, uniforms, _ = inputs(shape, 1, 2)
    audio, state = draw(engine, features, uniforms)
    assert audio.shape == (1, 0)
    assert not np.array_equal(state, engine.init(1))


def test_sets_are_chosen_by_name_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sets: list[str]
) -> None:
    shape = SHAPES["one vector"]
    where = programs.write(tmp_path, programs.program(shape), programs.tensors(shape))
    assert Engine(where).info.isa.decode() == sets[-1]
    monkeypatch.setenv("SEQGEN_ISA", "generic")
    assert Engine(where).info.isa.decode() == "generic"
    assert Engine(where, isa=sets[-1]).info.isa.decode() == sets[-1]
    monkeypatch.setenv("SEQGEN_ISA", "avx1024")
    with pytest.raises(SeqgenError, match=r"instruction set 'avx1024' cannot be used; known: .*generic"):
        Engine(where)
