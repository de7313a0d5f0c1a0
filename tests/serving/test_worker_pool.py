"""Workers and leases: admission, order of events, and no slot lost however a stream ends."""

from __future__ import annotations

import asyncio
import math
import random
import threading

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from serving.scheduling.admission import RECENT, AdmissionControl, Pace
from serving.streams.capacity import OVERHEAD, Capacity, calibrate
from serving.streams.sound import InputFormat, SoundRequest
from serving.streams.vocoder import VoiceSettings
from serving.workers.pool import Abandoned, WorkerPool
from tests.serving.fakes import SPEC, audio_file, everything, fake_vocoder, tone
from tests.serving.reading_fakes import fake_voice

FRAMES = SoundRequest(form="pcm", input=InputFormat("features"))
SILENCE = np.full((20, SPEC.n_mels), SPEC.silence, "<f4").tobytes()


async def settles(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


async def listen(lease):
    return b"".join([chunk async for chunk in chunks(lease)])


async def chunks(lease):
    while (chunk := await lease.take()) is not None:
        yield chunk


def pool_test(body, **options):
    """Run a coroutine function with a started pool; afterwards no slot may be taken and no thread left."""

    async def main():
        pool = WorkerPool(**({"workers": 2, "slots": 4} | options))
        pool.start()
        try:
            async with asyncio.timeout(60):
                await body(pool)
                await settles(lambda: pool.busy == 0)
        finally:
            await asyncio.to_thread(pool.stop)
        assert pool.busy == 0
        assert pool.admission.load == [0.0] * len(pool.workers)
        assert sorted(slot for free in pool._free for slot in free) == sorted(
            list(range(pool.admission.slots)) * len(pool.workers)
        )

    before = threading.active_count()
    asyncio.run(main())
    assert threading.active_count() <= before + 1  # asyncio's own helper may linger


def test_sound_arrives_whole_and_slots_are_counted():
    vocoder, body = fake_vocoder(batch=16), audio_file(tone(0.4))
    want = b"".join(everything(vocoder, SoundRequest(form="pcm"), body))

    async def main(pool):
        leases = [pool.admit(vocoder) for _ in range(4)]
        assert pool.admit(vocoder) is None
        assert (pool.busy, pool.admitted, pool.admission.refused) == (4, 4, 1)
        assert sorted((lease.worker, lease.slot) for lease in leases) == [(0, 0), (0, 1), (1, 0), (1, 1)]
        for lease in leases:
            lease.start(SoundRequest(form="pcm"))
            lease.push(body)
            lease.finish()
        assert await asyncio.gather(*map(listen, leases)) == [want] * 4
        for lease in leases:
            lease.close()
            lease.close()
        assert pool.busy == 0

    pool_test(main)


def test_one_lease_serves_several_streams_one_after_the_other():
    vocoder = fake_vocoder()

    async def main(pool):
        with pool.admit(vocoder) as lease:
            sounds = []
            for stream in (0, 1, 0):
                lease.start(SoundRequest(VoiceSettings(stream=stream), "pcm", InputFormat("features")))
                with pytest.raises(ValueError, match="has not ended"):
                    lease.start(FRAMES)
                lease.push(SILENCE)
                lease.finish()
                sounds.append(await listen(lease))
            assert sounds[0] == sounds[2] != sounds[1]

    pool_test(main)


def test_the_error_comes_after_the_sound_before_it():
    vocoder = fake_vocoder()
    vocoder.runtime.fail_after = 400

    async def main(pool):
        with pool.admit(vocoder) as lease:
            lease.start(FRAMES)
            lease.push(SILENCE)
            lease.finish()
            assert await lease.take()
            with pytest.raises(Exception, match="told to fail"):
                await listen(lease)
            with pytest.raises(Exception, match="told to fail"):
                await lease.take()

    pool_test(main)


def test_a_slot_is_free_only_when_the_worker_has_let_go():
    vocoder = fake_vocoder()
    vocoder.runtime.gate = threading.Event()

    async def main(pool):
        lease = pool.admit(vocoder)
        lease.start(FRAMES)
        lease.push(SILENCE)
        waiting = asyncio.create_task(lease.take())
        await asyncio.sleep(0.01)
        lease.close()
        with pytest.raises(Abandoned):
            await waiting
        assert pool.busy == 1
        vocoder.runtime.gate.set()
        await settles(lambda: pool.busy == 0)

    pool_test(main)


def test_a_voice_that_reads_is_admitted_by_what_reading_costs_too():
    voice = fake_voice()
    text, features = (SoundRequest(form="pcm", input=InputFormat(kind)) for kind in ("text", "features"))

    async def main(pool):
        pool.set_capacity(voice, Capacity(0.1, 0.1, 16, text=0.1))
        assert pool.max_listeners(voice) == pool.free == 8
        held = [pool.admit(voice, request=features) for _ in range(2)]
        assert pool.free == 6
        held += [pool.admit(voice, request=text) for _ in range(6)]
        assert None not in held
        assert pool.admission.load == [0.7, 0.7]
        assert not pool.carries(voice)
        assert pool.admit(voice, request=text) is None
        assert pool.admit(voice, request=features) is not None
        for lease in pool.leases:
            lease.close()

    pool_test(main, slots=32)


def test_a_voice_of_measured_speed_is_admitted_up_to_four_fifths():
    vocoder, other = fake_vocoder(), fake_vocoder(name="other")

    async def main(pool):
        pool.set_capacity(vocoder, Capacity(0.5, 0.25, 16))  # 4 listeners would fill a worker
        assert pool.max_listeners(vocoder) == 6
        held = [pool.admit(vocoder) for _ in range(6)]
        assert None not in held
        assert pool.admit(vocoder) is None
        assert pool.admission.load == [0.75, 0.75]
        pool.set_capacity(other, Capacity(0.05, 0.05, 1))
        assert pool.admit(other) is not None
        assert pool.admit(other) is not None
        assert pool.admit(other) is None
        for lease in pool.leases:
            lease.close()

    pool_test(main, slots=32)


def test_a_voice_slower_than_real_time_gets_one_listener_a_worker():
    admission = AdmissionControl(workers=2, slots=16)
    assert [admission.admit(3.0) for _ in range(3)] == [0, 1, None]
    admission.release(0, 3.0)
    assert (admission.admit(0.1), admission.admit(3.0), admission.busy, admission.refused) == (0, None, 2, 2)


def test_calibration_times_a_call_alone_and_a_full_one():
    vocoder = fake_vocoder(batch=16, latency=100)
    ticks = iter(range(1000))
    capacity = calibrate(vocoder, lambda: next(ticks))  # every call takes a second, whoever is in it
    assert capacity.alone == pytest.approx(OVERHEAD / 0.01)  # two frames of 5 ms
    assert capacity.shared == pytest.approx(capacity.alone / 16)
    assert set(vocoder.runtime.rows) == {1, 16}
    assert capacity.listeners == pytest.approx(0.16 / OVERHEAD)
    assert capacity.cost(16, 0.01) == pytest.approx(capacity.cost(1, 0.01)) == pytest.approx(OVERHEAD)


def test_calibration_leaves_out_what_others_take_of_the_processor():
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.delay = 0.02  # asleep: the same to the clock on the wall as waiting for a processor
    assert calibrate(vocoder).alone < OVERHEAD * vocoder.runtime.delay / 0.005


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
    admission, paces = AdmissionControl(workers=2, slots=16), [1.0, 4.0]
    assert [admission.admit(0.1, paces.__getitem__) for _ in range(10)].count(1) == 2
    assert admission.load == [0.8, 0.2]
    for worker in range(2):
        while admission.load[worker]:
            admission.release(worker, 0.1)
    paces[:] = [math.inf, math.inf]  # a listener of each has just run dry
    assert [admission.admit(0.1, paces.__getitem__) for _ in range(3)] == [0, 1, None]
    assert AdmissionControl(workers=1, slots=1).admit(0.1, lambda worker: None) is None  # it is not up


def test_input_that_runs_ahead_waits_until_sound_was_made_of_it():
    vocoder = fake_vocoder(latency=0)

    async def main(pool):
        with pool.admit(vocoder) as lease:
            lease.start(FRAMES)
            vocoder.runtime.gate = threading.Event()
            lease.push(SILENCE)  # 0.1 s
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await lease.room(0.05)
            vocoder.runtime.gate.set()
            await lease.room(0.05)

    pool_test(main)


def test_stopping_abandons_every_listener():
    vocoder = fake_vocoder()

    async def main():
        pool = WorkerPool(workers=2, slots=4)
        pool.start()
        leases = [pool.admit(vocoder) for _ in range(4)]
        for lease in leases[:3]:
            lease.start(FRAMES)
            lease.push(SILENCE)
        listeners = [asyncio.create_task(listen(lease)) for lease in leases]
        await asyncio.sleep(0.02)
        await asyncio.to_thread(pool.stop)
        results = await asyncio.gather(*listeners, return_exceptions=True)
        assert all(isinstance(result, Abandoned) for result in results)
        assert pool.busy == 0
        assert pool.admit(vocoder) is None
        leases[3].start(FRAMES)  # too late: nothing may happen
        assert not leases[3].running

    asyncio.run(main())


def comings_and_goings(count):
    rng, vocoder = random.Random(0), fake_vocoder(batch=16)

    async def listener(pool):
        for _ in range(count):
            lease = pool.admit(vocoder)
            if lease is None:
                await asyncio.sleep(rng.random() * 0.002)
                continue
            with lease:
                await asyncio.sleep(rng.choice([0, 0, 0.001]))
                lease.start(FRAMES)
                lease.push(rng.choice([SILENCE, b"", b"xyz", np.full(10, np.nan, "<f4").tobytes()]))
                lease.finish()
                try:
                    async with asyncio.timeout(rng.choice([0, 0.001, 0.005, 5])):
                        await listen(lease)
                except (TimeoutError, SeqgenError):
                    pass

    async def main(pool):
        await asyncio.gather(*(listener(pool) for _ in range(8)))

    pool_test(main)


def test_random_comings_and_goings_lose_no_slot():
    comings_and_goings(60)


@pytest.mark.soak
def test_ten_thousand_comings_and_goings_lose_no_slot():
    comings_and_goings(1250)


@pytest.mark.parametrize("seed", range(20))
def test_free_slots_are_those_that_newcomers_would_get(seed):
    draw = random.Random(seed)
    admission = AdmissionControl(workers=3, slots=draw.choice([1, 4, 16]))
    paces = [draw.choice([None, 1.0, 1.7, math.inf]) for _ in range(3)]
    for _ in range(draw.randrange(12)):
        admission.admit(draw.choice([0.0, 0.03, 0.1, 2.0]))
    cost = draw.choice([0.0, 0.03, 0.07, 0.8, 2.0])
    told = admission.free(cost, paces.__getitem__)
    taken = 0
    while admission.admit(cost, paces.__getitem__) is not None:
        taken += 1
    assert taken == told
    assert admission.free(cost, paces.__getitem__) == 0


def test_a_draining_pool_has_no_free_slot():
    async def body(pool):
        vocoder = fake_vocoder()
        pool.set_capacity(vocoder, Capacity(shared=0.4))
        assert pool.free == 4
        with pool.admit(vocoder):
            assert pool.free == 3
        pool.draining = True
        assert pool.free == 0

    pool_test(body, workers=2, slots=4)
