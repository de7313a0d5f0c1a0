"""Slots, rings and workers: bounded, fair, and freed however a stream ends."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import pytest

from serving.workers import Abandoned, Crew


def crew_test(body, **options):
    """Run a coroutine function with a started crew; afterwards no slot may be taken and no thread left."""

    async def main():
        crew = Crew(**({"threads": 2, "slots": 4, "ring": 1000, "byte_rate": 1000} | options))
        crew.start()
        try:
            async with asyncio.timeout(60):
                await body(crew)
                await settles(lambda: crew.busy == 0)
        finally:
            await asyncio.to_thread(crew.stop)
        assert crew.busy == 0
        assert not any(thread.is_alive() for thread in crew._threads)

    asyncio.run(main())


async def settles(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.002)


class Job:
    """Gives ``count`` chunks of ``size`` bytes; knows how far it came and that it was closed."""

    def __init__(self, count=1 << 30, size=100, delay=0.0, error=None):
        self.count, self.size, self.delay, self.error = count, size, delay, error
        self.made = 0
        self.closed = threading.Event()
        self.threads = set()

    def __iter__(self):
        return self

    def __next__(self):
        assert not self.closed.is_set(), "stepped after it was closed"
        self.threads.add(threading.current_thread().name)
        time.sleep(self.delay)
        if self.made == self.count:
            if self.error:
                raise self.error
            raise StopIteration
        self.made += 1
        return bytes([self.made % 256]) * self.size

    def close(self):
        self.closed.set()


async def everything(slot):
    out = []
    while (chunk := await slot.take()) is not None:
        out.append(chunk)
    return out


def test_chunks_arrive_in_order_and_off_the_event_loop():
    async def body(crew):
        job = Job(50)
        with crew.admit() as slot:
            slot.run(job)
            assert [chunk[0] for chunk in await everything(slot)] == list(range(1, 51))
        assert job.closed.is_set()
        assert job.threads <= {"worker-0", "worker-1"}

    crew_test(body)


def test_slots_are_counted_and_come_back():
    async def body(crew):
        taken = [crew.admit() for _ in range(4)]
        assert crew.admit() is None
        taken[0].close()
        taken[0].close()
        assert crew.busy == 3
        again = crew.admit()
        taken[0].close()  # a late close of an old stream must not hit the one that came after it
        assert crew.busy == 4
        for slot in [*taken, again]:
            slot.close()

    crew_test(body)


def test_a_slow_listener_bounds_memory_and_holds_no_worker():
    async def body(crew):
        slow, quick = Job(), Job(500)
        with crew.admit() as slot, crew.admit() as other:
            slot.run(slow)
            await settles(lambda: slot.waiting >= 1000)
            other.run(quick)
            assert len(await everything(other)) == 500
            assert slow.made == 10
            assert slot.waiting == 1000
            await slot.take()
            await settles(lambda: slow.made == 11)
            await asyncio.sleep(0.05)
            assert slow.made == 11

    crew_test(body, threads=1)


@pytest.mark.parametrize("when", [0, 3])
def test_a_failure_follows_the_chunks_before_it(when):
    async def body(crew):
        job = Job(when, error=ArithmeticError("broken"))
        with crew.admit() as slot:
            slot.run(job)
            for _ in range(when):
                assert await slot.take()
            with pytest.raises(ArithmeticError, match="broken"):
                await slot.take()
            assert job.closed.is_set()
        with crew.admit() as slot:
            slot.run(Job(3))
            assert len(await everything(slot)) == 3

    crew_test(body, threads=1)


def test_closing_drops_the_job_and_wakes_its_listener():
    async def body(crew):
        job = Job(delay=0.01)
        with crew.admit() as slot:
            slot.run(job)
            await slot.take()
            asyncio.get_running_loop().call_later(0.03, slot.close)
            with pytest.raises(Abandoned):
                await everything(slot)
        await settles(lambda: crew.busy == 0)
        assert job.closed.is_set()
        made = job.made
        await asyncio.sleep(0.05)
        assert job.made == made

    crew_test(body)


def test_a_slot_is_not_given_away_while_a_worker_is_in_its_job():
    async def body(crew):
        gate = threading.Event()

        def job():
            gate.wait(10)
            yield b"late"

        slot = crew.admit()
        slot.run(job())
        await settles(lambda: slot.running)
        slot.close()
        assert crew.busy == 1
        gate.set()
        await settles(lambda: crew.busy == 0)

    crew_test(body)


def test_the_stream_that_runs_dry_first_is_served_first():
    async def body(crew):
        gate, order = threading.Event(), []

        def job(name):
            while True:
                if name == "poor" and "poor" not in order:
                    gate.wait(10)
                order.append(name)
                yield b"x" * 100

        with crew.admit() as rich, crew.admit() as poor:
            rich.run(job("rich"))
            await settles(lambda: len(order) == 100)
            poor.run(job("poor"))
            for _ in range(20):
                await rich.take()
            gate.set()
            await settles(lambda: len(order) == 220)
        # Both may have 10 s waiting. The rich one had them already, so its free places come last.
        assert order[100:195] == ["poor"] * 95

    crew_test(body, threads=1, ring=10_000)


def test_stopping_abandons_every_listener():
    async def main():
        crew = Crew(threads=2, slots=4, ring=1000, byte_rate=1000)
        crew.start()
        jobs = [Job(delay=0.005) for _ in range(3)]
        slots = [crew.admit() for _ in range(4)]
        for slot, job in zip(slots, jobs, strict=False):
            slot.run(job)
        listeners = [asyncio.create_task(everything(slot)) for slot in slots]
        await asyncio.sleep(0.05)
        await asyncio.to_thread(crew.stop)
        results = await asyncio.gather(*listeners, return_exceptions=True)
        assert all(isinstance(result, Abandoned) for result in results)
        assert all(job.closed.is_set() for job in jobs)
        assert crew.busy == 0
        assert crew.admit() is None
        slots[3].run(Job())  # too late: nothing may happen
        assert crew.busy == 0

    asyncio.run(main())


def test_random_comings_and_goings_lose_no_slot():
    rng = random.Random(0)

    async def listener(crew, count):
        for _ in range(count):
            slot = crew.admit()
            if slot is None:
                await asyncio.sleep(rng.random() * 0.002)
                continue
            with slot:
                await asyncio.sleep(rng.choice([0, 0, 0.001]))
                error = rng.choice([None, None, ValueError("told to")])
                slot.run(Job(rng.randrange(30), size=rng.choice([1, 400]), error=error))
                try:
                    async with asyncio.timeout(rng.choice([0, 0.001, 0.005, 5])):
                        await everything(slot)
                except (TimeoutError, ValueError):
                    pass

    async def body(crew):
        await asyncio.gather(*(listener(crew, 100) for _ in range(8)))

    crew_test(body)
