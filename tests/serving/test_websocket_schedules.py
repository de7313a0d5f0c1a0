"""A WebSocket under thousands of random schedules, in simulated time: the same bytes and the same order of replies."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from serving.http.protocol import RequestLimits
from serving.websocket import context, inputs, outbox, protocol
from tests.serving.simulated import Line, Simulation, simulate, sound_of

INIT = {"type": "init", "input": "audio", "rate": 8000}


@pytest.fixture
def small(monkeypatch):
    """Sizes so small that little input comes to every limit."""
    monkeypatch.setattr(context, "MAX_AHEAD", 0.005)
    monkeypatch.setattr(context, "CREDIT_SECONDS", 0.01)
    monkeypatch.setattr(context, "FIRST_CREDIT", 40)
    monkeypatch.setattr(inputs, "PIECE", 50)
    monkeypatch.setattr(outbox, "MAX_REPLIES", 2)


class Story:
    """What a client says in one context, and what it must be answered, whatever the schedule.

    ``said``: messages in order. ``due``: replies and sounds in order; where the context is cancelled, any beginning of
    them and then ``cancelled``.
    """

    def __init__(self, rng, number):
        self.rng, self.number = rng, number
        self.said, self.due, self.cancelled = [], ["ready"], False
        self.credit = rng.random() < 0.3
        self._say("init", **INIT, **({"credit": True} if self.credit else {}))
        if rng.random() < 0.1:
            self.said.pop()
            self._say("init", **INIT, voice=rng.choice(["none", "\ud800", "../x"]))
            self.due = ["error"]
        for utterance in range(rng.randrange(4)):
            self._utterance(utterance)
        end = rng.random()
        if end < 0.3:
            self.cancelled = True
            if self.due[0] == "ready":
                self._say("cancel")
        elif end < 0.6:
            self._say("close")

    def _say(self, kind, **fields):
        self.said.append({"type": "websocket.receive", "text": json.dumps({**fields, "type": kind, "context": self.number})})

    def _utterance(self, utterance):
        rng, whole = self.rng, b""
        while rng.random() < 0.2:
            self._say("flush")  # of nothing
            self._owe(("flushed", utterance))
        for _ in range(rng.choice([1, 1, 2, 5])):
            data = rng.randbytes(rng.choice([1, 2, 30, 49, 50, 51, 200]))
            self.said.append({"type": "websocket.receive", "bytes": self.number.to_bytes(4, "little") + data})
            whole += data
        self._owe(sound_of(utterance, whole), ("flushed", utterance))
        self._say("flush")

    def _owe(self, *due):
        if self.due != ["error"]:
            self.due += due


def answers(heard):
    """What was sent, by context: replies, and the sound between two of them in one piece."""
    told = {}
    for _, message in heard:
        if "bytes" in message:
            number, data = int.from_bytes(message["bytes"][:4], "little"), message["bytes"][4:]
            mine = told.setdefault(number, [])
            if mine and isinstance(mine[-1], bytes):
                mine[-1] += data
            else:
                mine.append(data)
        elif "text" in message:
            fields = json.loads(message["text"])
            kind = fields["type"]
            if kind != "credit":
                reply = ("flushed", fields["utterance"]) if kind == "flushed" else kind
                told.setdefault(fields["context"], []).append(reply)
    return told


def check(story, told, whole):
    """``whole``: the connection was not cut by the client."""
    due = story.due
    if due == ["error"]:
        assert told == (due if whole else due[: len(told)])
    elif whole and not story.cancelled:
        assert told == [*due, "closed"]
    else:
        end = told[-1:] == ["cancelled"]
        assert end or not (whole and story.cancelled)
        for got, want in zip(told[: len(told) - end], [*due, "closed"], strict=False):
            assert got == want or (isinstance(want, bytes) and isinstance(got, bytes) and want.startswith(got))


async def one_schedule(seed):
    rng = random.Random(seed)
    limits = RequestLimits(idle=30.0)
    simulation = Simulation(rng, limits=limits)
    slow = rng.choice([0.0, 0.0, 0.02, 0.3])
    line = Line(lambda: slow * rng.random())
    serving = asyncio.create_task(simulation.serve(line))
    stories = [Story(rng, number) for number in rng.sample([0, 1, 2, 9, 65535], rng.randint(1, 4))]
    left = [list(story.said) for story in stories]
    hasty = rng.random() < 0.4
    cut = rng.random() < 0.15
    while any(left):
        line.say(rng.choice([queue for queue in left if queue]).pop(0))
        if not hasty:
            await asyncio.sleep(rng.choice([0, 0, rng.random() * 0.1]))
        if cut and rng.random() < 0.05:
            break
    line.say({"type": "websocket.disconnect"} if cut else {"type": "websocket.receive", "text": '{"type": "close"}'})
    await serving
    told = answers(line.heard)
    for story in stories:
        check(story, told.pop(story.number, []), not cut)
    assert told == {}
    if not cut:
        assert line.heard[-1][1] == {"type": "websocket.close", "code": 1000, "reason": ""}


def schedules(first, count):
    for seed in range(first, first + count):
        try:
            simulate(one_schedule(seed))
        except BaseException:
            print(f"schedule {seed}")
            raise


def test_the_same_bytes_and_replies_under_two_thousand_schedules(small):
    schedules(0, 2000)


@pytest.mark.soak
def test_the_same_bytes_and_replies_under_a_hundred_thousand_schedules(small):
    schedules(10_000, 100_000)
