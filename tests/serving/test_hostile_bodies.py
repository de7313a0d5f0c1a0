"""Whatever a client sends ends its own stream at most: no other's bytes change, and no other waits for its reading."""

from __future__ import annotations

import asyncio
import threading
from functools import cache

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from serving.scheduling.batcher import Batcher
from serving.scheduling.events import FlowControl
from serving.sound import body as bodies_module
from serving.sound.body import SLICE_BYTES, SLICE_READS, Body, SlicedReader
from serving.sound.source import InputSource
from serving.streams import sound as sound_streams
from serving.streams.decoding import READY, DecodingThreads, Turnstile
from serving.streams.sound import InputFormat, SoundPipeline, SoundRequest
from serving.streams.vocoder import ModelFailure, VoiceSettings
from tests.serving.fakes import audio_file, everything, fake_vocoder, opened_body, tone
from tests.serving.live import wait_for
from tests.serving.test_isolation import isolated
from tests.serving.test_worker_pool import FRAMES, SILENCE, listen, pool_test
from tests.serving.wrong_bodies import hostile, long_to_read

PCM = SoundRequest(form="pcm", longest=5.0)
FAULTS = (ValueError, OSError, MemoryError, RecursionError, ZeroDivisionError, StopIteration, AssertionError, KeyError,
          UnicodeError, RuntimeError, ModelFailure)  # fmt: skip
STEPS = ("push", "finish", "shape", "step", "duration", "encode", "seconds", "ending", "close", "finished", "decoding",
         "backlog")  # fmt: skip
INSIDE = ("push", "finish", "shape", "fits", "step", "accept")


async def beside_honest_listeners(pool, vocoder, bodies):
    """Send all bodies, while others listen; what became of each."""
    inputs = [(PCM, audio_file(tone(0.3))), (FRAMES, SILENCE), (PCM, audio_file(tone(0.2), form="FLAC"))]
    wanted = [b"".join(everything(vocoder, *given)) for given in inputs]
    outcomes, heard = {}, [0] * len(inputs)

    async def send(request, body):
        with pool.admit(vocoder) as lease:
            lease.start(request)
            for start in range(0, len(body), 1 << 16):
                lease.push(body[start : start + (1 << 16)])
            lease.finish()
            return await listen(lease)

    async def honest(number):
        while len(outcomes) < len(bodies):
            assert await send(*inputs[number]) == wanted[number]
            heard[number] += 1

    async def wrong(names):
        for name in names:
            try:
                outcomes[name] = len(await send(PCM, bodies[name]))
            except SeqgenError as error:
                outcomes[name] = str(error)

    names = list(bodies)
    await asyncio.gather(*map(honest, range(len(inputs))), *(wrong(names[part::4]) for part in range(4)))
    assert min(heard) > 3
    return outcomes


def holds(pool, vocoder, bodies, outcomes):
    for name, outcome in outcomes.items():
        assert isinstance(outcome, int) or "\n" not in outcome, name
        assert isinstance(outcome, int) or "/tmp" not in outcome, name
    refused = sum(isinstance(outcome, str) for outcome in outcomes.values())
    assert len(bodies) / 2 < refused < len(bodies)
    assert [worker.restarts for worker in pool.workers] == [0]


def test_bodies_of_any_kind_end_their_own_stream_in_a_thread(tmp_path):
    vocoder, bodies = fake_vocoder(batch=16), hostile(tmp_path)

    async def main(pool):
        holds(pool, vocoder, bodies, await beside_honest_listeners(pool, vocoder, bodies))

    pool_test(main, workers=1, slots=16)


def test_bodies_of_any_kind_end_their_own_stream_in_a_process(tmp_path):
    vocoder, bodies = fake_vocoder(batch=16), hostile(tmp_path)

    async def main(pool):
        holds(pool, vocoder, bodies, await beside_honest_listeners(pool, vocoder, bodies))

    isolated(main, vocoder, workers=1, slots=16)


