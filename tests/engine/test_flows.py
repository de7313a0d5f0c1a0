"""Parallel WaveNets in the engine: their equations, one set of bits, chunks, a helper, states, bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.runtime.native import MAX_STREAMS, Engine, Format
from tests.engine import flows, stacks
from tests.engine.calls import TOLERANCE, draw, goes_on_from_another_set, same_on_all_sets, score
from tests.engine.flows import Flows, inputs, small
from tests.engine.programs import Array, Shape
from tests.engine.stacks import Document, op
from tests.engine.test_helper_thread import needs_two_cores

FORMATS: tuple[Format, ...] = ("float32", "bf16", "int8")
STUDENTS = {
    "levelled": Flows(),
    "ragged": Flows(base=Shape(hop=20, latency=33), levelled=False,
                    flows=(small(1, 2, 4, residual=10, gate=7, head=9, kernel=3), small(1), small(2, 1, skip=20))),
    "one flow": Flows(flows=(small(1, 2),)),
}  # fmt: skip
HEADER = 40  # bytes of a state before the inputs of the first flow's first convolution


@pytest.fixture(scope="module", params=STUDENTS)
def student(request: pytest.FixtureRequest) -> Flows:
    return STUDENTS[request.param]


@pytest.fixture(scope="module")
def where(student: Flows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flows.write(student, tmp_path_factory.mktemp("flows"))


def expected_parameters(student: Flows, features: Array, z: Array) -> Array:
    return np.stack([flows.parameters(student, f, n) for f, n in zip(features, z, strict=True)])


@pytest.mark.parametrize("form", FORMATS)
def test_generic_kernels_compute_the_equations(student: Flows, where: Path, form: Format) -> None:
    features, _, z = inputs(student, 2, 5)
    engine = Engine(where, format=form, isa="generic")
    info = engine.info
    assert (info.classes, info.params, info.uniforms_per_sample, info.feeds_back) == (0, 2, 1, 0)
    got, _ = score(engine, features, z)
    expected = expected_parameters(student, features, z)
    assert expected.std(axis=1).min() > 0.01
    assert np.abs(got - expected).max() <= TOLERANCE[form] * np.abs(expected).max()


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_a_sample_is_its_noise_times_scale_plus_mean(student: Flows, where: Path, temperature: float) -> None:
    features, uniforms, _ = inputs(student, 2, 5)
    audio, _ = draw(Engine(where), features, uniforms, temperature=temperature)
    z = temperature * flows.logistic(uniforms)
    params = expected_parameters(student, features, z)
    expected = np.clip(z * np.exp(params[..., 1]) + params[..., 0], -1, 1)
    assert np.abs(audio - expected).max() <= 2e-5
    assert np.abs(audio).std() > 0.01


@pytest.mark.parametrize("form", FORMATS)
def test_all_sets_give_the_same_bits(student: Flows, where: Path, form: Format, sets: list[str]) -> None:
    features, uniforms, z = inputs(student, MAX_STREAMS, 3, seed=1)
    same_on_all_sets(where, form, sets, features, uniforms, z)


@pytest.mark.parametrize("form", FORMATS)
def test_another_set_goes_on_from_a_state(student: Flows, where: Path, form: Format, sets: list[str]) -> None:
    features, uniforms, _ = inputs(student, 2, 6)
    goes_on_from_another_set(where, form, sets, features, uniforms)


@pytest.mark.parametrize("form", FORMATS)
def test_chunks_and_batch_mates_change_nothing(student: Flows, where: Path, form: Format) -> None:
    engine, base = Engine(where, format=form), student.base
    features, uniforms, _ = inputs(student, 3, 9, seed=3)
    whole, final = draw(engine, features, uniforms)
    for row in range(3):
        alone, _ = draw(engine, features[row : row + 1], uniforms[row : row + 1])
        assert np.array_equal(alone[0], whole[row])
    states, parts = engine.init(3), []
    for first, stop in ((0, 2), (2, 3), (3, 9)):
        begin, end = (max(0, frame * base.hop - base.latency) for frame in (first, stop))
        audio, states = draw(engine, features[:, first:stop], uniforms[:, begin:end], states)
        parts.append(audio)
    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    assert np.array_equal(states, final)
    assert np.abs(np.diff(whole)).max() > 0


@pytest.mark.parametrize("hop", [1, 63, 64, 65, 128])
def test_frames_of_any_length(hop: int, tmp_path: Path) -> None:
    """Shorter than a pass, as long, longer; frame by frame, the first of which make nothing, and with calls of none."""
    sizes = Flows(base=Shape(hop=hop, latency=2 * hop))
    engine = Engine(flows.write(sizes, tmp_path / "voice"))
    features, uniforms, _ = inputs(sizes, 2, 9)
    whole, final = draw(engine, features, uniforms)
    states, made = engine.init(2), 0
    for frame in range(9):
        count = engine.samples(states[0], 1)
        part, states = draw(engine, features[:, frame : frame + 1], uniforms[:, made : made + count], states)
        assert np.array_equal(part, whole[:, made : made + count])
        made += count
        nothing, states = draw(engine, features[:, :0], uniforms[:, :0], states)
        assert nothing.shape == (2, 0)
    assert made == whole.shape[1] == 7 * hop
    assert np.array_equal(states, final)


@needs_two_cores
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("streams", [1, 3])
def test_a_helper_changes_no_bit(student: Flows, where: Path, form: Format, streams: int) -> None:
    features, uniforms, z = inputs(student, streams, 7)
    one, two = (Engine(where, format=form, threads=threads) for threads in (1, 2))
    assert (one.info.threads, two.info.threads) == (1, min(2, len(student.flows)))
    for _ in range(2):  # the second time the helper may be asleep, or still about
        for make, given in ((score, z), (draw, uniforms)):
            for expected, got in zip(make(one, features, given), make(two, features, given), strict=True):
                assert expected.tobytes() == got.tobytes()


def test_noise_of_the_engine_is_that_of_its_stream(student: Flows, where: Path) -> None:
    """From any position on: the second call begins where the first one ended."""
    features, uniforms, _ = inputs(student, 2, 5, seed=4)
    engine, base = Engine(where), student.base
    expected, _ = draw(engine, features, uniforms)
    states, parts, position = engine.init(2), [], 0
    for first, stop in ((0, 3), (3, 5)):
        samples = stop * base.hop - base.latency - position
        audio = np.empty((2, samples), np.float32)
        given = {"stream_ids": np.arange(2, dtype=np.uint64), "positions": np.full(2, position, np.uint64)}
        engine.run(states, features[:, first:stop], samples, drawing=True, given=given, made={"audio": audio}, seed=4,
                   temperature=1.0)  # fmt: skip
        parts.append(audio)
        position += samples
    assert np.array_equal(np.concatenate(parts, axis=1), expected)


def test_given_noise_and_drawn_noise_leave_the_same_state(student: Flows, where: Path) -> None:
    features, uniforms, z = inputs(student, 2, 4)
    engine = Engine(where)
    audio, drawn = draw(engine, features, uniforms)
    params, scored = score(engine, features, z)
    made = np.clip(z * np.exp(params[..., 1]) + params[..., 0], -1, 1)
    assert np.abs(made - audio).max() < 1e-5
    differing = (drawn != scored).mean()  # numpy's logarithm and the engine's differ in a last bit here and there
    assert differing < 0.2


def test_pcm_is_the_audio_rounded(student: Flows, where: Path) -> None:
    features, uniforms, _ = inputs(student, 2, 4)
    engine = Engine(where)
    audio, _ = draw(engine, features, uniforms)
    pcm = np.empty(audio.shape, np.int16)
    engine.run(engine.init(2), features, pcm.shape[1], drawing=True, given={"uniforms": uniforms}, made={"pcm": pcm},
               temperature=1.0)  # fmt: skip
    assert np.array_equal(pcm, np.clip(np.rint(audio * 32768), -32768, 32767).astype(np.int16))


def test_extreme_numbers_stay_samples(student: Flows, where: Path) -> None:
    """Uniforms outside all bounds, absurd features and temperatures still make samples, and a state to go on from."""
    engine = Engine(where)
    features, uniforms, _ = inputs(student, 2, 4)
    odd = np.resize(np.array([np.nan, np.inf, -np.inf, -1, 2, 1, 0, 0.5], np.float32), uniforms.shape)
    features[0], features[1] = 3e38, -3e38
    for numbers, temperature in ((odd, 1.0), (uniforms, 1e38), (uniforms, np.inf)):
        audio, after = draw(engine, features, numbers, temperature=temperature)
        more, _ = draw(engine, features[:, :2], numbers[:, : 2 * student.base.hop], after, temperature)
        assert (np.abs(audio) <= 1).all()
        assert (np.abs(more) <= 1).all()
    params, _ = score(engine, features, np.full(uniforms.shape, 1000, np.float32))
    assert params.shape == (*uniforms.shape, 2)


FLOW = "parallel-wavenet"
DOCUMENTS: dict[str, tuple[Callable[[Document], Any], str]] = {
    "no flows": (lambda d: op(d, FLOW).update(flows=[]), "0 flows, known are 1 to 16"),
    "17 flows": (lambda d: op(d, FLOW).update(flows=op(d, FLOW)["flows"][:1] * 17), "17 flows"),
    "no floor": (lambda d: op(d, FLOW)["flows"][0].pop("floor"), "'floor' is missing"),
    "a floor of nothing": (lambda d: op(d, FLOW)["flows"][1].update(floor=0), "'floor' is 0"),
    "an absurd shift": (lambda d: op(d, FLOW)["flows"][0].update(shift=1e9), "'shift' is 1"),
    "a flow for symbols": (lambda d: op(d, FLOW)["flows"][0].update(embedding="0.front"), "not square"),
    "a flow of another width": (
        lambda d: op(d, FLOW)["flows"][0].update(out=["0.head", "0.head.bias"]), "does not make mean and scale"),
    "a flow too few": (lambda d: op(d, FLOW)["flows"].pop(), "the conditioning vector has another width"),
    "no level": (lambda d: d["ops"].pop(6), "the conditioning vector has another width"),
    "no noise": (lambda d: d["ops"].pop(8), "it stands once, behind the distribution"),
    "noise twice": (lambda d: d["ops"].insert(8, d["ops"][8]), "it stands once, behind parallel-wavenet"),
    "noise without end": (lambda d: op(d, "logistic").update(truncation=0), "'truncation' is 0"),
    "a mixture's noise": (
        lambda d: d["ops"].__setitem__(8, dict(stacks.MIXTURE)), "behind a cell that draws sample by sample"),
    "a codec of symbols": (lambda d: op(d, "float").update(op="mulaw8"), "does not go with this cell"),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_programs_that_are_wrong(name: str, tmp_path: Path) -> None:
    spoil, words = DOCUMENTS[name]
    assert words in stacks.refusal(flows.program(Flows()), flows.tensors(Flows()), spoil, tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1001.0])
def test_noise_and_states_that_are_wrong(value: float, student: Flows, where: Path) -> None:
    engine = Engine(where)
    features, uniforms, z = inputs(student, 1, 3)
    z[0, 7] = value
    with pytest.raises(SeqgenError, match=r"values lie outside \[-1000, 1000\]"):
        score(engine, features, z)
    if np.isfinite(value):
        return
    first = student.flows[0]
    rings = sum((first.kernel - 1) * dilation for dilation in first.dilations)
    newest = HEADER - 8 + 40 + rings * 4 * 16  # behind the rings, whose rows are padded to whole vectors
    for place in (HEADER, newest):
        state = draw(engine, features, uniforms)[1]
        state[0, place : place + 4] = np.float32([value]).view(np.uint8)
        with pytest.raises(SeqgenError, match="damaged"):
            draw(engine, features, uniforms, state)
