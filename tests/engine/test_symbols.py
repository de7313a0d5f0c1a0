"""Networks over symbols in the engine: their equations, one set of bits, chunks, neighbours, states, drawing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.runtime.native import MAX_STREAMS, Engine, Format
from tests.engine import symbols
from tests.engine.calls import TOLERANCE
from tests.engine.programs import Array
from tests.engine.symbols import KINDS, Model, draw, inputs, score

FORMATS: tuple[Format, ...] = ("float32", "bf16", "int8")


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> Model:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def where(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return symbols.write(model, tmp_path_factory.mktemp("symbols"))


@pytest.mark.parametrize("form", FORMATS)
def test_logits_are_those_of_the_equations(model: Model, where: Path, form: Format) -> None:
    columns, _, x = inputs(model, 2, 40)
    got, _ = score(Engine(where, format=form), columns, x)
    expected = np.stack([symbols.logits(model, *row) for row in zip(columns, x, strict=True)])
    assert np.abs(got - expected).max() <= TOLERANCE[form] * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("form", FORMATS)
def test_every_set_of_kernels_gives_the_same_bits(model: Model, where: Path, form: Format, sets: list[str]) -> None:
    columns, uniforms, x = inputs(model, 3, 37)

    def everything(name: str) -> list[bytes]:
        engine = Engine(where, format=form, isa=name)
        parts = score(engine, columns, x) + draw(engine, columns, uniforms)
        return [part.tobytes() for part in parts]

    expected = everything("generic")
    for name in sets[1:]:
        assert everything(name) == expected, name


@pytest.mark.parametrize("form", FORMATS)
def test_cuts_change_nothing(model: Model, where: Path, form: Format) -> None:
    """Blocks of positions that share a reading of the weights are cut by calls too."""
    engine = Engine(where, format=form)
    columns, uniforms, x = inputs(model, 1, 70)
    whole, end = score(engine, columns, x)
    drawn, _ = draw(engine, columns, uniforms)
    for size in (1, 5, 16, 33):
        state, scored, symbols_drawn, drawing = engine.init(1), [], [], engine.init(1)
        for first in range(0, 70, size):
            part = slice(first, first + size)
            made, state = score(engine, columns[:, part], x[:, part], state)
            scored.append(made)
            more, drawing = draw(engine, columns[:, part], uniforms[:, part], drawing)
            symbols_drawn.append(more)
        assert np.concatenate(scored, 1).tobytes() == whole.tobytes(), size
        assert state.tobytes() == end.tobytes(), size
        assert np.array_equal(np.concatenate(symbols_drawn, 1), drawn), size


@pytest.mark.parametrize("form", FORMATS)
def test_streams_side_by_side_know_nothing_of_each_other(model: Model, where: Path, form: Format) -> None:
    engine = Engine(where, format=form)
    columns, uniforms, x = inputs(model, MAX_STREAMS, 20)
    for count in (2, 5, MAX_STREAMS):
        scored, _ = score(engine, columns[:count], x[:count])
        drawn, _ = draw(engine, columns[:count], uniforms[:count])
        for row in range(count):
            alone = slice(row, row + 1)
            assert score(engine, columns[alone], x[alone])[0].tobytes() == scored[alone].tobytes()
            assert np.array_equal(draw(engine, columns[alone], uniforms[alone])[0], drawn[alone])


def test_drawn_symbols_are_the_inverse_of_the_cumulative_sum(model: Model, where: Path) -> None:
    engine = Engine(where)
    columns, uniforms, _ = inputs(model, 2, 200)
    for temperature in (1.0, 0.5):
        drawn, _ = draw(engine, columns, uniforms, temperature=temperature)
        scored, _ = score(engine, columns, drawn)
        mass = np.exp((scored.astype(float) - scored.max(-1, keepdims=True)) / temperature)
        ends = np.cumsum(mass, -1) / mass.sum(-1, keepdims=True)
        above = np.take_along_axis(ends, drawn[..., None], -1)[..., 0]
        below = above - np.take_along_axis(mass / mass.sum(-1, keepdims=True), drawn[..., None], -1)[..., 0]
        assert ((below <= uniforms + 1e-6) & (uniforms < above + 1e-6)).all()
        assert len(np.unique(drawn)) > 5


def test_a_cold_draw_is_the_likeliest_symbol(model: Model, where: Path) -> None:
    engine = Engine(where)
    columns, uniforms, _ = inputs(model, 1, 60)
    drawn, _ = draw(engine, columns, uniforms, temperature=0.0)
    scored, _ = score(engine, columns, drawn)
    assert np.array_equal(scored.argmax(-1), drawn)


def test_a_philox_stream_draws_what_its_uniforms_draw(model: Model, where: Path) -> None:
    engine = Engine(where)
    columns, uniforms, _ = inputs(model, 2, 30, seed=7)
    expected, _ = draw(engine, columns, uniforms)
    made = np.full((2, 30), -1, np.int32)
    given = {"stream_ids": np.arange(2, dtype=np.uint64), "positions": np.zeros(2, np.uint64)}
    engine.run(engine.init(2), columns, 30, drawing=True, given=given, made={"drawn": made}, seed=7, temperature=1.0)
    assert np.array_equal(made, expected)


def test_a_state_survives_another_process_s_load(model: Model, where: Path) -> None:
    """A blob is bytes alone: a model loaded anew, with other kernels, goes on from it."""
    columns, uniforms, _ = inputs(model, 1, 40)
    whole, _ = draw(Engine(where), columns, uniforms)
    first, state = draw(Engine(where), columns[:, :17], uniforms[:, :17])
    blob = np.frombuffer(bytearray(state.tobytes()), np.uint8).reshape(state.shape)
    second, _ = draw(Engine(where, isa="generic"), columns[:, 17:], uniforms[:, 17:], blob)
    assert np.array_equal(np.concatenate([first, second], 1), whole)


def test_what_a_call_is_told_of_the_model(model: Model, where: Path) -> None:
    info = Engine(where).info
    assert (info.sample_rate, info.hop, info.latency, info.channels) == (0, 1, 0, model.columns)
    assert (info.classes, info.params, info.uniforms_per_sample) == (model.classes, model.classes, 1)
    assert info.weight_bytes > 0


@pytest.mark.parametrize("symbol", [-1, 1 << 30, None])
def test_symbols_outside_the_alphabet_are_refused(model: Model, where: Path, symbol: int | None) -> None:
    engine = Engine(where)
    columns, _, x = inputs(model, 1, 5)
    x[0, 3] = model.classes if symbol is None else symbol
    with pytest.raises(SeqgenError, match=f"symbol {x[0, 3]} is none of the {model.classes}"):
        score(engine, columns, x)


def test_a_damaged_state_is_refused(model: Model, where: Path) -> None:
    engine = Engine(where)
    columns, uniforms, _ = inputs(model, 1, 3)
    state = engine.init(1)
    state.view(np.uint32)[0, 4] = model.classes if model.classes > 256 else 70000
    with pytest.raises(SeqgenError, match="the state is damaged"):
        draw(engine, columns, uniforms, state)


def vocabulary(where: Path, classes: int) -> Array:
    """A hundred symbols drawn from a recurrent network of so many classes, and what their uniforms pick in float64."""
    model = symbols.Recurrent(classes=classes, hidden=8, embedding=4, layers=1)
    engine = Engine(symbols.write(model, where))
    columns, uniforms, _ = inputs(model, 1, 100)
    drawn, _ = draw(engine, columns, uniforms)
    scored, _ = score(engine, columns, drawn)
    mass = np.exp(scored[0].astype(float) - scored[0].max(-1, keepdims=True))
    picked = (np.cumsum(mass, -1) <= uniforms[0][:, None] * mass.sum(-1, keepdims=True)).sum(-1)
    return np.stack([drawn[0], picked])


@pytest.mark.parametrize("classes", [1, 2, 16, 17, 256, 257, 4096, 4097, 65536])
def test_any_number_of_classes(classes: int, tmp_path: Path) -> None:
    drawn, picked = vocabulary(tmp_path, classes)
    assert (drawn >= 0).all()
    assert (drawn < classes).all()
    assert (drawn == picked).mean() > 0.97
    assert np.abs(drawn - picked).max() <= 1