class Company:
    """Three streams of a batcher, of which the one in the middle goes wrong."""

    def __init__(self, vocoder, given):
        self.batcher, self.flows, self.heard = Batcher(slots=3), {}, {}
        self.failures = {}
        self.given = given
        for slot in range(3):
            key, self.flows[slot] = (slot, 1), FlowControl()
            settings = VoiceSettings(seed=slot)
            self.heard[slot] = b""
            self.batcher.open(key, vocoder, SoundRequest(settings, "pcm", given[0]), 0.0, self.flows[slot])

    def run(self):
        for slot in range(3):
            self.batcher.push((slot, 1), self.given[1])
            self.batcher.finish((slot, 1))
        now = 0.0
        for _ in range(500):
            if (batch := self.batcher.plan(now)) is not None:
                batch.run()
                self.batcher.commit(batch, now)
            now += 0.1
            for event in self.batcher.events():
                assert event.key[0] in self.heard
                self.heard[event.key[0]] += event.data
                self.flows[event.key[0]].consumed = self.flows[event.key[0]].sent
                if event.over:
                    assert event.key[0] not in self.failures, "ended twice"
                    self.failures[event.key[0]] = event.failure
            if len(self.failures) == 3:
                assert len(self.batcher) == 0
                return
        raise AssertionError("a stream never ended")


INPUTS = {
    "file": (InputFormat("file"), audio_file(tone(0.1))),
    "audio": (InputFormat("audio", rate=16000), (tone(0.1, 16000) * 20000).astype("<i2").tobytes()),
    "features": (InputFormat("features"), SILENCE),
}


@cache
def undisturbed(given):
    """All three, where nothing goes wrong."""
    company = Company(fake_vocoder(batch=16), INPUTS[given])
    company.run()
    assert set(company.failures.values()) == {None}
    return company


def faulty(monkeypatch, where, step, fault, after):
    """The pipeline with the seed 1, or its stream or encoder, raises at one of its steps."""
    calls = [0]

    def raising(*_, **__):
        raise fault("by fault injection")

    class Faulty:
        def __init__(self, inner):
            self.__dict__["inner"] = inner

        def __getattr__(self, name):
            if name == step:
                calls[0] += 1
                if calls[0] > after:
                    return raising if callable(getattr(type(self.inner), name)) else raising()
            return getattr(self.inner, name)

        def __setattr__(self, name, value):
            setattr(self.inner, name, value)

    def made(vocoder, request, *rest):
        pipeline = SoundPipeline(vocoder, request, *rest)
        if request.settings.seed != 1:
            return pipeline
        if where == "pipeline":
            return Faulty(pipeline)
        if where == "encoder":
            pipeline._encoder = Faulty(pipeline._encoder)
        elif pipeline.stream is not None:
            pipeline.stream = Faulty(pipeline.stream)
        return pipeline

    monkeypatch.setattr(sound_streams, "SoundPipeline", made)
    return calls


