"""Encoders in the engine: columns of whole sources, unfolded; one set of bits; bad programs, sources and calls."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.runtime import native_library
from seqgen.runtime.native import Engine, Format
from tests.engine import programs, symbols
from tests.engine.calls import TOLERANCE
from tests.engine.symbols import DECODER, KINDS, SOURCES, Document, Recurrent, Source, draw, inputs, score
from tests.engine.test_bad_input import refused

FORMATS: tuple[Format, ...] = ("float32", "bf16", "int8")


@pytest.fixture(scope="module", params=SOURCES)
def source(request: pytest.FixtureRequest) -> Source:
    return SOURCES[request.param]


@pytest.fixture(scope="module")
def where(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.write(tmp_path_factory.mktemp("translator"), *symbols.with_source(DECODER, source))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("length", [1, 5, 16, 17, 50])
def test_columns_are_those_of_the_equations(source: Source, where: Path, form: Format, length: int) -> None:
    x = np.random.default_rng(length).integers(0, source.blocks.classes, length)
    engine = Engine(where, format=form)
    got = engine.columns(x[None], np.array([length]))[0]
    expected = symbols.columns(source, x)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= TOLERANCE[form] * max(1.0, np.abs(expected).max())
    assert (engine.info.source_classes, engine.info.channels) == (source.blocks.classes, 16)


@pytest.mark.parametrize("form", FORMATS)
def test_every_set_of_kernels_gives_the_same_columns(
    source: Source, where: Path, form: Format, sets: list[str]
) -> None:
    x, lengths = np.random.default_rng(0).integers(0, source.blocks.classes, (2, 37)), np.array([37, 20])
    made = [Engine(where, format=form, isa=name).columns(x, lengths).tobytes() for name in sets]
    assert set(made) == {made[0]}


def test_what_stands_behind_a_source_changes_nothing(source: Source, where: Path) -> None:
    engine, x = Engine(where), np.random.default_rng(0).integers(0, source.blocks.classes, (2, 30))
    beside = engine.columns(x, np.array([30, 11]))[1]
    alone = engine.columns(x[1:, :11], np.array([11]))[0]
    assert np.array_equal(beside[: len(alone)], alone)
    assert not beside[len(alone) :].any()


def test_what_lies_beyond_the_columns_is_as_zeros(where: Path) -> None:
    """A target may be longer than was expected of its source; with zeros alone the decoder is a language model."""
    engine = Engine(where)
    _, uniforms, x = inputs(DECODER, 1, 30)
    zeros = np.zeros((1, 30, 16), np.float32)
    scored, _ = score(engine, zeros, x)
    assert np.abs(scored[0] - symbols.logits(DECODER, zeros[0], x[0])).max() < 1e-4
    assert draw(engine, zeros, uniforms)[0].min() >= 0


@pytest.mark.parametrize("symbol", [-1, 40])
def test_sources_outside_their_alphabet_are_refused(symbol: int, tmp_path: Path) -> None:
    engine = Engine(programs.write(tmp_path, *symbols.with_source(DECODER, SOURCES["padded"])))
    with pytest.raises(SeqgenError, match=f"symbol {symbol} is none of the 40 of a source"):
        engine.columns(np.array([[3, symbol]]), np.array([2]))


def test_calls_that_are_wrong(tmp_path: Path) -> None:
    engine = Engine(programs.write(tmp_path / "a", *symbols.with_source(DECODER, SOURCES["padded"])))
    x, made, room = np.zeros(5, np.int32), np.zeros((7, 16), np.float32), np.empty(1 << 20, np.uint8)
    whole = {"symbols": x.ctypes.data, "length": 5, "columns": made.ctypes.data, "workspace": room.ctypes.data,
             "workspace_bytes": room.nbytes}  # fmt: skip

    def encode(**changes: Any) -> None:
        given = native_library.Source(**{"struct_size": ctypes.sizeof(native_library.Source), **whole, **changes})
        engine.call("seqgen_encode", engine._handle, ctypes.byref(given))

    encode()
    wrong: dict[str, dict[str, Any]] = {
        "struct_size is 0": {"struct_size": 0},
        "symbols is null": {"symbols": None},
        "columns is null": {"columns": None},
        "workspace has 8 bytes": {"workspace_bytes": 8},
        "-1 symbols of a source": {"length": -1},
        "symbols of a source; give": {"length": 2**40},
    }
    for words, changes in wrong.items():
        with pytest.raises(SeqgenError, match=words):
            encode(**changes)
    other = Engine(symbols.write(KINDS["recurrent"], tmp_path / "b"))
    with pytest.raises(SeqgenError, match="reads no sources"):
        other.columns(np.zeros((1, 2), np.int64), np.array([2]))


def own(document: Document, name: str) -> Document:
    found: Document = next(op for op in document["ops"] if op["op"] == name)
    return found


def block(document: Document) -> Document:
    return own(document, "bytenet")["blocks"][0]  # type: ignore[no-any-return]


BAD: dict[str, tuple[Callable[[Document], Any], tuple[str, ...]]] = {
    "an unknown form": (lambda d: own(d, "bytenet").update(form="spiked"), ("unknown form 'spiked'",)),
    "no blocks": (lambda d: own(d, "bytenet").update(blocks=[]), ("no block",)),
    "blocks without end": (lambda d: own(d, "bytenet").update(blocks=[block(d)] * 1025), ("more than 1024",)),
    "no taps": (lambda d: own(d, "bytenet").update(kernel=0), ("kernel", "between 1 and 64")),
    "another kernel": (lambda d: own(d, "bytenet").update(kernel=2), ("'0.taps' is F32", "expected")),
    "no dilation": (lambda d: block(d).update(dilation=0), ("between 1",)),
    "an absurd dilation": (lambda d: block(d).update(dilation=2**40), ("between 1",)),
    "a state too large": (lambda d: [one.update(dilation=65536) for one in own(d, "bytenet")["blocks"]] + [
        own(d, "bytenet").update(blocks=own(d, "bytenet")["blocks"] * 4)], ("larger than 16 MiB",)),
    "a matrix of another shape": (lambda d: block(d).update(narrow="0.widen"), ("'0.widen' is F32", "expected")),
    "a missing part": (lambda d: block(d).pop("widen"), ("'widen'",)),
    "an epsilon of nothing": (lambda d: own(d, "bytenet").update(epsilon=0), ("'epsilon'",)),
    "a start outside the alphabet": (lambda d: own(d, "bytenet").update(start=50), ("between 0 and 49",)),
    "columns of another width": (lambda d: d.update(channels=4), ("'source.out' is F32", "expected")),
    "an encoder of another form": (
        lambda d: own(d, "bytenet-encoder").update(form="multiplicative"), ("another form",)),
    "other classes": (lambda d: own(d, "categorical").update(classes=49), ("between 50 and 50",)),
    "audio of symbols": (lambda d: d["ops"].__setitem__(-1, {"op": "mulaw8"}), ("does not go with",)),
    "no codec": (lambda d: d["ops"].pop(), ("the ops end before the codec",)),
    "a hop": (lambda d: d.update(hop=2), ("between 1 and 1",)),
    "look-ahead": (lambda d: d.update(latency=1), ("between 0 and 0",)),
    "an encoder behind the decoder": (lambda d: d["ops"].insert(1, d["ops"].pop(0)), ("stands once, before",)),
    "two encoders": (lambda d: d["ops"].insert(0, d["ops"][0]), ("stands once, before",)),
    "an even number of taps": (lambda d: own(d, "bytenet-encoder").update(kernel=4), ("have no middle",)),
    "an unfolding to nothing": (lambda d: own(d, "bytenet-encoder").update(factor=0), ("'factor'",)),
    "frames of features": (lambda d: d["ops"].insert(0, {"op": "relu", "in": "features", "out": "a"}), ("unknown op",)),
    "a voice": (lambda d: d.update(sample_rate=8000), ("before the decoder",)),
    "a level": (lambda d: d["ops"].insert(1, {"op": "levelled", "spread": 1, "typical": 1}), ("behind interpolate",)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_programs_that_are_wrong(name: str, tmp_path: Path) -> None:
    document, weights = symbols.with_source(DECODER, SOURCES["padded"])
    spoil, words = BAD[name]
    spoil(document)
    refused(programs.write(tmp_path, document, weights), *words)


RECURRENT: dict[str, tuple[Callable[[Document], Any], tuple[str, ...]]] = {
    "no layers": (lambda d: d["ops"][0].update(layers=[]), ("no layer",)),
    "layers without end": (lambda d: d["ops"][0].update(layers=d["ops"][0]["layers"] * 300), ("more than 256",)),
    "a recurrent matrix of another shape": (
        lambda d: d["ops"][0]["layers"][0].update(recurrent="embedding"), ("3 H x H",)),
    "an input of another shape": (
        lambda d: d["ops"][0]["layers"][1].update(input_weight="0.input_weight"), ("'0.input_weight' is F32",)),
    "columns": (lambda d: d.update(channels=3), ("columns for a stack that takes none",)),
    "a start outside the alphabet": (lambda d: d["ops"][0].update(start=-1), ("between 0 and 299",)),
    "a distribution of real numbers": (
        lambda d: d["ops"].__setitem__(1, {"op": "gaussian", "origin": -4.0, "min_log_scale": -9.0}), ("stands once",)),
}  # fmt: skip


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_programs_that_are_wrong(name: str, tmp_path: Path) -> None:
    model = Recurrent()
    spoil, words = RECURRENT[name]
    document = symbols.program(model)
    spoil(document)
    refused(programs.write(tmp_path, document, symbols.tensors(model)), *words)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_in_place_of_uniforms_and_states_still_draws_symbols(kind: str, tmp_path: Path) -> None:
    model = KINDS[kind]
    for form in FORMATS:
        engine = Engine(symbols.write(model, tmp_path), format=form)
        given, _, _ = inputs(model, 2, 12)
        uniforms = np.tile(np.array([np.nan, np.inf, -np.inf, -1, 2, 1], np.float32), 4).reshape(2, 12)
        states = engine.init(2)
        states[:, 48:] = np.random.default_rng(0).integers(0, 256, states[:, 48:].shape)
        drawn, _ = draw(engine, given, uniforms, states)
        assert (drawn >= 0).all()
        assert (drawn < model.classes).all()
