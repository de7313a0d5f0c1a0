"""WaveNets over real numbers in the engine: the published equations, one set of bits, chunks, states, bad input."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.export.rounded import bfloat16
from seqgen.runtime.native import MAX_STREAMS, Engine, Format
from seqgen.runtime.native_library import ModelInfo
from tests.engine import programs, stacks
from tests.engine.calls import TOLERANCE, draw, goes_on_from_another_set, same_on_all_sets, score
from tests.engine.programs import Array, Shape
from tests.engine.stacks import Document, Stack, inputs, op

FORMATS: tuple[Format, ...] = ("float32", "bf16", "int8")
STACKS = {
    "mixture": Stack(),
    "ragged": Stack(residual=10, gate=7, skip=20, head=9, kernel=3, front=3, levelled=False, unit=1.0,
                    distribution=stacks.MIXTURE | {"mixtures": 1, "levels": 256, "min_log_scale": -3.9}),
    "gaussian": Stack(distribution=stacks.GAUSSIAN | {"min_log_scale": -3.9}, front=1),
    "no skips": Stack(skip=0, residual=24, levelled=False),
    "far": Stack(dilations=(4, 7, 1, 16), kernel=3, levelled=False),
    "many": Stack(dilations=(1,), distribution=stacks.MIXTURE | {"mixtures": 40}),
}  # fmt: skip
PREVIOUS, INPUTS = 28, 32 + 8  # where a state blob has the sample before, and the first convolution's inputs


@pytest.fixture(scope="module", params=STACKS)
def stack(request: pytest.FixtureRequest) -> Stack:
    return STACKS[request.param]


@pytest.fixture(scope="module")
def where(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stacks.write(stack, tmp_path_factory.mktemp("stack"))


@pytest.mark.parametrize("form", FORMATS)
def test_generic_kernels_compute_the_equations(stack: Stack, where: Path, form: Format) -> None:
    features, _, values = inputs(stack, 2, 9)
    engine = Engine(where, format=form, isa="generic")
    assert (engine.info.classes, engine.info.params) == (0, stack.outputs)
    got, _ = score(engine, features, values)
    expected = np.stack([stacks.parameters(stack, f, v) for f, v in zip(features, values, strict=True)])
    assert expected.std(axis=1).max() > 0.1
    assert np.abs(got - expected).max() <= TOLERANCE[form] * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("name", ["mixture", "ragged", "gaussian"])
def test_what_is_behind_the_skips_has_16_bits(name: str, tmp_path: Path) -> None:
    """With int8 weights too: 8 bits there cost a narrow distribution its place. Nothing else is said here, since the
    skip connections of this stack say nothing but their bias."""
    stack = dataclasses.replace(STACKS[name], levelled=False)
    weights, rng = stacks.tensors(stack), np.random.default_rng(5)
    weights["skip"][:] = 0
    for last in ("head", "out"):
        weights[last] = (bfloat16(weights[last]).astype(np.uint32) << 16).view(np.float32)
    weights["skip.bias"] = rng.uniform(0.1, 1, weights["skip.bias"].shape).astype(np.float32)
    where = programs.write(tmp_path, stacks.program(stack), weights)
    features, _, values = inputs(stack, 2, 9)
    small, exact = (score(Engine(where, format=form), features, values)[0] for form in ("int8", "float32"))
    assert np.abs(exact).max() > 0.1
    assert np.allclose(small, exact, rtol=1e-6, atol=1e-6)


def drawn(stack: Stack, params: Array, uniforms: Array, temperature: float) -> Array:
    """What the distribution draws, in float64 and in the words of its definition."""
    p, distribution = params.astype(float), stack.distribution

    def scale(output: Array) -> Array:
        return np.exp(np.maximum(output + distribution["origin"], distribution["min_log_scale"]))

    if stack.outputs == 2:
        z = np.array([NormalDist().inv_cdf(u) for u in np.clip(uniforms.ravel(), 2.0**-25, 1)]).reshape(uniforms.shape)
        return np.asarray(np.clip(p[..., 0] + temperature * scale(p[..., 1]) * z, -1, 1))
    count, u = distribution["mixtures"], uniforms.reshape(*params.shape[:2], 2).astype(float)
    mass = np.exp(p[..., :count] - p[..., :count].max(axis=-1, keepdims=True)).cumsum(axis=-1)
    which = (mass[..., :-1] <= u[..., :1] * mass[..., -1:]).sum(axis=-1, keepdims=True)
    mean, width = (np.take_along_axis(p, which + first, axis=-1)[..., 0] for first in (count, 2 * count))
    x = mean + temperature * scale(width) * np.log(u[..., 1] / (1 - u[..., 1]))
    return np.asarray(
        np.rint((np.clip(x, -1, 1) + 1) * (distribution["levels"] - 1) / 2) * 2 / (distribution["levels"] - 1) - 1
    )


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_a_sample_is_what_its_uniforms_draw(stack: Stack, where: Path, temperature: float) -> None:
    """Of every sample the distribution is told again with the drawn ones before it. Within a level, or 1e-5."""
    features, uniforms, _ = inputs(stack, 3, 15)
    engine = Engine(where)
    audio, _ = draw(engine, features, uniforms, temperature=temperature)
    params, _ = score(engine, features, audio)
    expected = drawn(stack, params, uniforms, temperature)
    apart = np.abs(audio - expected)
    allowed = 2.1 / (stack.distribution["levels"] - 1) if stack.outputs > 2 else 1e-5
    assert apart.max() <= allowed
    assert (apart > 1e-6).mean() < 0.01
    if temperature:
        assert np.abs(audio).std() > 0.01
        assert len(np.unique(audio)) > 50


@pytest.mark.parametrize("form", FORMATS)
def test_all_sets_give_the_same_bits(stack: Stack, where: Path, form: Format, sets: list[str]) -> None:
    features, uniforms, values = inputs(stack, MAX_STREAMS, 5, seed=1)
    same_on_all_sets(where, form, sets, features, uniforms, values)


@pytest.mark.parametrize("form", FORMATS)
def test_another_set_goes_on_from_a_state(stack: Stack, where: Path, form: Format, sets: list[str]) -> None:
    features, uniforms, _ = inputs(stack, 2, 12)
    goes_on_from_another_set(where, form, sets, features, uniforms)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("streams", [2, 4, 5, 8])
def test_what_is_prepared_for_some_streams_is_what_one_reads(streams: int, form: Format, tmp_path: Path) -> None:
    """Products of far taps are made for as many samples of each stream as a pass has room for."""
    far = STACKS["far"]
    engine = Engine(stacks.write(far, tmp_path), format=form)
    features, uniforms, values = inputs(far, streams, 4)
    together = draw(engine, features, uniforms)[0], score(engine, features, values)[0]
    for s in range(streams):
        alone = (
            draw(engine, features[s : s + 1], uniforms[s : s + 1])[0],
            score(engine, features[s : s + 1], values[s : s + 1])[0],
        )
        assert [part.tobytes() for part in alone] == [part[s : s + 1].tobytes() for part in together]


@pytest.mark.parametrize("form", FORMATS)
def test_chunks_and_batch_mates_change_nothing(stack: Stack, where: Path, form: Format) -> None:
    """Streams at different times may share a call: their rings stand at different places."""
    engine, base = Engine(where, format=form), stack.base
    draws = engine.info.uniforms_per_sample
    features, uniforms, _ = inputs(stack, 3, 9, seed=3)
    whole, final = draw(engine, features, uniforms)
    alone = np.concatenate([draw(engine, features[r : r + 1], uniforms[r : r + 1])[0] for r in range(3)])
    assert np.array_equal(alone, whole)
    cut = draws * (5 * base.hop - base.latency)
    first, states = draw(engine, features[:, :5], uniforms[:, :cut])
    rest, states = draw(engine, features[:, 5:], uniforms[:, cut:], states)
    assert np.array_equal(np.concatenate([first, rest], axis=1), whole)
    assert np.array_equal(states, final)
    step = draws * base.hop
    late = draw(engine, features[:1, :5], uniforms[:1, :cut])[1]
    early = draw(engine, features[1:2, :4], uniforms[1:2, : cut - step])[1]
    both = np.concatenate([features[:1, 5:8], features[1:2, 4:7]])
    given = np.stack([uniforms[0, cut : cut + 3 * step], uniforms[1, cut - step : cut + 2 * step]])
    made, _ = draw(engine, both, given, np.concatenate([late, early]))
    begin = cut // draws
    assert np.array_equal(made[0], whole[0, begin : begin + 3 * base.hop])
    assert np.array_equal(made[1], whole[1, begin - base.hop : begin + 2 * base.hop])


def test_noise_of_the_engine_is_that_of_its_stream(stack: Stack, where: Path) -> None:
    features, uniforms, _ = inputs(stack, 2, 9, seed=4)
    engine = Engine(where)
    expected, _ = draw(engine, features, uniforms)
    for row in range(2):
        audio = np.empty((1, expected.shape[1]), np.float32)
        given = {"stream_ids": np.array([row], np.uint64), "positions": np.zeros(1, np.uint64)}
        engine.run(engine.init(1), features[row : row + 1], audio.shape[1], drawing=True, given=given,
                   made={"audio": audio}, seed=4, temperature=1.0)  # fmt: skip
        assert np.array_equal(audio[0], expected[row])


def test_scored_samples_and_drawn_ones_leave_the_same_state(stack: Stack, where: Path) -> None:
    features, uniforms, _ = inputs(stack, 2, 8)
    engine = Engine(where)
    audio, drawn_state = draw(engine, features, uniforms)
    assert np.array_equal(score(engine, features, audio)[1], drawn_state)


def test_pcm_is_the_audio_rounded_and_held(where: Path, stack: Stack, tmp_path: Path) -> None:
    """Full scale is 1.0 for a real-valued sample, and 32767 in 16 bits."""
    loud = dataclasses.replace(stack, distribution=stack.distribution | {"origin": 2.0})
    features, uniforms, _ = inputs(stack, 2, 8)
    engine = Engine(stacks.write(loud, tmp_path / "loud"))
    audio, _ = draw(engine, features, uniforms)
    pcm = np.empty(audio.shape, np.int16)
    engine.run(engine.init(2), features, pcm.shape[1], drawing=True, given={"uniforms": uniforms}, made={"pcm": pcm},
               temperature=1.0)  # fmt: skip
    assert audio.max() == 1
    assert audio.min() == -1
    assert np.array_equal(pcm, np.clip(np.rint(audio * 32768), -32768, 32767).astype(np.int16))


def test_extreme_numbers_stay_samples(stack: Stack, where: Path) -> None:
    """Uniforms outside all bounds, absurd features and rings of noise still make samples, and a state to go on from."""
    engine = Engine(where)
    features, uniforms, _ = inputs(stack, 2, 6)
    features[0], features[1] = 3e38, -3e38
    odd = np.resize(np.array([np.nan, np.inf, -np.inf, -1, 2, 1, 0, 0.5, 0.5], np.float32), uniforms.shape)
    states = engine.init(2)
    states[1, INPUTS + 32 :] = np.random.default_rng(0).integers(0, 256, states[1, INPUTS + 32 :].shape)
    for numbers, temperature in ((odd, 1.0), (uniforms, 1.0), (odd, np.inf)):  # infinite times ln 1 is no number
        audio, after = draw(engine, features, numbers, states, temperature)
        rest = numbers[:, : 4 * stack.base.hop * engine.info.uniforms_per_sample]
        more, _ = draw(engine, features[:, :4], rest, after, temperature)
        assert (np.abs(audio) <= 1).all()
        assert (np.abs(more) <= 1).all()


DOCUMENTS: dict[str, tuple[Callable[[Document], Any], tuple[str, ...]]] = {
    "no mixtures": (lambda d: op(d, "logistic-mixture").update(mixtures=0), ("mixtures", "between 1 and 256")),
    "absurd mixtures": (lambda d: op(d, "logistic-mixture").update(mixtures=10**9), ("between 1 and 256",)),
    "half a mixture": (lambda d: op(d, "logistic-mixture").update(mixtures=1.5), ("a whole number",)),
    "other mixtures": (lambda d: op(d, "logistic-mixture").update(mixtures=2), ("'out' does not make its parameters",)),
    "one level": (lambda d: op(d, "logistic-mixture").update(levels=1), ("levels", "between 2 and 65536")),
    "a least scale of no size": (
        lambda d: op(d, "logistic-mixture").update(min_log_scale=-1e300), ("'min_log_scale' is -1", "known are -80")),
    "an origin beyond float32": (lambda d: op(d, "logistic-mixture").update(origin=1e308), ("'origin' is 1",)),
    "an origin that is text": (lambda d: op(d, "logistic-mixture").update(origin="nan"), ("origin", "a number")),
    "no origin": (lambda d: op(d, "logistic-mixture").pop("origin"), ("'origin' is missing",)),
    "an unknown distribution": (
        lambda d: op(d, "logistic-mixture").update(op="student"),
        ("unknown op 'student'", "categorical, logistic-mixture, gaussian, logistic"),
    ),
    "a softmax": (
        lambda d: d["ops"].__setitem__(-2, {"op": "categorical", "classes": 256}),
        ("draws symbols, the cell reads real numbers",),
    ),
    "a codec of symbols": (
        lambda d: op(d, "float").update(op="mulaw8"), ("does not go with this cell and distribution",)),
    "two distributions": (lambda d: d["ops"].insert(-1, d["ops"][-2]), ("once",)),
    "a negative unit": (lambda d: op(d, "wavenet").update(unit=-1), ("'unit' is -1",)),
    "no unit at all": (lambda d: op(d, "wavenet").pop("unit"), ("'unit' is missing",)),
    "a start beyond full scale": (lambda d: op(d, "wavenet").update(start=2), ("'start' is 2",)),
    "a level without spread": (lambda d: op(d, "levelled").update(spread=0), ("'spread' is 0",)),
    "a negative amplitude": (lambda d: op(d, "levelled").update(typical=-0.1), ("'typical' is -0.1",)),
    "two levels": (lambda d: d["ops"].insert(6, d["ops"][6]), ("once",)),
    "a level too late": (lambda d: d["ops"].insert(8, d["ops"].pop(6)), ("the conditioning vector has another width",)),
    "no level": (lambda d: d["ops"].pop(6), ("the conditioning vector has another width",)),
    "a residual too many": (
        lambda d: op(d, "wavenet")["residuals"].append(op(d, "wavenet")["residuals"][0]), ("one fewer than 'gates'",)),
    "a residual too few for no skips": (lambda d: op(d, "wavenet").pop("skip"), ("as many as 'gates'",)),
    "a front for symbols": (lambda d: op(d, "wavenet").update(embedding="front"), ("not square",)),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_programs_that_are_wrong(name: str, tmp_path: Path) -> None:
    spoil, words = DOCUMENTS[name]
    said = stacks.refusal(stacks.program(Stack()), stacks.tensors(Stack()), spoil, tmp_path)
    for word in words:
        assert word in said


def test_a_distribution_for_another_cell_is_refused(tmp_path: Path) -> None:
    document = programs.program(Shape())
    document["ops"][-2] = dict(stacks.GAUSSIAN)
    with pytest.raises(SeqgenError, match="it draws real numbers, the cell reads symbols"):
        Engine(programs.write(tmp_path, document, programs.tensors(Shape())))


def test_a_level_for_another_cell_is_refused(tmp_path: Path) -> None:
    document = programs.program(Shape())
    document["ops"].insert(6, {"op": "levelled", "spread": 3.0, "typical": 0.0625})
    with pytest.raises(SeqgenError, match="a level for a cell of bytes"):
        Engine(programs.write(tmp_path, document, programs.tensors(Shape())))


def test_a_state_after_absurd_levels_is_one_to_go_on_from(tmp_path: Path) -> None:
    """Samples over the smallest level and unit would be infinite."""
    stack = Stack(unit=1e-6)
    document = stacks.program(stack)
    op(document, "levelled").update(spread=1e5)
    engine = Engine(programs.write(tmp_path, document, stacks.tensors(stack)))
    features, _, values = inputs(stack, 8, 6)
    state = score(engine, features, np.full_like(values, 0.25))[1]
    largest = state[:, INPUTS : INPUTS + 8].view(np.float32).max()
    assert largest == np.float32(1e30)
    score(engine, features[:, :4], np.full((8, 4 * stack.base.hop), 0.25, np.float32), state)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(stacks.write(Stack(), tmp_path_factory.mktemp("engine")))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5, -1.5])
def test_values_and_states_that_are_wrong(value: float, engine: Engine) -> None:
    features, uniforms, values = inputs(Stack(), 1, 6)
    values[0, 7] = value
    with pytest.raises(SeqgenError, match=r"values lie outside \[-1, 1\]"):
        score(engine, features, values)
    with pytest.raises(SeqgenError, match="values is null"):
        engine.run(engine.init(1), features, values.shape[1], drawing=False, given={}, made={})
    state = engine.init(1)
    state[0, PREVIOUS : PREVIOUS + 4] = np.float32([value]).view(np.uint8)
    with pytest.raises(SeqgenError, match="damaged"):
        draw(engine, features, uniforms, state)


def test_inputs_of_a_state_must_be_finite(engine: Engine) -> None:
    features, uniforms, _ = inputs(Stack(), 1, 6)
    state = engine.init(1)
    state[0, INPUTS : INPUTS + 4] = np.float32([np.inf]).view(np.uint8)
    with pytest.raises(SeqgenError, match="damaged"):
        draw(engine, features, uniforms, state)


def test_a_caller_that_knows_only_symbols_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would give half of the uniforms; its structures are shorter."""
    from seqgen.runtime import native

    class Older(ctypes.Structure):
        _fields_ = native.Call._fields_[: [name for name, _ in native.Call._fields_].index("values")]

    monkeypatch.setattr(native, "Call", Older)
    features, uniforms, _ = inputs(Stack(), 1, 6)
    with pytest.raises(SeqgenError, match="build it anew"):
        draw(engine, features, uniforms)
    info = ModelInfo(struct_size=ModelInfo.uniforms_per_sample.offset)
    engine.call("seqgen_describe", engine._handle, ctypes.byref(info))
    assert (info.hop, info.params) == (20, 0)