@pytest.mark.parametrize("given", INPUTS)
@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize(
    ("where", "step"),
    [("pipeline", step) for step in STEPS]
    + [("stream", step) for step in INSIDE]
    + [("encoder", "push"), ("encoder", "finish")],
)
def test_a_fault_at_any_step_of_a_stream_ends_it_alone(monkeypatch, where, step, after, given):
    vocoder, company = fake_vocoder(batch=16), undisturbed(given)
    first = (len(where + step + given) + after) % len(FAULTS)
    for fault in (FAULTS[first], FAULTS[first - 4]):
        with monkeypatch.context() as patch:
            calls = faulty(patch, where, step, fault, after)
            again = Company(vocoder, INPUTS[given])
            again.run()
        assert (again.heard[0], again.heard[2]) == (company.heard[0], company.heard[2])
        assert (again.failures[0], again.failures[2]) == (None, None)
        assert (again.failures[1] is not None) == (calls[0] > after)
        assert company.heard[1].startswith(again.heard[1])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_before_a_stream_has_begun_ends_it_alone(monkeypatch, fault):
    vocoder, company = fake_vocoder(batch=16), undisturbed("file")

    def made(vocoder, request, *rest):
        if request.settings.seed == 1:
            raise fault("by fault injection")
        return SoundPipeline(vocoder, request, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(sound_streams, "SoundPipeline", made)
        again = Company(vocoder, INPUTS["file"])
        again.run()
    assert isinstance(again.failures[1], fault)
    assert (again.heard[0], again.heard[2]) == (company.heard[0], company.heard[2])


@pytest.mark.parametrize("name", long_to_read(100))
def test_containers_are_walked_in_slices_and_not_without_end(monkeypatch, name):
    body = long_to_read(2 << 20)[name]
    slices, inner = [[0, 0]], SlicedReader._part

    def counted(self, size):
        data = inner(self, size)
        slices[-1][0] += 1
        slices[-1][1] += len(data)
        return data

    def pause():
        slices.append([0, 0])
        return True

    monkeypatch.setattr(SlicedReader, "_part", counted)
    with pytest.raises(SeqgenError):
        for _ in opened_body(body, pause=pause).blocks:
            pass
    assert max(reads for reads, _ in slices) <= SLICE_READS + 1
    assert max(size for _, size in slices) <= 2 * SLICE_BYTES
    # And all in all, with those that find nothing more to read.
    most = bodies_module._READS + len(body) // bodies_module._BYTES_PER_READ
    assert sum(reads for reads, _ in slices) <= 2 * most


def test_whoever_closes_a_body_ends_its_reading_at_the_next_slice():
    body, pauses = long_to_read(1 << 20)["pages of a byte"], []
    with pytest.raises(SeqgenError):
        opened_body(body, pause=lambda: pauses.append(1))
    assert len(pauses) == 1


def test_neighbours_go_on_while_a_body_is_read_without_end(monkeypatch):
    vocoder, go_on, reading = fake_vocoder(batch=16), threading.Event(), threading.Event()
    honest = audio_file(tone(0.3))
    want = b"".join(everything(vocoder, PCM, honest))

    def endless(self, pause):
        if self.content_type != "slow":
            return vet(self, pause)
        reading.set()
        while not go_on.wait(0.001):
            assert pause()
        raise SeqgenError("it was nothing", remedy="send something")

    vet = Body.vet
    monkeypatch.setattr(Body, "vet", endless)

    async def main(pool):
        with pool.admit(vocoder) as slow:
            slow.start(SoundRequest(input=InputFormat("file", content_type="slow")))
            slow.finish()
            await asyncio.to_thread(reading.wait)
            for _ in range(3):
                with pool.admit(vocoder) as lease:
                    lease.start(PCM)
                    lease.push(honest)
                    lease.finish()
                    assert await listen(lease) == want
            go_on.set()
            with pytest.raises(SeqgenError, match="it was nothing"):
                await slow.take()

    pool_test(main, workers=1, slots=2)


class Given:
    """A body that is read as the test wants it."""

    def __init__(self, name="", slices=0, blocks=()):
        self.name, self.slices, self.blocks = name, slices, blocks

    def vet(self, pause):
        pass

    def open(self):
        return InputSource(8000, 0.0, iter(self.blocks))

    def close(self):
        pass


def test_bodies_are_read_in_turn_a_slice_of_each():
    woken, turns = threading.Event(), []
    gate = threading.Event()
    threads = DecodingThreads(woken.set)

    class Sliced(Given):
        def vet(self, pause):
            gate.wait(10)
            for _ in range(self.slices):
                turns.append(self.name)
                assert pause()

    bodies = [threads(Sliced(name="long", slices=50))]
    wait_for(lambda: threads._turnstile._taken)
    for count, name in enumerate(("a", "b"), 1):
        bodies.append(threads(Sliced(name=name, slices=3)))
        wait_for(lambda count=count: len(threads._turnstile._waiting) == count)
    gate.set()
    wait_for(lambda: all(not body.running for body in bodies))
    assert turns[:9] == ["long", "a", "b"] * 3
    assert turns[9:] == ["long"] * 47
    threads.close()


def test_a_body_is_decoded_no_further_ahead_than_its_stream_needs():
    made = []

    def blocks():
        for number in range(1000):
            made.append(number)
            yield np.full(1024, number, np.float32)

    threads = DecodingThreads(lambda: None)
    body = threads(Given(blocks=blocks()))
    wait_for(lambda: len(made) >= READY // 1024)
    assert not threading.Event().wait(0.02)
    assert len(made) == READY // 1024
    taken = []
    wait_for(lambda: body.over or ((block := body.take()) is not None and taken.append(block[0])))
    assert taken == list(range(1000))
    threads.close()
    abandoned = threads(Given(blocks=blocks()))
    threads.close()
    assert not abandoned.running


def test_a_turnstile_is_passed_on_whatever_is_raised():
    turnstile = Turnstile()
    with pytest.raises(KeyError), turnstile:
        raise KeyError
    with turnstile:
        turnstile.pass_on()


def test_an_error_of_ours_in_reading_a_body_refuses_it_and_quotes_nothing_of_it(monkeypatch, caplog):
    def failing(reader):
        raise KeyError("hush-hush")

    monkeypatch.setattr("serving.sound.body.containers.layout", failing)
    with pytest.raises(SeqgenError, match=r"the request body: not readable \(KeyError\)"):
        opened_body(audio_file(tone(0.1)))
    assert "KeyError at" in caplog.text
    assert "hush" not in caplog.text
