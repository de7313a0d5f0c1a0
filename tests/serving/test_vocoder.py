"""The sans-I/O stream: any chunking gives the offline waveform, of the lawful length."""

from __future__ import annotations

import numpy as np
import pytest

from seqgen import noise
from seqgen.audio.features import log_mel
from seqgen.audio.resample import resample
from seqgen.errors import SeqgenError
from serving.streams.vocoder import CHUNK_FRAMES, ModelFailure, VoiceSettings
from tests.serving.fakes import SPEC, fake_vocoder, tone

LATENCIES = [0, 1, 39, 40, 80, 100, 401]


def offline(vocoder, frames, samples, settings):
    """The same audio by one call into the runtime, without any of the streaming code."""
    hop, latency = SPEC.hop, vocoder.alignment.latency
    flush = np.full((-(-latency // hop), SPEC.n_mels), SPEC.silence, np.float32)
    cond = np.concatenate([frames, flush])
    hot = np.float32([[name == settings.speaker for name in vocoder.speakers]] * len(cond))
    cond = np.concatenate([cond, hot.reshape(len(cond), -1)], axis=1)
    count = len(cond) * hop - latency
    u = noise.block(settings.seed, settings.stream, 0, count * vocoder.uniforms)
    made, _ = vocoder.runtime.sample(u[None], vocoder.runtime.init(1), cond[None], settings.temperature)
    return made[0][:samples]


def streamed(vocoder, blocks, settings, rate):
    stream = vocoder.start(settings, rate=rate)
    out = []
    for block in blocks:
        stream.push(block)
        out += stream.chunks()
    stream.finish()
    out += stream.chunks()
    assert stream.finished
    return np.concatenate(out) if out else np.zeros(0, np.float32)


def cut(rng, array, pieces):
    return np.split(array, np.sort(rng.integers(0, len(array) + 1, pieces)))


@pytest.mark.parametrize("latency", LATENCIES)
def test_any_chunking_of_audio_gives_the_offline_waveform(latency):
    rng = np.random.default_rng(latency)
    settings = VoiceSettings(seed=2**63 + latency, temperature=0.7, stream=5)
    for samples in [1, 39, 40, 41, 2000, 4017]:
        vocoder, audio = fake_vocoder(latency=latency), tone(0.6)[:samples]
        expected = offline(vocoder, log_mel(audio, SPEC), samples, settings)
        assert expected.shape == (samples,)
        for pieces in (0, 3, 50):
            got = streamed(vocoder, cut(rng, audio, pieces), settings, SPEC.sample_rate)
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("latency", LATENCIES)
def test_any_chunking_of_frames_gives_the_offline_waveform(latency):
    rng, settings = np.random.default_rng(latency), VoiceSettings(seed=3, speaker="b")
    for count in [1, 2, 7, 60]:
        vocoder = fake_vocoder(latency=latency, speakers=("a", "b", "c"), uniforms=1)
        frames = rng.standard_normal((count, SPEC.n_mels)).astype(np.float32)
        expected = offline(vocoder, frames, count * SPEC.hop, settings)
        for pieces in (0, 2, 40):
            np.testing.assert_array_equal(streamed(vocoder, cut(rng, frames, pieces), settings, None), expected)


def test_audio_at_another_rate_is_resampled_in_any_chunking():
    rng, settings, vocoder = np.random.default_rng(0), VoiceSettings(), fake_vocoder(latency=0)
    for rate, samples in [(16000, 8001), (44100, 4410), (44100, 221), (5512, 3001)]:  # 221: 40.09 samples, 41 owed
        audio = tone(1.0, rate)[:samples]
        there = resample(audio, rate, SPEC.sample_rate)
        expected = offline(vocoder, log_mel(there, SPEC), len(there), settings)
        for pieces in (0, 30):
            got = streamed(vocoder, cut(rng, audio, pieces), settings, rate)
            assert got.shape == there.shape
            np.testing.assert_allclose(got, expected, atol=1e-6)


def test_chunks_grow_as_planned_and_the_first_waits_for_the_look_ahead_only():
    vocoder = fake_vocoder(latency=100)
    streamed(vocoder, [np.zeros((40, SPEC.n_mels), np.float32)], VoiceSettings(), None)
    assert vocoder.runtime.blocks == [CHUNK_FRAMES[0] + 2, 2, 4, 8, 8, 8, 8, 2]  # 40 frames and 3 of silence


def test_audio_is_made_only_when_it_is_asked_for():
    vocoder = fake_vocoder()
    stream = vocoder.start(VoiceSettings(), rate=None)
    stream.push(np.zeros((100, SPEC.n_mels), np.float32))
    assert vocoder.runtime.blocks == []
    next(stream.chunks())
    assert len(vocoder.runtime.blocks) == 1


def test_interleaved_streams_do_not_meet():
    vocoder, audio = fake_vocoder(), tone(0.4)
    alone = [streamed(vocoder, [audio], VoiceSettings(seed=seed), SPEC.sample_rate) for seed in (1, 2)]
    streams = [vocoder.start(VoiceSettings(seed=seed), rate=SPEC.sample_rate) for seed in (1, 2)]
    out = [[], []]
    for block in np.array_split(audio, 9):
        for stream, made in zip(streams, out, strict=True):
            stream.push(block)
            made += stream.chunks()
    for stream, made, expected in zip(streams, out, alone, strict=True):
        stream.finish()
        np.testing.assert_array_equal(np.concatenate(made + list(stream.chunks())), expected)
    assert not np.array_equal(*alone)


def test_nothing_in_gives_nothing_out():
    assert streamed(fake_vocoder(), [], VoiceSettings(), SPEC.sample_rate).size == 0


def test_pushing_after_the_end_is_a_mistake():
    stream = fake_vocoder().start(VoiceSettings(), rate=SPEC.sample_rate)
    stream.finish()
    stream.finish()
    with pytest.raises(ValueError, match="finished"):
        stream.push(tone(0.1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (VoiceSettings(seed=-1), "seed -1 is out of range"),
        (VoiceSettings(seed=2**64), "out of range"),
        (VoiceSettings(temperature=-0.1), "temperature -0.1 is out of range; choose 0 to 2"),
        (VoiceSettings(temperature=2.1), "temperature 2.1 is out of range"),
        (VoiceSettings(temperature=float("nan")), "temperature nan is out of range"),
        (VoiceSettings(speaker="x"), "no speaker 'x'; its speakers are: a, b"),
        (VoiceSettings(), "needs a speaker; choose one of: a, b"),
    ],
)
def test_settings_that_the_voice_cannot_follow_are_refused(settings, message):
    with pytest.raises(SeqgenError, match=message):
        fake_vocoder(speakers=("a", "b")).start(settings, rate=None)


def test_the_only_voice_may_not_be_called_by_another_name():
    fake_vocoder().check(VoiceSettings())
    with pytest.raises(SeqgenError, match="only one voice"):
        fake_vocoder().check(VoiceSettings(speaker="x"))


@pytest.mark.parametrize(
    ("rate", "block", "message"),
    [
        (8000, np.array([0.0, np.nan]), "NaN or infinity at sample 1"),
        (8000, np.array([[0.0]]), "mono audio"),
        (None, np.zeros((3, 11)), r"frames \[F, 10\], got shape \(3, 11\)"),
        (None, np.array([[0.0] * 10, [np.inf] * 10]), "NaN or infinity in frame 1"),
    ],
)
def test_bad_blocks_are_refused(rate, block, message):
    stream = fake_vocoder().start(VoiceSettings(), rate=rate)
    with pytest.raises(SeqgenError, match=message):
        stream.push(block)


def test_a_broken_voice_is_told_apart_from_bad_input():
    vocoder = fake_vocoder()
    vocoder.runtime.nan_after = 100
    with pytest.raises(ModelFailure, match="NaN"):
        streamed(vocoder, [tone(0.2)], VoiceSettings(), SPEC.sample_rate)


@pytest.mark.parametrize("rate", [0, 1, 10**6])
def test_unsupported_rates_are_refused(rate):
    with pytest.raises(SeqgenError, match=f"unsupported sample rate {rate} Hz"):
        fake_vocoder().start(VoiceSettings(), rate=rate)
