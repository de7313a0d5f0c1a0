"""Hostile messages over a WebSocket: each costs its context or its connection, never a slot or a neighbour."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.http.protocol import RequestLimits
from serving.websocket.protocol import _FIELDS
from tests.serving.fakes import SPEC
from tests.serving.simulated import Line, Simulation, simulate, whole_sound
from tests.serving.test_websocket_schedules import answers, binary

INIT = {"type": "init", "input": "audio", "rate": 8000}
HUGE = 10**400
VALUES = (
    None, True, False, 0, 1, -1, 1.5, -0.0, 2**31, 2**53, 2**63, 2**64, -(2**64), HUGE, -HUGE, 1e308, float("nan"),
    float("inf"), float("-inf"), "", "0", "x", "x" * 5000, "\ud800", "\0\r\n\x1b[31m", "../../etc/passwd", "audio",
    "features", "pcm", "opus", [], [0], {}, {"a": 1}, [[[[[[[[]]]]]]]], list(range(2000)),
)  # fmt: skip
MESSAGES = {
    "init": (INIT, {"type": "init", "input": "features", "signature": SPEC.signature}),
    "flush": ({"type": "flush"},),
    "cancel": ({"type": "cancel"},),
    "close": ({"type": "close", "context": 0},),
}


def raw(message):
    return {"type": "websocket.receive", "text": message}


def text(**fields):
    return raw(json.dumps(fields))


async def beside_a_neighbour(messages, *, rng=None):
    """What is said to messages while context 7 of the same connection, and another connection, go on."""
    simulation = Simulation(rng or random.Random(0))
    line, other = Line(), Line()
    serving = [asyncio.create_task(simulation.serve(one)) for one in (line, other)]
    data = bytes(range(200))
    for one in (line, other):
        one.say(text(**INIT, context=7))
        one.say(binary(7, data))
    await asyncio.sleep(0.1)
    for message in messages:
        line.say(message)
        await asyncio.sleep(0)
    for one in (line, other):
        one.say(text(type="flush", context=7))
    await asyncio.sleep(1)
    for one in (line, other):
        one.say(text(type="close"))
    await asyncio.gather(*serving)
    assert answers(other.heard)[7] == ["ready", whole_sound(0, data), ("flushed", 0), "closed"]
    told = answers(line.heard)
    assert "internal_error" not in json.dumps([message.get("text", "") for _, message in line.heard])
    close = line.heard[-1][1]
    assert close["code"] in (1000, 1007, 1008)
    assert len(close["reason"].encode()) <= 123
    if close["code"] == 1000:
        assert told[7] == ["ready", whole_sound(0, data), ("flushed", 0), "closed"]
    return told, close["code"]


def cases():
    """Every field of every message with every value, and values where no field is."""
    for kind, forms in MESSAGES.items():
        for form in forms:
            fields = {"type", "context", "unheard_of"} | (set(_FIELDS) if kind == "init" else set())
            for field in sorted(fields):
                yield kind, field, form


@pytest.mark.parametrize(("kind", "field", "form"), list(cases()))
def test_no_value_of_any_field_costs_more_than_its_context_or_connection(kind, field, form):
    async def all_values():
        for value in VALUES:
            opening = [] if kind == "init" else [text(**INIT)]
            hostile = json.dumps({**form, field: value})
            told, close = await beside_a_neighbour([*opening, raw(hostile), binary(0, b"abcd")])
            mine = [answer for number, heard in told.items() if number != 7 for answer in heard]
            assert close != 1000 or mine, (value, "nothing was answered")

    simulate(all_values())


@pytest.mark.parametrize(
    "message",
    [
        "", "nul", "[" * 16_000, '{"a":' * 3000, '{"type": "init", "seed": ' + "9" * 5000 + "}", "\ud800", '"\\ud800"',
        '{"type": "init", "type": "flush"}', "1e999", "-" * 100, '{"type": "init"' + ', "seed": 1' * 1000 + "}",
        " " * 99_999,
    ],
)  # fmt: skip
def test_no_text_costs_more_than_its_connection(message):
    simulate(beside_a_neighbour([raw(message)]))


def test_hostile_resume_tokens_are_refused():
    async def main():
        for token in ("", ".", "a.b", "." * 500, "\ud800.x", "é.é", "A" * 10_000, "\0", "eyJ9.eyJ9"):
            for extra in ({}, {"offset": 2**64 - 1}, {"utterance": -1}, {"offset": 1.5}, {"seed": 1}, {"offset": True}):
                told, close = await beside_a_neighbour([text(type="init", resume=token, **extra), binary(0, b"ab")])
                assert (told[0], close) == (["error"], 1000), (token, extra)

    simulate(main())


LEASE, PROTOCOL = "serving.workers.pool.SlotLease", "serving.websocket.protocol.StreamProtocol"
STEPS = (
    "serving.websocket.context.read_init",
    "serving.websocket.context.claim_of",
    "serving.http.resume.ResumeTokens.write",
    "serving.streams.sound.SoundRequest.check",
    "serving.streams.sound.SoundRequest.seconds",
    "serving.websocket.protocol.provenance",
    "tests.serving.simulated.Voices.find",
    "serving.workers.pool.WorkerPool.admit",
    *(f"{LEASE}.{step}" for step in ("start", "push", "room", "finish", "take")),
    *(f"{PROTOCOL}.{step}" for step in ("ended", "sound")),
)
FAILURES = (
    OverflowError,
    RecursionError,
    MemoryError,
    KeyError,
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"),
    OSError,
)


@pytest.mark.parametrize("step", STEPS)
def test_whatever_fails_at_any_step_ends_one_context_and_gives_its_slot_back(monkeypatch, caplog, step):
    async def main(failure):
        simulation, line = Simulation(random.Random(0)), Line()
        serving = asyncio.create_task(simulation.serve(line))
        line.say(text(**INIT, context=7))
        await asyncio.sleep(1)
        line.say(text(**INIT))  # takes a slot of its own
        with monkeypatch.context() as broken:
            await asyncio.sleep(0)

            def fail(*_, **__):
                raise failure

            broken.setattr(step, fail)
            line.say(text(**INIT, context=1))
            line.say(binary(0, b"abcd"))
            line.say(text(type="flush"))
            await asyncio.sleep(1)
        assert simulation.pool.busy < 3
        line.say(binary(7, b"abcd"))
        line.say(text(type="close"))
        await serving
        told = answers(line.heard)
        assert told[7] == ["ready", whole_sound(0, b"abcd"), ("flushed", 0), "closed"]
        assert "error" in (told[0][-1], told[1][-1])
        codes = {json.loads(m["text"]).get("code") for _, m in line.heard if "text" in m} - {None}
        assert codes == {"internal_error"}

    for failure in FAILURES:
        simulate(main(failure))
    assert "a stream failed" in caplog.text


@pytest.mark.parametrize("begun", [False, True])
def test_a_context_that_says_nothing_gives_its_slot_back_beside_a_busy_one(begun):
    async def main():
        simulation, line = Simulation(random.Random(0), limits=RequestLimits(idle=10.0), speed=1.0), Line()
        serving = asyncio.create_task(simulation.serve(line))
        for context in (0, 7):
            line.say(text(**INIT, context=context))
        if begun:
            line.say(binary(0, b"ab"))
        line.say(binary(7, bytes(30 * 16000)))  # it plays for half a minute, and is not silent as long
        await asyncio.sleep(15)
        assert simulation.pool.busy == 1
        await asyncio.sleep(13)
        assert simulation.pool.busy == 1
        await serving
        told = answers(line.heard)
        assert (told[0][0], told[0][-1], told[7][-1]) == ("ready", "error", "error")
        assert line.heard[-1][1]["code"] == 1008
        assert 38 < line.heard[-1][0] < 42

    simulate(main())


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.integers(-HUGE, HUGE), st.floats(), st.text(max_size=30),
        st.text(st.characters(categories=["Cs"]), max_size=3), st.sampled_from(VALUES),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip
MESSAGE = st.fixed_dictionaries(
    {"type": st.sampled_from(["init", "flush", "cancel", "close"])},
    optional={"context": st.one_of(st.sampled_from([0, 0, 1, 7]), JSON), **dict.fromkeys(_FIELDS, JSON)},
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(MESSAGE.map(json.dumps), JSON.map(json.dumps), st.binary(max_size=40)), max_size=8))
def test_no_messages_cost_the_server_anything(messages):
    async def main():
        simulation, line, other = Simulation(random.Random(0)), Line(), Line()
        serving = [asyncio.create_task(simulation.serve(one)) for one in (line, other)]
        data = bytes(range(200))
        other.say(text(**INIT))
        for message in messages:
            line.say(raw(message) if isinstance(message, str) else {"type": "websocket.receive", "bytes": message})
        other.say(binary(0, data))
        other.say(text(type="close"))
        line.say({"type": "websocket.disconnect"})
        await asyncio.gather(*serving)
        assert answers(other.heard)[0] == ["ready", whole_sound(0, data), ("flushed", 0), "closed"]
        assert "internal_error" not in json.dumps([message.get("text", "") for _, message in line.heard])

    simulate(main())
