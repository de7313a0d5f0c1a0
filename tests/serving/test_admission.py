"""Admission by what streams cost in all and by the deadlines that were missed; nobody inside runs dry whatever asks."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from serving.http.protocol import HttpError
from serving.http.responses import reserve_slot
from serving.scheduling.admission import AdmissionControl, Lateness, cost
from serving.scheduling.batcher import Batcher
from serving.scheduling.events import FlowControl, StreamEvent
from serving.scheduling.memory import STREAM_BYTES, MemoryBudget
from serving.sound.formats import FORMATS
from serving.sound.resampling import RATES
from serving.streams.capacity import OVERHEAD, Capacity, SoundCosts, reading_cost, sound_costs
from serving.streams.sound import InputFormat, SoundRequest
from serving.voices.voice import LoadedVoice, open_voice
from tests.serving.fakes import SPEC, fake_vocoder
from tests.serving.test_worker_pool import FRAMES, pool_test

AUDIO = InputFormat("audio", rate=16000)
SOUND = SoundCosts(
    {("pcm", 8000): 0.01, ("flac", 8000): 0.03, ("pcm", 48000): 0.05, ("opus", 48000): 0.11}, {8000: 0.02, 48000: 0.04}
)
VOICE = Capacity(0.2, 0.1, 16, SOUND, text=0.07)


@pytest.mark.parametrize(
    ("request_", "beside"),
    [
        (None, 0.0),  # nobody knows yet
        (SoundRequest(form="pcm", input=InputFormat("features")), 0.0),
        (SoundRequest(form="flac", input=InputFormat("features")), 0.02),
        (SoundRequest(form="pcm", rate=48000, input=InputFormat("features")), 0.04),
        (SoundRequest(form="opus", rate=48000, input=InputFormat("features")), 0.10),
        (SoundRequest(form="pcm", input=replace(AUDIO, rate=8000)), 0.02),
        (SoundRequest(form="pcm", input=AUDIO), 0.04),  # as the next higher rate that was measured
        (SoundRequest(form="pcm", input=replace(AUDIO, rate=384000)), 0.04),
        (SoundRequest(form="opus", rate=48000, input=AUDIO), 0.14),
        (SoundRequest(form="pcm", input=InputFormat("text")), 0.07),
        (SoundRequest(form="flac", input=InputFormat("text")), 0.09),
        (SoundRequest(form="pcm"), SOUND.file),  # a recording that nobody has seen
        (SoundRequest(form="ulaw", input=InputFormat("features")), 0.0),  # not measured
    ],
)
def test_a_stream_costs_its_voice_its_encoder_and_what_is_taken_in(request_, beside):
    vocoder = fake_vocoder()
    assert cost(VOICE, vocoder, request_) == pytest.approx(0.1 + beside)
    assert cost(replace(VOICE, sound=SoundCosts(), text=0.0), vocoder, request_) == 0.1
    assert cost(Capacity(sound=SOUND), vocoder, request_) == 0.0  # a voice without a measure has no limit but the slots


def test_reading_is_measured_by_the_sound_that_it_is_for():
    """Of three texts the one that costs least for a second of sound, with all work up to the last frame."""
    now, prices = [0.0], iter([9.0, 0.25, 0.5])

    class Reader:
        def frames(self, text, temperature):
            price = next(prices)
            for size in (3, 5):
                now[0] += price * size * SPEC.hop / SPEC.sample_rate
                yield np.zeros((size, SPEC.bands), np.float32)

    assert reading_cost(Reader(), SPEC, lambda: now[0]) == pytest.approx(0.25)
    assert list(prices) == []


def test_a_voice_that_reads_knows_what_reading_costs(reading_voice):
    capacity = open_voice(reading_voice).capacity
    assert capacity.text > 0
    assert capacity.usual == capacity.shared + capacity.text


def test_every_format_and_rate_is_measured_and_only_once():
    ticks = count()
    clock = lambda: next(ticks)  # noqa: E731 it is what is remembered by
    costs = sound_costs(SPEC, clock)
    pairs = {(form, rate) for form in FORMATS for rate in RATES if form != "opus"}
    assert pairs <= set(costs.outputs)
    assert {form for form, _ in set(costs.outputs) - pairs} <= {"opus"}
    assert min(costs.outputs.values()) > 0
    assert costs.output("pcm", 48000) == pytest.approx(
        2 * costs.output("pcm", 8000) * 6 / 2 / 6 + 1 / 0.3 * (2 - 2 / 6), rel=1
    )
    assert {SPEC.sample_rate, 48000, 384000} <= set(costs.inputs)
    assert costs.file > costs.input(48000) > 0
    taken = next(ticks)
    assert sound_costs(SPEC, clock) is costs
    assert next(ticks) == taken + 1


def test_what_was_admitted_may_turn_out_to_cost_more():
    admission = AdmissionControl(workers=1, slots=16)
    assert [admission.admit(0.2) for _ in range(3)] == [0, 0, 0]
    assert admission.exchange(0, 0.2, 0.3)
    assert not admission.exchange(0, 0.2, 0.4)
    assert admission.load == [pytest.approx(0.7)]
    assert not admission.exchange(0, 0.2, 0.21, lambda worker: 2.0)
    assert admission.exchange(0, 0.3, 0.1, lambda worker: math.inf)  # less is always taken
    alone = AdmissionControl(workers=1, slots=16)
    assert alone.admit(0.2) == 0
    assert alone.exchange(0, 0.2, 3.0, lambda worker: 9.0)  # who is alone may be too slow for real time


def test_a_lease_is_charged_for_what_is_asked_of_it():
    vocoder = fake_vocoder()
    opus = SoundRequest(form="flac", input=replace(AUDIO, rate=8000))

    async def main(pool):
        pool.set_capacity(vocoder, replace(VOICE, shared=0.25))
        with pool.admit(vocoder) as first, pool.admit(vocoder, request=FRAMES) as second:
            assert pool.admission.load == [0.5]
            assert second.charge(opus, ahead=5.0)
            assert pool.admission.load == [pytest.approx(0.5 + 0.02 + 0.02)]
            assert pool.memory.held == 2 * STREAM_BYTES + 5 * 16000
            assert pool.admit(vocoder, request=opus) is None  # 0.83
            assert pool.admit(vocoder, request=FRAMES) is not None  # 0.79
            assert not first.charge(opus, ahead=1.0)
            assert not first.charge(FRAMES, ahead=1e6)  # no memory for so much input
            for lease in pool.leases:
                lease.close()
        assert pool.memory.held == 0

    pool_test(main, workers=1, slots=16, memory=MemoryBudget(8 << 20))


def late(deadlines, missed, now=1.0):
    """Lateness after so many deadlines, the last of which were missed."""
    made = Lateness()
    for number in range(deadlines):
        made.add(now=now * number / deadlines, missed=number >= deadlines - missed)
    return made


@pytest.mark.parametrize(
    ("deadlines", "missed", "least", "most"),
    [(0, 0, 1.0, 1.0), (300, 0, 1.0, 1.0), (300, 1, 1.0, 1.02), (70, 1, 1.0, 1.06), (1, 1, 1.0, 1.25),
     (300, 30, 1.3, 2.5), (300, 150, math.inf, math.inf), (30, 30, math.inf, math.inf)],
)  # fmt: skip
def test_what_is_given_away_shrinks_with_the_share_of_missed_deadlines(deadlines, missed, least, most):
    made = late(deadlines, missed)
    assert least <= made.slowdown(1.0) <= most
    assert made.slowdown(1.0) >= made.slowdown(4.0) >= made.slowdown(60.0)
    assert made.slowdown(60.0) == pytest.approx(1.0, abs=1e-6)


def test_one_listener_that_ran_dry_costs_a_busy_host_next_to_nothing():
    vocoder = fake_vocoder(batch=16)

    async def main(pool):
        pool.set_capacity(vocoder, Capacity(0.05, 0.05, 16))
        with pool.admit(vocoder) as lease:
            others = [pool.admit(vocoder) for _ in range(8)]
            lease.start(FRAMES)
            pool.deliver(0, [StreamEvent(lease.key, b"", seconds=0.1)] * 100)
            assert pool.free == 7
            pool.deliver(0, [StreamEvent(lease.key, b"", seconds=0.1, underrun=True)])
            assert pool.free >= 6
            pool.deliver(0, [StreamEvent(lease.key, b"", seconds=0.1, underrun=True)] * 60)
            assert pool.free == 0  # who is late all the time takes nobody
            with pytest.raises(HttpError, match="no more streams are taken now; try again") as caught:
                reserve_slot(pool, LoadedVoice(vocoder, pool.capacity(vocoder)))
            assert caught.value.status == 503
            for other in others:
                other.close()

    pool_test(main, workers=1, slots=16)


class Crowd:
    """Three times as many listeners as a worker can carry, under a simulated clock.

    Attributes:
        taken: listeners let in. dry: how often one of them ran dry.
    """

    FORMS = (("pcm", 8000, 0.0), ("pcm", 48000, 0.06), ("flac", 48000, 0.12))  # and what each costs

    def __init__(self, seed, *, priced):
        self.rng, self.priced, self.model = random.Random(seed), priced, fake_vocoder(latency=0, batch=16)
        runtime, per = self.model.runtime, self.model.uniforms
        runtime.uniforms = lambda seed, stream, first, count: np.zeros(count, np.float32)
        runtime.sample = lambda noise, state, *_: (np.zeros((len(noise), noise.shape[1] // per), np.float32), state)
        sound = SoundCosts({(form, rate): price for form, rate, price in self.FORMS})
        self.capacity = Capacity(OVERHEAD * 0.06, OVERHEAD * 0.04, 16, sound)
        self.batcher = Batcher(slots=16, capacity=lambda _: self.capacity)
        self.admission, self.lateness = AdmissionControl(workers=1, slots=16), Lateness()
        self.now, self.next, self.inside = 0.0, 0.0, {}
        self.taken = self.dry = 0

    def run(self, seconds):
        while self.now < seconds:
            self.knock()
            self.leave()
            batch = self.batcher.plan(self.now)
            if batch is None:
                self.now += 0.005
            else:
                self.compute(batch)
            for event in self.batcher.events():
                if event.key in self.inside:
                    flow = self.inside[event.key][0]
                    flow.consumed = flow.sent
                    self.dry += event.underrun
                    if event.seconds:
                        self.lateness.add(now=self.now, missed=event.underrun)
        return self

    def knock(self):
        """Somebody new every 20 ms, who would stay for 3 s."""
        if self.now < self.next:
            return
        self.next = self.now + self.rng.expovariate(50)
        form, rate, beside = self.rng.choice(self.FORMS)
        request = SoundRequest(form=form, rate=rate, input=InputFormat("features"))
        price = cost(self.capacity, self.model, request if self.priced else None)
        if self.admission.admit(price, self.pace) == 0:
            key = (min(set(range(16)) - {slot for slot, _ in self.inside}), self.taken)
            self.inside[key] = FlowControl(), price, self.now + 3.0, beside
            self.batcher.open(key, self.model, request, self.now, self.inside[key][0])
            self.batcher.push(key, np.zeros((1000, SPEC.n_mels), "<f4").tobytes())
            self.taken += 1

    def pace(self, _):
        return self.batcher.pace.at(self.now) * self.lateness.slowdown(self.now)

    def leave(self):
        for key, (_, price, until, _) in list(self.inside.items()):
            if self.now > until:
                self.batcher.cancel(key)
                self.admission.release(0, price)
                del self.inside[key]

    def compute(self, batch):
        batch.run()
        made = batch.steps[0][1].samples / self.model.sample_rate
        self.now += self.capacity.cost(len(batch.keys), made) / OVERHEAD
        self.batcher.commit(batch, self.now)
        self.now += made * sum(self.inside[key][3] for key in batch.keys)


def test_nobody_inside_runs_dry_under_three_times_the_load():
    fair, blind = Crowd(0, priced=True).run(6.0), Crowd(0, priced=False).run(2.0)
    assert fair.admission.refused > 2 * fair.taken > 20
    assert fair.dry == 0
    assert blind.dry > 0, "who is charged for the voice alone is one too many"
