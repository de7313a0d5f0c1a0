"""A WebSocket under thousands of random schedules, in simulated time: the same bytes and the same order of replies."""

from __future__ import annotations

import asyncio
import itertools
import json
import random

import pytest

from serving.http.protocol import RequestLimits
from serving.streams.sound import InputFormat, SoundRequest
from serving.streams.vocoder import VoiceSettings
from serving.websocket import context, inputs, outbox
from tests.serving.fakes import everything
from tests.serving.simulated import BatchingWorker, Line, Simulation, simulate, whole_sound

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
        self.said.append(
            {"type": "websocket.receive", "text": json.dumps({**fields, "type": kind, "context": self.number})}
        )

    def _utterance(self, utterance):
        rng, whole = self.rng, b""
        while rng.random() < 0.2:
            self._say("flush")  # of nothing
            self._owe(("flushed", utterance))
        for _ in range(rng.choice([1, 1, 2, 5])):
            data = rng.randbytes(rng.choice([1, 2, 30, 49, 50, 51, 200]))
            self.said.append({"type": "websocket.receive", "bytes": self.number.to_bytes(4, "little") + data})
            whole += data
        self._owe(whole_sound(utterance, whole), ("flushed", utterance))
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
            if not mine or not isinstance(mine[-1], bytearray):
                mine.append(bytearray())
            mine[-1] += data
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
            assert got == want or (isinstance(want, bytes) and isinstance(got, bytearray) and want.startswith(got))


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


def test_the_same_bytes_and_replies_under_three_thousand_schedules(small):
    schedules(0, 3000)


@pytest.mark.soak
def test_the_same_bytes_and_replies_under_fifty_thousand_schedules(small):
    schedules(10_000, 50_000)


