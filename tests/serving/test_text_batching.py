"""Texts in the batcher under a simulated clock: any schedule gives the same text, and no prompt holds up a listener."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from serving.scheduling.batcher import Batcher
from serving.scheduling.events import FlowControl
from serving.streams.capacity import Capacity
from serving.streams.completion import TextRequest, completed
from serving.streams.sound import InputFormat, SoundRequest
from serving.streams.text import READING_RATE, TextModel, TextSettings
from tests.serving.fakes import SPEC, fake_vocoder
from tests.serving.test_batcher import turn
from tests.serving.text_fakes import LETTERS, fake_text

SOUND = SoundRequest(form="pcm", input=InputFormat("features"))
TEXT = TextRequest(longest=4000)


def choose(rng: random.Random) -> tuple[TextRequest, bytes]:
    """Any request, and its prompt."""
    settings = TextSettings(rng.randrange(2**64), rng.choice([0.0, 0.7, 1.0]), rng.choice([1.0, 0.5]))
    stops = tuple(rng.sample(["a", "bc", "€", "\n ", "zz"], rng.choice([0, 0, 1, 2])))
    top, echo = rng.choice([None, None, 0, 2]), rng.random() < 0.3
    prompt = "".join(rng.choices(LETTERS, k=rng.choice([0, 1, 20, 100])))
    return TextRequest(settings, rng.choice([0, 1, 30, 200]), stops, echo, top), prompt.encode()


def written(lines: list[dict]) -> tuple:
    """Text, scores and end of the lines of a stream, however it was cut into them."""
    scores: dict[str, list] = {}
    for line in lines:
        for key, values in (line["logprobs"] or {}).items():
            scores.setdefault(key, []).extend(values)
    return "".join(line["text"] for line in lines), scores, lines[-1]["finish_reason"], lines[-1]["usage"]


def run(model: TextModel, asked: list[tuple[TextRequest, bytes]], rng: random.Random) -> list[bytes]:
    """Texts that each of some readers got, who come, send, read and stall as they please."""
    batcher, now = Batcher(slots=16, buffered=0.02), 0.0
    waiting = {number: bytearray(prompt) for number, (_, prompt) in enumerate(asked)}
    flows = {number: FlowControl() for number in waiting}
    got, over, opened = [bytearray() for _ in asked], set(), set()
    while len(over) < len(asked):
        now += rng.choice([0.0, 0.001, 0.2])
        for number in waiting.keys() - over:
            if number not in opened:
                if rng.random() < 0.3:
                    batcher.open((number, 1), model, asked[number][0], now, flows[number])
                    opened.add(number)
            elif waiting[number]:
                size = rng.randint(1, 50)
                batcher.push((number, 1), bytes(waiting[number][:size]))
                del waiting[number][:size]
            elif rng.random() < 0.5:
                batcher.finish((number, 1))  # again and again, which changes nothing
            if rng.random() < 0.7:
                flows[number].consumed = flows[number].sent
        for event in turn(batcher, now)[1]:
            assert event.failure is None
            got[event.key[0]] += event.data
            if event.over:
                over.add(event.key[0])
    assert len(batcher) == 0
    return [bytes(one) for one in got]


@pytest.mark.parametrize("batch", [1, 16])
def test_any_schedule_gives_the_text_that_each_gives_alone(batch):
    model = fake_text(letters=LETTERS, batch=batch)
    for seed in range(40):
        rng = random.Random(seed)
        asked = [choose(rng) for _ in range(rng.randint(1, 16))]
        alone = [written(list(completed(model, *one))) for one in asked]
        for (request, prompt), data, want in zip(asked, run(model, asked, rng), alone, strict=True):
            assert written([json.loads(line) for line in data.splitlines()]) == want, (seed, request, prompt)
    rows = [rows for _, rows, _ in model.runtime.calls]
    assert max(rows) == 1 if batch == 1 else max(rows) > 4


def test_a_long_prompt_leaves_listeners_their_sound():
    """Each call takes 4 ms, 750 of them the prompt; five listeners need a third of the time."""
    vocoder, model, batcher, now = fake_vocoder(latency=0, batch=16), fake_text(), Batcher(slots=16), 0.0
    for number in range(5):
        batcher.open((number, 1), vocoder, SOUND, now, FlowControl())
        batcher.push((number, 1), np.zeros((4000, SPEC.n_mels), "<f4").tobytes())
    batcher.open((9, 1), model, TEXT, now, FlowControl())
    batcher.push((9, 1), b"a" * 24_000)
    batcher.finish((9, 1))
    underruns, begun = 0, None
    while begun is None or now < begun + 1:
        _, events = turn(batcher, now, now + 0.004)
        now += 0.004
        underruns += sum(event.underrun for event in events)
        begun = begun or next((event.first for event in events if event.first and event.key[0] == 9), None)
        for slot in batcher._occupied.values():
            slot.flow.consumed = slot.flow.sent
    assert underruns == 0
    assert 750 * 0.004 < begun < 6


def test_prompts_are_read_in_turn_and_a_short_one_at_once():
    model, batcher = fake_text(batch=1), Batcher(slots=16)
    for number in range(2):
        batcher.open((number, 1), model, TEXT, 0.0, FlowControl())
        batcher.push((number, 1), b"a" * 3200)
        batcher.finish((number, 1))
    order = [turn(batcher, 0.01 * count)[0].keys[0][0] for count in range(40)]
    assert [order.count(number) for number in range(2)] == [20, 20]
    batcher.open((2, 1), model, TEXT, 0.4, FlowControl())
    batcher.push((2, 1), b"a" * 30)
    batcher.finish((2, 1))
    assert [turn(batcher, 0.4)[0].keys for _ in range(2)] == [[(2, 1)], [(2, 1)]]  # its prompt, its first symbol


def test_readers_are_given_what_they_can_read_before_anybody_is_given_more():
    model, batcher, flows = fake_text(batch=1), Batcher(slots=16), [FlowControl(), FlowControl()]
    batcher.open((0, 1), model, TEXT, 0.0, flows[0])
    batcher.finish((0, 1))
    for _ in range(60):
        turn(batcher, 0.0)
        flows[0].consumed = flows[0].sent
    assert batcher._occupied[0, 1].clock.lead(0.0) > 1000 / READING_RATE
    batcher.open((1, 1), model, TEXT, 0.0, flows[1])
    batcher.finish((1, 1))
    while batcher._occupied[1, 1].clock.lead(0.0) < 3:
        assert turn(batcher, 0.0)[0].keys == [(1, 1)]
        flows[1].consumed = flows[1].sent


def test_calls_stay_short_where_the_model_is_slow():
    model, capacity = fake_text(), Capacity(alone=0.004, shared=0.004, batch=16)
    batcher = Batcher(slots=16, capacity=lambda _: capacity)
    for number in range(16):
        batcher.open((number, 1), model, TEXT, 0.0, FlowControl())
        batcher.push((number, 1), b"a" * 1000)
        batcher.finish((number, 1))
    for _ in range(20):
        batch = turn(batcher, 0.0)[0]
        assert (len(batch.keys), len(batch.steps[0][1].given)) == (16, 4)  # 4 symbols of 16 prompts: 8 ms of 10


def test_a_reader_who_leaves_is_gone_at_the_next_turn():
    model, batcher = fake_text(), Batcher(slots=2)
    for number, size in ((0, 10), (1, 50_000)):
        batcher.open((number, 1), model, TEXT, 0.0, FlowControl())
        batcher.push((number, 1), b"a" * size)
        batcher.finish((number, 1))
        turn(batcher, 0.0)
    batcher.cancel((0, 1))
    batcher.cancel((1, 1))
    events = turn(batcher, 0.0)[1] + batcher.events()
    assert [event.key for event in events if event.over] == [(0, 1), (1, 1)]
    assert len(batcher) == 0


def test_a_prompt_that_is_too_long_ends_its_stream_alone():
    model, batcher = fake_text(), Batcher(slots=2)
    batcher.open((0, 1), model, TextRequest(prompt=100), 0.0, FlowControl())
    batcher.push((0, 1), b"a" * 101)
    (event,) = batcher.events()
    assert event.over
    assert "more than 100 bytes" in str(event.failure)
