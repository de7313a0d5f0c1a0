"""Lanes side by side in the engine: the definition, the same bits everywhere, any chunks, the noise of each sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqgen import noise
from seqgen.runtime.native import FORMATS, MAX_STREAMS, Engine, Format
from tests.engine import lanes
from tests.engine.calls import TOLERANCE, draw, same_on_all_sets, score
from tests.engine.lanes import Staggered, frames_of, inputs
from tests.engine.programs import Shape

PRECISIONS = FORMATS[1:]
SIZES = {
    "few": Staggered(),
    "two lanes, no horizon": Staggered(Shape(hidden=32, hop=6, latency=5), lanes=2, horizon=0, blocks=0),
    "ragged": Staggered(
        Shape(hidden=46, channels=7, width=19, taps=5, hop=9, latency=4), lanes=3, horizon=5, channels=19, blocks=3
    ),
    "sixteen": Staggered(Shape(hidden=30, hop=16, latency=7), lanes=16, horizon=3, channels=24),
    "long hop": Staggered(Shape(hidden=16, hop=80, latency=40), lanes=8, horizon=1, channels=16, blocks=1),
    "no look-ahead": Staggered(Shape(hidden=16, hop=12, latency=0), lanes=4, horizon=2),
    "pruned": Staggered(Shape(hidden=160, hop=4, density=0.15, block=(4, 4)), lanes=2, horizon=4, channels=32),
}


@pytest.fixture(params=SIZES)
def sizes(request: pytest.FixtureRequest) -> Staggered:
    return SIZES[request.param]


@pytest.fixture
def where(sizes: Staggered, tmp_path: Path) -> Path:
    return lanes.write(tmp_path / "program", sizes)


@pytest.mark.parametrize("form", PRECISIONS)
def test_generic_kernels_compute_the_equations(sizes: Staggered, where: Path, form: Format) -> None:
    features, _, elements = inputs(sizes, 2, frames_of(sizes, 9))
    engine = Engine(where, format=form, isa="generic")
    got, _ = score(engine, features, elements)
    expected = np.stack([lanes.logits(sizes, lanes.tensors(sizes), f, e)
                         for f, e in zip(features, elements, strict=True)])  # fmt: skip
    made = expected.shape[1]
    assert made >= 2 * 9 * sizes.lanes
    assert np.abs(got[:, :made] - expected).max() <= TOLERANCE[form] * max(1.0, np.abs(expected).max())


def test_the_model_says_what_it_needs(sizes: Staggered, where: Path) -> None:
    engine = Engine(where)
    assert (engine.info.lanes, engine.info.ahead, engine.info.latency) == (sizes.lanes, sizes.ahead, sizes.latency)
    assert engine.info.elements_per_sample == 2


@pytest.mark.parametrize("form", PRECISIONS)
def test_all_sets_give_the_same_bits(sizes: Staggered, where: Path, form: Format, sets: list[str]) -> None:
    features, uniforms, elements = inputs(sizes, 2, frames_of(sizes, 6), seed=1)
    expected = same_on_all_sets(where, form, sets, features, uniforms, elements)
    assert len(np.unique(expected[2])) > 20


def pieces(sizes: Staggered, cuts: list[int]) -> list[tuple[slice, slice]]:
    """Frames, and uniform numbers or elements, of each call of a stream."""
    made, frame, parts = 0, 0, []
    for count in cuts:
        stop = sizes.samples(frame + count)
        parts.append((slice(frame, frame + count), slice(2 * made, 2 * (stop + sizes.ahead))))
        frame, made = frame + count, stop
    return parts


@pytest.mark.parametrize("form", PRECISIONS)
def test_chunks_change_nothing(sizes: Staggered, where: Path, form: Format) -> None:
    """Frames one by one, those that make no sample included, with an empty call among them."""
    frames = frames_of(sizes, 5)
    features, uniforms, elements = inputs(sizes, 2, frames, seed=3)
    engine = Engine(where, format=form)
    whole, final = draw(engine, features, uniforms)
    told, scored = score(engine, features, elements)
    cuts = [1] * (frames - 3) + [0, 3]
    state, scoring, audio, logits = engine.init(2), engine.init(2), [], []
    held = np.full((2, 2 * sizes.ahead, 256), np.nan, np.float32)
    for frame, part in pieces(sizes, cuts):
        made, state = draw(engine, features[:, frame], uniforms[:, part], state)
        audio.append(made)
        fresh, scoring = score(engine, features[:, frame], elements[:, part], scoring)
        line = np.where(np.isnan(fresh), np.pad(held, ((0, 0), (0, fresh.shape[1] - held.shape[1]), (0, 0))), fresh)
        logits.append(line[:, : line.shape[1] - 2 * sizes.ahead])
        held = line[:, line.shape[1] - 2 * sizes.ahead :]
    assert np.array_equal(np.concatenate(audio, axis=1), whole)
    assert np.array_equal(np.concatenate(logits, axis=1), told[:, : told.shape[1] - 2 * sizes.ahead])
    assert np.array_equal(state, final)
    assert np.array_equal(scoring, scored)


@pytest.mark.parametrize("form", PRECISIONS)
def test_streams_of_a_call_are_what_each_is_alone(tmp_path: Path, form: Format) -> None:
    sizes = SIZES["few"]
    engine = Engine(lanes.write(tmp_path, sizes), format=form)
    frames = frames_of(sizes, 12)
    features, uniforms, _ = inputs(sizes, MAX_STREAMS, frames, seed=2)
    audio, states = draw(engine, features, uniforms)
    assert len({row.tobytes() for row in audio}) == MAX_STREAMS
    for row in range(MAX_STREAMS):
        alone, state = draw(engine, features[row : row + 1], uniforms[row : row + 1])
        assert np.array_equal(alone[0], audio[row])
        assert np.array_equal(state[0], states[row])


def test_what_is_drawn_is_what_is_scored(sizes: Staggered, where: Path) -> None:
    """Each byte of a stream is the one that its own uniform number picks from the distribution that scoring tells."""
    frames = frames_of(sizes, 6) + -(-sizes.ahead // sizes.shape.hop)
    features, uniforms, _ = inputs(sizes, 1, frames, seed=4)
    engine = Engine(where)
    audio, _ = draw(engine, features, uniforms)
    pcm = np.rint(audio[0] * 32768).astype(np.int64) + 32768
    drawn = np.stack([pcm >> 8, pcm & 255], axis=1).reshape(1, -1).astype(np.uint8)
    short = frames_of(sizes, 6)
    count = 2 * sizes.samples(short)
    logits, _ = score(engine, features[:, :short], drawn[:, : count + 2 * sizes.ahead])
    mass = np.exp(logits[0, :count].astype(float) - logits[0, :count].max(axis=1, keepdims=True))
    edges = np.cumsum(mass / mass.sum(axis=1, keepdims=True), axis=1)
    own = drawn[0, :count, None].astype(np.int64)
    upper = np.take_along_axis(edges, own, axis=1)[:, 0]
    lower = upper - np.take_along_axis(mass / mass.sum(axis=1, keepdims=True), own, axis=1)[:, 0]
    assert (lower - 1e-5 <= uniforms[0, :count]).all()
    assert (uniforms[0, :count] < upper + 1e-5).all()


def test_philox_is_that_of_python(sizes: Staggered, where: Path) -> None:
    """In two calls: the position of the second is that of its first sample, however far lanes are ahead."""
    engine = Engine(where)
    frames = frames_of(sizes, 6)
    features, uniforms, _ = inputs(sizes, 2, frames)
    seed = 2**63 + 12345
    ids, starts = np.array([7, 2**64 - 1], np.uint64), np.array([2**40 + 3, 5], np.uint64)
    given = np.stack([noise.block(seed, int(row), int(start), uniforms.shape[1])
                      for row, start in zip(ids, starts, strict=True)])  # fmt: skip
    expected, _ = draw(engine, features, given)
    state, parts = engine.init(2), []
    for frame, part in pieces(sizes, [frames - 1, 1]):
        made = np.empty((2, (part.stop - part.start) // 2 - sizes.ahead), np.float32)
        positions = starts + np.uint64(part.start)
        engine.run(state, features[:, frame], made.shape[1], drawing=True, made={"audio": made}, seed=seed,
                   temperature=1.0, given={"stream_ids": ids, "positions": positions})  # fmt: skip
        parts.append(made)
    assert np.array_equal(np.concatenate(parts, axis=1), expected)


def test_pcm_and_audio_are_the_same_samples(tmp_path: Path) -> None:
    sizes = SIZES["long hop"]
    engine = Engine(lanes.write(tmp_path, sizes))
    features, uniforms, _ = inputs(sizes, 2, frames_of(sizes, 3))
    audio, _ = draw(engine, features, uniforms)
    pcm = np.empty(audio.shape, np.int16)
    engine.run(engine.init(2), features, pcm.shape[1], drawing=True, given={"uniforms": uniforms}, made={"pcm": pcm},
               temperature=1.0)  # fmt: skip
    assert np.array_equal(audio, pcm.astype(np.float32) / 32768)


def test_a_stream_says_how_many_samples_it_makes(sizes: Staggered, where: Path) -> None:
    engine = Engine(where)
    state = engine.init(1)
    features, uniforms, _ = inputs(sizes, 1, frames_of(sizes, 4))
    for frame, part in pieces(sizes, [1] * features.shape[1]):
        wanted = sizes.samples(frame.stop) - sizes.samples(frame.start)
        assert engine.samples(state[0], 1) == wanted
        made, state = draw(engine, features[:, frame], uniforms[:, part], state)
        assert made.shape[1] == wanted
    assert engine.samples(state[0], 3) == 3 * sizes.shape.hop


def test_nothing_is_written_behind_a_state(sizes: Staggered, where: Path) -> None:
    engine = Engine(where)
    features, uniforms, _ = inputs(sizes, 2, frames_of(sizes, 4))
    states = np.full((2, engine.info.state_bytes + 64), 7, np.uint8)
    states[:, :-64] = engine.init(2)
    audio, after = draw(engine, features, uniforms, states)
    assert (after[:, -64:] == 7).all()
    assert np.array_equal(audio, draw(engine, features, uniforms)[0])
