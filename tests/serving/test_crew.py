"""Workers and tickets: admission, order of events, and no slot lost however a stream ends."""

from __future__ import annotations

import asyncio
import math
import random
import threading

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from serving.bank import Event
from serving.capacity import RECENT, SERVING, Capacity, Ledger, Pace, calibrate
from serving.crew import Abandoned, Crew
from serving.protocol import Refusal
from serving.shelf import Voice
from serving.vocode import admit
from serving.vocoder import Settings
from serving.work import Input, Order
from tests.serving.fakes import SPEC, audio_file, everything, fake_vocoder, tone

FRAMES = Order(form="pcm", input=Input("features"))
SILENCE = np.full((20, SPEC.n_mels), SPEC.silence, "<f4").tobytes()


async def settles(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


async def listen(ticket):
    return b"".join([chunk async for chunk in chunks(ticket)])


async def chunks(ticket):
    while (chunk := await ticket.take()) is not None:
        yield chunk


def crew_test(body, **options):
    """Run a coroutine function with a started crew; afterwards no slot may be taken and no thread left."""

    async def main():
        crew = Crew(**({"workers": 2, "slots": 4} | options))
        crew.start()
        try:
            async with asyncio.timeout(60):
                await body(crew)
                await settles(lambda: crew.busy == 0)
        finally:
            await asyncio.to_thread(crew.stop)
        assert crew.busy == 0
        assert crew.ledger.load == [0.0] * len(crew.workers)
        assert sorted(slot for free in crew._free for slot in free) == sorted(
            list(range(crew.ledger.slots)) * len(crew.workers)
        )

    before = threading.active_count()
    asyncio.run(main())
    assert threading.active_count() <= before + 1  # asyncio's own helper may linger


def test_sound_arrives_whole_and_slots_are_counted():
    vocoder, body = fake_vocoder(batch=16), audio_file(tone(0.4))
    want = b"".join(everything(vocoder, Order(form="pcm"), body))

    async def main(crew):
        tickets = [crew.admit(vocoder) for _ in range(4)]
        assert crew.admit(vocoder) is None
        assert (crew.busy, crew.admitted, crew.ledger.refused) == (4, 4, 1)
        assert sorted((ticket.worker, ticket.slot) for ticket in tickets) == [(0, 0), (0, 1), (1, 0), (1, 1)]
        for ticket in tickets:
            ticket.start(Order(form="pcm"))
            ticket.push(body)
            ticket.finish()
        assert await asyncio.gather(*map(listen, tickets)) == [want] * 4
        for ticket in tickets:
            ticket.close()
            ticket.close()
        assert crew.busy == 0

    crew_test(main)


def test_one_ticket_serves_several_streams_one_after_the_other():
    vocoder = fake_vocoder()

    async def main(crew):
        with crew.admit(vocoder) as ticket:
            sounds = []
            for stream in (0, 1, 0):
                ticket.start(Order(Settings(stream=stream), "pcm", Input("features")))
                with pytest.raises(ValueError, match="has not ended"):
                    ticket.start(FRAMES)
                ticket.push(SILENCE)
                ticket.finish()
                sounds.append(await listen(ticket))
            assert sounds[0] == sounds[2] != sounds[1]

    crew_test(main)


def test_the_error_comes_after_the_sound_before_it():
    vocoder = fake_vocoder()
    vocoder.runtime.fail_after = 400

    async def main(crew):
        with crew.admit(vocoder) as ticket:
            ticket.start(FRAMES)
            ticket.push(SILENCE)
            ticket.finish()
            assert await ticket.take()
            with pytest.raises(Exception, match="told to fail"):
                await listen(ticket)
            with pytest.raises(Exception, match="told to fail"):
                await ticket.take()

    crew_test(main)


def test_a_slot_is_free_only_when_the_worker_has_let_go():
    vocoder = fake_vocoder()
    vocoder.runtime.gate = threading.Event()

    async def main(crew):
        ticket = crew.admit(vocoder)
        ticket.start(FRAMES)
        ticket.push(SILENCE)
        waiting = asyncio.create_task(ticket.take())
        await asyncio.sleep(0.01)
        ticket.close()
        with pytest.raises(Abandoned):
            await waiting
        assert crew.busy == 1
        vocoder.runtime.gate.set()
        await settles(lambda: crew.busy == 0)

    crew_test(main)


def test_a_voice_of_measured_speed_is_admitted_up_to_four_fifths():
    vocoder, other = fake_vocoder(), fake_vocoder(name="other")

    async def main(crew):
        crew.learn(vocoder, Capacity(0.5, 0.25, 16))  # 4 listeners would fill a worker
        assert crew.places(vocoder) == 6
        held = [crew.admit(vocoder) for _ in range(6)]
        assert None not in held
        assert crew.admit(vocoder) is None
        assert crew.ledger.load == [0.75, 0.75]
        crew.learn(other, Capacity(0.05, 0.05, 1))
        assert crew.admit(other) is not None
        assert crew.admit(other) is not None
        assert crew.admit(other) is None
        for ticket in crew.tickets:
            ticket.close()

    crew_test(main, slots=32)


def test_a_voice_slower_than_real_time_gets_one_listener_a_worker():
    ledger = Ledger(workers=2, slots=16)
    assert [ledger.admit(3.0) for _ in range(3)] == [0, 1, None]
    ledger.release(0, 3.0)
    assert (ledger.admit(0.1), ledger.admit(3.0), ledger.busy, ledger.refused) == (0, None, 2, 2)


def test_calibration_times_a_call_alone_and_a_full_one():
    vocoder = fake_vocoder(batch=16, latency=100)
    ticks = iter(range(1000))
    capacity = calibrate(vocoder, lambda: next(ticks))  # every call takes a second, whoever is in it
    assert capacity.alone == pytest.approx(SERVING / 0.01)  # two frames of 5 ms
    assert capacity.shared == pytest.approx(capacity.alone / 16)
    assert set(vocoder.runtime.rows) == {1, 16}
    assert capacity.listeners == pytest.approx(0.16 / SERVING)
    assert capacity.cost(16, 0.01) == pytest.approx(capacity.cost(1, 0.01)) == pytest.approx(SERVING)


def test_calibration_leaves_out_what_others_take_of_the_processor():
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.delay = 0.02  # asleep: the same to the clock on the wall as waiting for a processor
    assert calibrate(vocoder).alone < SERVING * vocoder.runtime.delay / 0.005


def test_calls_that_take_longer_than_measured_are_seen_and_forgotten():
    pace = Pace()
    for now in range(1, 4):
        pace.add(now=now, took=0.3, due=0.1)
    assert pace.at(3.0) == pytest.approx(2.3, abs=0.3)
    for now in range(4, 14):
        pace.add(now=now, took=0.1, due=0.1)
    assert 1.0 <= pace.at(13.0) < 1.05
    pace.add(now=14.0, took=9.0, due=0.0)  # a voice that nobody measured
    assert pace.at(13.0) == pace.at(14.0)
    pace.add(now=14.0, took=9.0, due=0.1)
    assert (pace.at(14.0) > 5, pace.at(14.0 + RECENT)) == (True, 1.0)


def test_a_worker_slower_than_measured_takes_fewer_and_an_idle_one_any():
    ledger, paces = Ledger(workers=2, slots=16), [1.0, 4.0]
    assert [ledger.admit(0.1, paces.__getitem__) for _ in range(10)].count(1) == 2
    assert ledger.load == [0.8, 0.2]
    for worker in range(2):
        while ledger.load[worker]:
            ledger.release(worker, 0.1)
    paces[:] = [math.inf, math.inf]  # a listener of each has just run dry
    assert [ledger.admit(0.1, paces.__getitem__) for _ in range(3)] == [0, 1, None]
    assert Ledger(workers=1, slots=1).admit(0.1, lambda worker: None) is None  # it is not up


def test_nobody_joins_a_listener_that_has_just_run_dry(monkeypatch):
    vocoder = fake_vocoder(batch=16)

    async def main(crew):
        crew.learn(vocoder, Capacity(0.01, 0.01, 16))
        with crew.admit(vocoder) as ticket:
            ticket.start(FRAMES)
            crew.deliver(0, [Event(ticket.key, b"", underrun=True)])
            with pytest.raises(Refusal, match="no more streams are taken now; try again") as caught:
                admit(crew, Voice(vocoder, crew.capacity(vocoder)))
            assert caught.value.status == 503
            monkeypatch.setattr("serving.crew.RECENT", 0.0)  # it was long ago
            crew.admit(vocoder).close()

    crew_test(main, workers=1)


def test_input_that_runs_ahead_waits_until_sound_was_made_of_it():
    vocoder = fake_vocoder(latency=0)

    async def main(crew):
        with crew.admit(vocoder) as ticket:
            ticket.start(FRAMES)
            vocoder.runtime.gate = threading.Event()
            ticket.push(SILENCE)  # 0.1 s
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await ticket.room(0.05)
            vocoder.runtime.gate.set()
            await ticket.room(0.05)

    crew_test(main)


def test_stopping_abandons_every_listener():
    vocoder = fake_vocoder()

    async def main():
        crew = Crew(workers=2, slots=4)
        crew.start()
        tickets = [crew.admit(vocoder) for _ in range(4)]
        for ticket in tickets[:3]:
            ticket.start(FRAMES)
            ticket.push(SILENCE)
        listeners = [asyncio.create_task(listen(ticket)) for ticket in tickets]
        await asyncio.sleep(0.02)
        await asyncio.to_thread(crew.stop)
        results = await asyncio.gather(*listeners, return_exceptions=True)
        assert all(isinstance(result, Abandoned) for result in results)
        assert crew.busy == 0
        assert crew.admit(vocoder) is None
        tickets[3].start(FRAMES)  # too late: nothing may happen
        assert not tickets[3].running

    asyncio.run(main())


def comings_and_goings(count):
    rng, vocoder = random.Random(0), fake_vocoder(batch=16)

    async def listener(crew):
        for _ in range(count):
            ticket = crew.admit(vocoder)
            if ticket is None:
                await asyncio.sleep(rng.random() * 0.002)
                continue
            with ticket:
                await asyncio.sleep(rng.choice([0, 0, 0.001]))
                ticket.start(FRAMES)
                ticket.push(rng.choice([SILENCE, b"", b"xyz", np.full(10, np.nan, "<f4").tobytes()]))
                ticket.finish()
                try:
                    async with asyncio.timeout(rng.choice([0, 0.001, 0.005, 5])):
                        await listen(ticket)
                except (TimeoutError, SeqgenError):
                    pass

    async def main(crew):
        await asyncio.gather(*(listener(crew) for _ in range(8)))

    crew_test(main)


def test_random_comings_and_goings_lose_no_slot():
    comings_and_goings(60)


@pytest.mark.soak
def test_ten_thousand_comings_and_goings_lose_no_slot():
    comings_and_goings(1250)
