"""Programs, states and calls of lanes that are wrong: a status and one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.runtime.native import Engine
from tests.engine import lanes, programs
from tests.engine.calls import draw
from tests.engine.lanes import Staggered, frames_of, inputs
from tests.engine.programs import Shape
from tests.engine.test_bad_input import op, refused

SIZES = Staggered(Shape(hidden=16, latency=3), lanes=4, horizon=2)
HEADER = 32  # bytes of a state before the place of its lanes: whether they began, and what is written next
Document = dict[str, Any]


def block(document: Document, index: int) -> dict[str, Any]:
    found: dict[str, Any] = op(document, "lanes")["blocks"][index]
    return found


def long_horizon(document: Document) -> None:
    op(document, "lanes")["horizon"] = 4096
    document["latency"] += 3 * 4094 * 4


def endless_state(document: Document) -> None:
    long_horizon(document)
    op(document, "lanes")["blocks"].extend([block(document, 0) | {"dilation": 2000}] * 12)


DOCUMENTS: dict[str, tuple[Callable[[Document], Any], tuple[str, ...]]] = {
    "one lane": (lambda d: op(d, "lanes").update(lanes=1), ("lanes", "between 2 and")),
    "too many lanes": (lambda d: op(d, "lanes").update(lanes=20), ("20 lanes; known are 2 to 16",)),
    "absurdly many lanes": (lambda d: op(d, "lanes").update(lanes=2**40), ("between 2 and",)),
    "lanes that do not divide the hop": (
        lambda d: op(d, "lanes").update(lanes=3), ("3 lanes do not divide the hop of 4",)),
    "a negative horizon": (lambda d: op(d, "lanes").update(horizon=-1), ("horizon", "between 0 and 4096")),
    "an absurd horizon": (lambda d: op(d, "lanes").update(horizon=4097), ("horizon", "between 0 and 4096")),
    "another horizon": (lambda d: op(d, "lanes").update(horizon=3), ("have a latency of 52, the program says 40",)),
    "another look-ahead": (
        lambda d: op(d, "lanes").update(look_ahead=5), ("have a latency of 44, the program says 40",)),
    "no look-ahead": (lambda d: op(d, "lanes").pop("look_ahead"), ("'look_ahead' is missing",)),
    "another latency": (lambda d: d.update(latency=44), ("have a latency of 40, the program says 44",)),
    "no unit": (lambda d: op(d, "lanes").update(unit=0), ("'unit' is no positive float32 number",)),
    "a unit beyond float32": (lambda d: op(d, "lanes").update(unit=1e300), ("'unit' is no positive",)),
    "a unit of nothing": (lambda d: op(d, "lanes").update(unit=1e-40), ("'unit' is no positive",)),
    "no first layer": (lambda d: op(d, "lanes").pop("enter"), ("'enter' is missing",)),
    "a first layer of other lanes": (
        lambda d: op(d, "lanes")["enter"].update(weight="enter.weight"), ("expected F32 [any, 7, any]",)),
    "a first bias of another shape": (
        lambda d: op(d, "lanes")["enter"].update(bias="leave.bias"), ("expected F32 [5]",)),
    "blocks that are no list": (lambda d: op(d, "lanes").update(blocks={}), ("a list was expected",)),
    "blocks without end": (lambda d: op(d, "lanes")["blocks"].extend([block(d, 0)] * 63), ("more than 64 blocks",)),
    "a block of another width": (
        lambda d: block(d, 1).update(conv_weight="enter.weight"), ("expected F32 [5, 5, any]",)),
    "a dense layer that is none": (
        lambda d: block(d, 1).update(dense_weight="lanes.1.conv.weight"), ("expected F32 [5, 5]",)),
    "a block without bias": (lambda d: block(d, 1).pop("dense_bias"), ("block 1: 'dense_bias' is missing",)),
    "no dilation": (lambda d: block(d, 0).pop("dilation"), ("block 0: 'dilation' is missing",)),
    "an absurd dilation": (lambda d: block(d, 0).update(dilation=2**31), ("block 0: ", "between 1 and 65536")),
    "a memory of millions": (
        lambda d: block(d, 0).update(dilation=65536), ("remembers more than 1048576 numbers",)),
    "a long dilation": (lambda d: block(d, 0).update(dilation=3000), ("a matrix of 96016 columns",)),
    "a state without end": (endless_state, ("state is larger than 16 MiB",)),
    "a last layer of another shape": (
        lambda d: op(d, "lanes")["leave"].update(weight="leave.weight"), ("expected F32 [48, 5]",)),
    "a last bias of another shape": (
        lambda d: op(d, "lanes")["leave"].update(bias="lanes.enter.bias"), ("expected F32 [48]",)),
    "no last bias": (lambda d: op(d, "lanes")["leave"].pop("bias"), ("leave: 'bias' is missing",)),
    "twice": (lambda d: d["ops"].insert(-2, op(d, "lanes")), ("stands once, behind wavernn",)),
    "before the cell": (lambda d: d["ops"].insert(5, d["ops"].pop(-3)), ("stands once, behind wavernn",)),
    "behind the distribution": (lambda d: d["ops"].insert(-1, d["ops"].pop(-3)), ("stands once, behind wavernn",)),
    "prediction": (lambda d: d["ops"].append({"op": "prediction", "silence": 0}), ("bytes16 or float without lanes",)),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_programs_that_are_wrong(name: str, tmp_path: Path) -> None:
    spoil, words = DOCUMENTS[name]
    document = lanes.program(SIZES)
    Engine(programs.write(tmp_path / "right", document, lanes.tensors(SIZES)))
    spoil(document)
    refused(programs.write(tmp_path / "wrong", document, lanes.tensors(SIZES)), *words)


def test_the_longest_horizon_loads(tmp_path: Path) -> None:
    """Its stream is twelve thousand lane steps behind, frames and samples of which it keeps."""
    document = lanes.program(SIZES)
    long_horizon(document)
    engine = Engine(programs.write(tmp_path, document, lanes.tensors(SIZES)))
    assert engine.info.ahead == 3 * 4097 * 4
    assert engine.info.state_bytes > 3 * 4097 * 48 * 4


@pytest.mark.parametrize("name", ["lanes.enter.weight", "lanes.1.dense.bias", "lanes.leave.weight", "lanes.leave.bias"])
def test_weights_that_are_no_numbers(name: str, tmp_path: Path) -> None:
    weights = lanes.tensors(SIZES)
    weights[name].flat[-1] = np.nan
    refused(programs.write(tmp_path, lanes.program(SIZES), weights), f"'{name}'", "NaN or infinity")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(lanes.write(tmp_path_factory.mktemp("lanes"), SIZES))


@pytest.mark.parametrize("samples", [0, 4, 11, 13, 16, 52])
def test_samples_that_are_not_those_of_the_stream_are_refused(engine: Engine, samples: int) -> None:
    frames = frames_of(SIZES, 3)
    assert SIZES.samples(frames) == 12
    features, _, _ = inputs(SIZES, 1, frames)
    uniforms = np.zeros((1, 2 * (samples + SIZES.ahead)), np.float32)
    with pytest.raises(SeqgenError, match=r"frames (make 12 samples of this stream|do not make \d+ samples)"):
        draw(engine, features, uniforms)


def test_streams_that_owe_different_samples_share_no_call(engine: Engine) -> None:
    features, uniforms, _ = inputs(SIZES, 2, frames_of(SIZES, 3))
    _, begun = draw(engine, features[:1], uniforms[:1])
    mixed = np.concatenate([begun, engine.init(1)])
    with pytest.raises(SeqgenError, match=r"make 12 samples of this stream, not 52"):
        draw(engine, features, np.zeros((2, 2 * (52 + SIZES.ahead)), np.float32), mixed)


def word(state: Any, index: int, value: int) -> None:
    state[0, HEADER + 4 * index : HEADER + 4 * index + 4] = np.array([value], np.uint32).view(np.uint8)


DAMAGE: dict[str, Callable[[Any], None]] = {
    "steps taken before anything came": lambda state: word(state, 0, SIZES.ahead // SIZES.lanes + SIZES.horizon),
    "more steps than matter": lambda state: word(state, 0, SIZES.ahead // SIZES.lanes + SIZES.horizon + 3),
    "a step before the beginning": lambda state: word(state, 1, 1),
    "a step outside the ring": lambda state: word(state, 1, 1 << 16),
    "a frame outside the ring": lambda state: word(state, 2, -(-(SIZES.ahead + 1) // SIZES.shape.hop) + 2),
    "more that waits than is ever to wait": lambda state: word(state, -2, SIZES.latency + 1),
}


def test_a_stream_that_began_has_all_lanes_under_way(engine: Engine) -> None:
    """Steps of its start are never the last of a call; a place in the ring is one of its own."""
    features, uniforms, _ = inputs(SIZES, 1, frames_of(SIZES, 3))
    _, state = draw(engine, features, uniforms)
    full = SIZES.ahead // SIZES.lanes + SIZES.horizon
    for taken in (1, full - 1, full + 3):
        spoilt = state.copy()
        word(spoilt, 0, taken)
        with pytest.raises(SeqgenError, match="the state is damaged"):
            engine.samples(spoilt[0], 1)
    word(state, 1, SIZES.ahead // SIZES.lanes + 3)
    with pytest.raises(SeqgenError, match="the state is damaged"):
        engine.samples(state[0], 1)


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_states(name: str, engine: Engine) -> None:
    state = engine.init(1)
    assert engine.samples(state[0], 20) == SIZES.samples(20)
    DAMAGE[name](state)
    with pytest.raises(SeqgenError, match="the state is damaged"):
        engine.samples(state[0], 20)


def test_a_state_of_noise_still_makes_samples(engine: Engine) -> None:
    """Everything but the place in the rings is only numbers."""
    frames = frames_of(SIZES, 3)
    features, uniforms, _ = inputs(SIZES, 1, frames)
    _, state = draw(engine, features, uniforms)
    state[:, HEADER + 16 :] = np.random.default_rng(0).integers(0, 256, state[:, HEADER + 16 :].shape)
    uniforms = np.zeros((1, 2 * (frames * SIZES.shape.hop + SIZES.ahead)), np.float32)
    uniforms[:, ::7] = np.nan
    audio, _ = draw(engine, features, uniforms, state)
    assert (np.abs(audio) <= 1).all()