async def one_schedule_of_the_batcher(seed):
    """Several contexts and utterances of the voice that computes, in formats with a state, however all of it is cut."""
    rng = random.Random(seed)
    simulation = Simulation(rng, make=BatchingWorker)
    slow = rng.choice([0.0, 0.0, 0.05])
    line = Line(lambda: slow * rng.random())
    serving = asyncio.create_task(simulation.serve(line))
    due, left = {}, []
    for number in rng.sample(range(9), rng.randint(1, 3)):
        form, said = rng.choice(["pcm", "f32", "flac", "ulaw"]), []
        said.append(text(**INIT, context=number, format=form, seed=number))
        due[number] = ["ready"]
        for utterance in range(rng.randint(1, 3)):
            data = rng.randbytes(rng.choice([2, 80, 500, 2001 // 2 * 2]))
            request = SoundRequest(VoiceSettings(number, stream=utterance), form, InputFormat("audio", rate=8000))
            due[number] += [b"".join(everything(Simulation.model, request, data)), ("flushed", utterance)]
            cuts = sorted({0, len(data), *(rng.randint(0, len(data)) for _ in range(rng.randint(0, 5)))})
            said += [binary(number, data[a:b]) for a, b in itertools.pairwise(cuts)]
            said.append(text(type="flush", context=number))
        left.append(said)
    while any(left):
        line.say(rng.choice([queue for queue in left if queue]).pop(0))
        await asyncio.sleep(rng.choice([0, 0, rng.random() * 0.05]))
    line.say(text(type="close"))
    await serving
    for number, told in answers(line.heard).items():
        assert told == [*due[number], "closed"]


def batcher_schedules(monkeypatch, first, count):
    monkeypatch.setattr(context, "MAX_AHEAD", 0.05)
    for seed in range(first, first + count):
        simulate(one_schedule_of_the_batcher(seed))


def test_the_same_bytes_as_all_at_once_under_random_schedules_of_the_batcher(small, monkeypatch):
    batcher_schedules(monkeypatch, 0, 60)


@pytest.mark.soak
def test_the_same_bytes_as_all_at_once_under_many_random_schedules_of_the_batcher(small, monkeypatch):
    batcher_schedules(monkeypatch, 1000, 5000)


def text(**fields):
    return {"type": "websocket.receive", "text": json.dumps(fields)}


def binary(number, data):
    return {"type": "websocket.receive", "bytes": number.to_bytes(4, "little") + data}


async def minutes_of_input(line, seconds):
    """A client that sends so much at once, of a voice as fast as it is heard, and then waits for a while."""
    line.say(text(**INIT))
    for _ in range(seconds * 10):
        line.say(binary(0, bytes(1600)))
    await asyncio.sleep(1)


def when(line, kind):
    """When a reply of that kind was sent first."""
    return next(at for at, message in line.heard if f'"{kind}"' in message.get("text", ""))


@pytest.mark.parametrize("seconds", [0, 1, 60])
@pytest.mark.parametrize("reader", [0.0, 0.05])
def test_what_is_no_input_is_answered_at_once_whatever_input_waits(seconds, reader):
    async def main():
        simulation, line = Simulation(random.Random(seconds), speed=1.0), Line(lambda: reader)
        serving = asyncio.create_task(simulation.serve(line))
        await minutes_of_input(line, seconds)
        begin = asyncio.get_running_loop().time()
        line.say(text(**INIT, context=7, voice="none"))
        line.say(text(type="cancel"))
        await asyncio.sleep(1)
        line.say(text(type="close"))
        await serving
        return when(line, "error") - begin, when(line, "cancelled") - begin

    opened, cancelled = simulate(main())
    # What is being sent to a slow reader goes out before; finding the voice takes up to 50 ms here.
    assert cancelled <= 3 * reader
    assert opened <= 0.05 + 3 * reader


def test_a_reader_that_pauses_does_not_keep_its_cancel_from_being_heard():
    async def main():
        rng = random.Random(1)
        stuck = asyncio.Event()

        class Stuck(Line):
            async def send(self, message):
                if "bytes" in message:
                    await stuck.wait()
                await super().send(message)

        simulation, line = Simulation(rng), Stuck()
        serving = asyncio.create_task(simulation.serve(line))
        await minutes_of_input(line, 5)
        assert simulation.pool.busy == 1
        line.say(text(type="cancel"))
        await asyncio.sleep(0.2)
        assert simulation.pool.busy == 0  # although nothing can be sent to it
        stuck.set()
        line.say(text(type="close"))
        await serving
        assert [json.loads(m["text"])["type"] for _, m in line.heard if "text" in m] == ["ready", "cancelled"]

    simulate(main())


@pytest.mark.parametrize("minutes", [5, pytest.param(60, marks=pytest.mark.soak)])
def test_minutes_of_input_at_once_arrive_whole_with_and_without_credit(minutes):

    async def main(credit):
        simulation, line = Simulation(random.Random(2), speed=60.0), Line()
        serving = asyncio.create_task(simulation.serve(line))
        line.say(text(**INIT, credit=credit))
        data, sent, may = random.Random(3).randbytes(minutes * 60 * 16000), 0, context.FIRST_CREDIT
        most, seen = 0, 0
        while sent < len(data):
            piece = data[sent : min(sent + 16000, may if credit else len(data))]
            if piece:
                line.say(binary(0, piece))
                sent += len(piece)
            else:
                await asyncio.sleep(0.05)
            for _, message in line.heard[seen:]:
                fields = json.loads(message.get("text", "{}"))
                may = fields.get("credit", fields.get("bytes", may))
            seen = len(line.heard)
            most = max(most, simulation.pool.memory.held)
        line.say(text(type="close"))
        await serving
        ready, sound, *rest = answers(line.heard)[0]
        same = sound == whole_sound(0, data)  # nobody wants to see where they differ
        assert (ready, same, rest) == ("ready", True, [("flushed", 0), "closed"])
        return most

    assert simulate(main(True)) < 4 << 20  # where credit is heeded, next to nothing waits
    simulate(main(False))
