"""The batcher under a simulated clock: the same bytes in any company and any order of events, and fair turns."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest

from seqgen.audio.features import log_mel
from seqgen.audio.io import pcm16
from serving.scheduling.admission import Pace
from serving.scheduling.batcher import FIRST_SOUND, MAX_BUFFERED, MAX_LEAD, Batcher
from serving.scheduling.events import FlowControl
from serving.scheduling.playback import PREBUFFER
from serving.streams.capacity import OVERHEAD, Capacity
from serving.streams.sound import InputFormat, SoundRequest
from serving.streams.vocoder import CHUNK_FRAMES, VoiceSettings
from serving.workers.worker import ThreadWorker
from tests.serving.fakes import SPEC, audio_file, fake_vocoder, tone
from tests.serving.reading_fakes import fake_voice

FRAME = SPEC.hop / SPEC.sample_rate
INPUTS = {
    "file": InputFormat("file"),
    "audio": InputFormat("audio", rate=8000, encoding="f32le"),
    "features": InputFormat("features"),
}


def payload(kind, sound, spec):
    if kind == "file":
        return audio_file(sound, subtype="FLOAT")
    return (sound if kind == "audio" else log_mel(sound, spec)).astype("<f4").tobytes()


def expected(vocoder, kind, sound, settings):
    stream = vocoder.start(settings, rate=None if kind == "features" else 8000)
    stream.push(log_mel(sound, vocoder.features) if kind == "features" else sound)
    stream.finish()
    return b"".join(pcm16(chunk).astype("<i2").tobytes() for chunk in stream.chunks())


class Listener:
    """One stream of a random schedule: what it sends and when, and how fast it reads."""

    def __init__(self, rng, vocoder, number, speaker):
        self.rng, self.model = rng, vocoder
        self.kind = rng.choice(sorted(INPUTS))
        self.sound = tone(rng.choice([0.004, 0.03, 0.15]))
        self.settings = VoiceSettings(
            seed=rng.randrange(5), stream=number, temperature=rng.choice([0.0, 1.0]), speaker=speaker
        )
        self.key = None
        self.flow = FlowControl()
        self.begin = rng.choice([0.0, rng.random() * 0.3])
        self.rest = payload(self.kind, self.sound, vocoder.features)
        self.sent_all = False
        self.reads = rng.choice([1.0, 1.0, 0.5])
        self.given = bytearray()
        self.over = False
        self.failure = None
        self.hangs_up = rng.random() * 0.3 if rng.random() < 0.2 else None

    def act(self, batcher, now, slots):
        if self.key is None:
            if now >= self.begin and slots:
                self.key = (slots.pop(), self.rng.randrange(1 << 30))
                request = SoundRequest(self.settings, "pcm", INPUTS[self.kind], eager=self.rng.random() < 0.5)
                batcher.open(self.key, self.model, request, now, self.flow)
            return
        if self.over:
            return
        if self.hangs_up is not None and now > self.begin + self.hangs_up:
            return batcher.cancel(self.key)
        if self.rest:
            size = self.rng.choice([1, 50, 1000, len(self.rest)])
            batcher.push(self.key, self.rest[:size])
            self.rest = self.rest[size:]
        elif not self.sent_all:
            self.sent_all = True
            batcher.finish(self.key)
        if self.rng.random() < self.reads:
            self.flow.consumed = self.flow.sent


def simulate(seed, vocoder, speaker=None, jump=0.0):
    """One random schedule, whose clock jumps now and then; returns the listeners after everything has ended."""
    rng = random.Random(seed)
    batcher = Batcher(
        slots=rng.choice([1, 3, 16]), buffered=rng.choice([0.05, 2.0]), capacity=lambda _: Capacity(0.1, 0.1, 16)
    )
    listeners = [Listener(rng, vocoder, number, speaker) for number in range(rng.randrange(1, 9))]
    slots, now = list(range(batcher.slots)), 0.0
    for _ in range(100_000):
        for listener in rng.sample(listeners, len(listeners)):
            listener.act(batcher, now, slots)
        batch = batcher.plan(now)
        now += rng.choice([0.0, 0.001, 0.02]) + (jump if rng.random() < 0.05 else 0.0)
        if batch is not None:
            batch.run()
            batcher.commit(batch, now)
        else:
            now += 0.01 if batcher.rest(now) is None else min(0.05, batcher.rest(now))
        for event in batcher.events():
            listener = next(one for one in listeners if one.key == event.key)
            assert not listener.over, "an event after the end"
            listener.given += event.data
            if event.over:
                listener.over, listener.failure = True, event.failure
                slots.append(event.key[0])
        if all(listener.over for listener in listeners):
            assert len(batcher) == 0
            assert sorted(slots) == list(range(batcher.slots))
            return listeners
    raise AssertionError("the schedule never ended")


def require_the_same_bytes(schedules, vocoder=None, speaker=None, jump=0.0):
    vocoder = vocoder or fake_vocoder(batch=16)
    together = []
    inner = vocoder.runtime.sample
    vocoder.runtime.sample = lambda noise, *rest: together.append(len(noise)) or inner(noise, *rest)
    for seed in schedules:
        for listener in simulate(seed, vocoder, speaker, jump):
            want = expected(vocoder, listener.kind, listener.sound, listener.settings)
            assert listener.failure is None
            if listener.hangs_up is None:
                assert bytes(listener.given) == want, f"schedule {seed}"
            else:
                assert want.startswith(bytes(listener.given)), f"schedule {seed}"
    vocoder.runtime.sample = inner
    assert sum(rows > 1 for rows in together) > len(schedules), "streams hardly ever shared a call"


def test_the_same_bytes_in_any_company():
    require_the_same_bytes(range(60))


@pytest.mark.soak
def test_the_same_bytes_in_any_company_at_length():
    require_the_same_bytes(range(100, 4100))


def test_the_same_bytes_when_the_clock_jumps():
    require_the_same_bytes(range(30), jump=3600.0)  # a machine that slept


@pytest.mark.soak
def test_the_same_bytes_when_the_clock_jumps_at_length():
    require_the_same_bytes(range(100, 1100), jump=3600.0)


def steady(vocoder, count, *, slots=16, **request):
    """A batcher with some endless listeners, opened at 0."""
    batcher = Batcher(slots=slots)
    flows = []
    for number in range(count):
        flows.append(FlowControl())
        batcher.open(
            (number, 1),
            vocoder,
            SoundRequest(form="pcm", input=INPUTS["features"], **request),
            0.0,
            flows[-1],
        )
        batcher.push((number, 1), np.zeros((2000, SPEC.n_mels), "<f4").tobytes())
    return batcher, flows


def turn(batcher, now, later=None):
    batch = batcher.plan(now)
    if batch is None:
        return None, []
    batch.run()
    batcher.commit(batch, now if later is None else later)
    return batch, batcher.events()


def test_chunks_grow_with_the_lead_and_stop_at_three_seconds():
    batcher, flows = steady(fake_vocoder(latency=0, batch=16), 1)
    sizes = []
    while (done := turn(batcher, 0.0))[0] is not None:
        sizes.append(done[0].steps[0][1].cond.shape[0])
        flows[0].consumed = flows[0].sent
    assert sizes[:4] == [1, 2, 4, 8]
    assert set(sizes[4:]) == {8}
    lead = PREBUFFER + sum(sizes) * FRAME
    assert MAX_LEAD <= lead < MAX_LEAD + 8 * FRAME
    assert batcher.rest(0.0) == pytest.approx(lead - MAX_LEAD)
    assert turn(batcher, 1.0)[0] is not None


def test_a_download_goes_on_beyond_the_lead_but_never_before_others():
    vocoder = fake_vocoder(latency=0, batch=16)
    batcher, flows = steady(vocoder, 1, eager=True)
    while flows[0].sent < 2 * 8000 * 2 * MAX_LEAD:
        flows[0].consumed = flows[0].sent
        assert turn(batcher, 0.0)[0] is not None
    batcher.open((1, 1), vocoder, SoundRequest(form="pcm", input=INPUTS["features"]), 0.0)
    batcher.push((1, 1), np.zeros((200, SPEC.n_mels), "<f4").tobytes())
    assert turn(batcher, 0.0)[0].keys == [(1, 1)]


def test_the_stream_that_runs_dry_first_is_served_first():
    batcher, _ = steady(fake_vocoder(latency=0), 3)  # one stream a call
    served = set()
    for _ in range(20):
        due = {key: slot.clock.dry + FIRST_SOUND * (not slot.clock.started) for key, slot in batcher._occupied.items()}
        (key,) = turn(batcher, 0.0)[0].keys
        assert due[key] == min(due.values())
        served.add(key)
    assert len(served) == 3


def test_a_newcomer_goes_before_those_who_have_sound_and_after_those_about_to_run_dry():
    vocoder = fake_vocoder(latency=0)
    batcher, _ = steady(vocoder, 1)
    for _ in range(4):
        turn(batcher, 0.0)
    lead = batcher._occupied[0, 1].clock.dry
    for now, first in [(0.0, (1, 1)), (lead - 0.001, (0, 1))]:
        batcher.open((1, 1), vocoder, SoundRequest(form="pcm", input=INPUTS["features"]), now)
        batcher.push((1, 1), np.zeros((200, SPEC.n_mels), "<f4").tobytes())
        assert batcher.plan(now).keys == [first]
        batcher.cancel((1, 1))
        batcher.plan(now)


def test_streams_share_calls_and_calls_stay_short():
    vocoder = fake_vocoder(latency=0, batch=16)
    batcher, _ = steady(vocoder, 16)
    batcher._capacity = lambda _: Capacity(alone=0.1, shared=0.05, batch=16)
    for _ in range(3):
        turn(batcher, 0.0)
    for _ in range(30):
        batch, _ = turn(batcher, 0.0)
        assert len(batch.keys) == 16
        assert len(batch.steps[0][1].cond) == CHUNK_FRAMES[1]  # 16 x 2 x 5 ms x 0.05 = 8 ms


def test_the_pace_of_calls_is_noted_against_what_was_measured():
    vocoder = fake_vocoder(latency=0, batch=16)
    batcher, _ = steady(vocoder, 1)
    batcher._capacity = lambda _: Capacity(alone=OVERHEAD, shared=OVERHEAD, batch=16)  # a second for a second
    batch = batcher.plan(1.0)
    assert batch.due == pytest.approx(FRAME)
    batch.run()
    batcher.commit(batch, 1.0 + 3 * FRAME)
    want = Pace()
    want.add(now=1.0, took=3 * FRAME, due=FRAME)
    assert batcher.pace.at(1.0) == pytest.approx(want.at(1.0))


def test_what_reading_takes_of_a_turn_is_expected_of_it():
    """So that a worker that reads is not taken for one that has slowed down."""
    voice, due = fake_voice(latency=0), {}
    capacity = Capacity(alone=OVERHEAD, shared=OVERHEAD, batch=16, text=0.5)
    for kind in ("text", "features"):
        batcher = Batcher(slots=2, capacity=lambda _: capacity)
        for slot in range(2):
            batcher.open((slot, 1), voice, SoundRequest(form="pcm", input=InputFormat(kind)), now=0.0)
            batcher.push((slot, 1), b"abcd" * SPEC.bands)
            batcher.finish((slot, 1))
        due[kind] = batcher.plan(0.0).due
    assert due["text"] - due["features"] == pytest.approx(2 * 0.5 * FRAME)


def test_small_steps_are_handed_over_in_chunks_that_grow():
    vocoder = fake_vocoder(latency=0, batch=16)
    batcher, flows = steady(vocoder, 16)
    batcher._capacity = lambda _: Capacity(alone=0.1, shared=0.12, batch=16)  # one frame a turn
    sizes = []
    for _ in range(40):
        _, events = turn(batcher, 0.0)
        sizes += [len(event.data) // 2 // SPEC.hop for event in events if event.key == (3, 1)]
        for flow in flows:
            flow.consumed = flow.sent
    assert sizes[:5] == [1, 2, 4, 8, 8]
    assert sum(sizes) > 30


def test_running_dry_counts_where_the_server_is_late_and_not_where_input_or_reader_is():
    vocoder = fake_vocoder(latency=0, batch=16)
    batcher = Batcher(slots=1)
    flow = FlowControl()
    batcher.open((0, 1), vocoder, SoundRequest(form="pcm", input=INPUTS["features"]), 0.0, flow)
    frame = np.zeros((1, SPEC.n_mels), "<f4").tobytes()
    batcher.push((0, 1), frame * 2)
    (event,) = turn(batcher, 0.0, later=0.5)[1]
    assert (event.first, event.underrun) == (0.5, False)
    (event,) = turn(batcher, 0.5, later=0.6)[1]  # had 5 ms, and the call took 100
    assert event.underrun
    assert batcher.plan(0.7) is None  # no input
    batcher.push((0, 1), frame)
    assert not turn(batcher, 0.9)[1][0].underrun
    batcher.push((0, 1), frame * 4000)
    while batcher.plan(0.9) is not None:
        _, events = turn(batcher, 0.9)
        assert not any(event.underrun for event in events)
    assert flow.buffered >= MAX_BUFFERED * 16000
    assert batcher.plan(9.0) is None  # the ring is full
    flow.consumed = flow.sent
    assert not turn(batcher, 9.5)[1][0].underrun


def test_a_late_word_for_an_earlier_stream_hits_nobody():
    vocoder = fake_vocoder()
    batcher, _ = steady(vocoder, 1)
    batcher.cancel((0, 1))
    batcher.plan(0.0)
    (event,) = batcher.events()
    assert event.over
    batcher.open((0, 2), vocoder, SoundRequest(form="pcm", input=INPUTS["features"]), 0.0)
    batcher.cancel((0, 1))
    batcher.push((0, 1), b"xx")
    batcher.finish((0, 1))
    assert batcher.plan(0.0) is None
    assert len(batcher) == 1
    with pytest.raises(ValueError, match="slot 0 is taken"):
        batcher.open((0, 3), vocoder, SoundRequest(), 0.0)


@pytest.mark.parametrize("option", ["fail_after", "nan_after"])
def test_a_voice_that_fails_one_stream_leaves_its_neighbours(option):
    vocoder = fake_vocoder(latency=0, batch=16)
    batcher, _ = steady(vocoder, 2)
    for _ in range(5):
        turn(batcher, 0.0)
    batcher.open((2, 1), vocoder, SoundRequest(form="pcm", input=INPUTS["features"]), 0.0)
    batcher.push((2, 1), np.zeros((200, SPEC.n_mels), "<f4").tobytes())
    turn(batcher, 0.0)
    setattr(vocoder.runtime, option, batcher._occupied[0, 1].pipeline.stream.made)
    failed = {event.key for _ in range(3) for event in turn(batcher, 0.0)[1] if event.failure is not None}
    assert failed == {(0, 1), (1, 1)}
    assert set(batcher._occupied) == {(2, 1)}


@pytest.mark.parametrize(
    ("given", "data", "message"),
    [
        (INPUTS["features"], np.full((1, SPEC.n_mels), np.nan, "<f4").tobytes(), "NaN or infinity in frame 0"),
        (INPUTS["features"], b"123", "the input ends 3 bytes into a sample or frame"),
        (INPUTS["audio"], np.full(5, np.inf, "<f4").tobytes(), "NaN or infinity at sample 0"),
        (INPUTS["file"], b"", "is empty"),
        (INPUTS["file"], b"junk" * 5, "neither audio nor features"),
        (INPUTS["features"], bytes(4 * SPEC.n_mels * 201), "more than 1 s came in one utterance"),
    ],
)
def test_bad_input_ends_the_stream_with_its_reason(given, data, message):
    batcher = Batcher(slots=1)
    batcher.open((0, 1), fake_vocoder(), SoundRequest(form="pcm", input=given, longest=1.0), 0.0)
    batcher.push((0, 1), data)
    batcher.finish((0, 1))
    batcher.plan(0.0)
    (event,) = batcher.events()
    assert event.over
    assert message in str(event.failure)
    assert len(batcher) == 0


def test_nothing_in_gives_nothing_out():
    for given in (INPUTS["features"], INPUTS["audio"]):
        batcher = Batcher(slots=1)
        batcher.open((0, 1), fake_vocoder(), SoundRequest(form="pcm", input=given), 0.0)
        batcher.finish((0, 1))
        assert batcher.plan(0.0) is None
        (event,) = batcher.events()
        assert (event.over, event.data, event.failure) == (True, b"", None)


def test_room_that_a_reader_made_after_the_last_look_is_seen_before_sleeping():
    batcher, flow = Batcher(slots=1, buffered=0.05), FlowControl()
    batcher.open((0, 1), fake_vocoder(latency=0), SoundRequest(form="pcm", input=INPUTS["features"]), 0.0, flow)
    batcher.push((0, 1), np.zeros((400, SPEC.n_mels), "<f4").tobytes())
    while turn(batcher, 0.0)[0] is not None:
        pass
    assert flow.buffered >= 0.05 * 16000
    assert not batcher.roomy()
    flow.consumed = flow.sent  # and the acknowledgement that goes with it came too early
    assert batcher.roomy()
    worker = ThreadWorker(0, batcher, lambda events: None, lambda: None)
    sleeper = threading.Thread(target=worker._sleep, daemon=True)
    sleeper.start()
    sleeper.join(10)
    assert not sleeper.is_alive()
