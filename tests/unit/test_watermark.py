"""The watermark is found behind codecs, noise and cuts, by its own key alone, and where it is not as rarely as told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from seqgen.audio.io import read
from seqgen.audio.resample import resample
from seqgen.audio.watermark import CHIP_MS, LAGS, PERIOD, PUBLIC_KEY, STRENGTH, Watermark, chips, watermarked
from seqgen.audio.watermark_detection import HOP_MS, Detection, detect, judged, scores, stretches
from seqgen.errors import SeqgenError
from tools.watermark_figures import CHANGES, unmarked

HARD = {"Opus, 16 kbit/s", "white noise at 20 dB"}  # more than is promised of 3.9 s


@pytest.fixture(scope="module")
def speech(repository: Path) -> np.ndarray:
    """A vocoder's 3.9 s of speech at 24 kHz."""
    audio, rate = read(repository / "docs" / "demo-voice.flac")
    return resample(audio, rate, 24000)


@pytest.fixture(scope="module")
def marked(speech: np.ndarray) -> np.ndarray:
    return watermarked(speech, 24000)


def test_it_is_what_it_is_said_to_be(speech: np.ndarray) -> None:
    """Sample for sample by the equation, whose signs glide from those of one chip to those of the next."""
    rate, signs = 24000, chips(7)
    made = watermarked(speech[:20_000], rate, 7)
    size = CHIP_MS * rate // 1000
    for n in (0, 1, 23, 24, 479, 480, 5000, 19_999):
        chip, place = n // size, n % size / size
        share = 3 * place**2 - 2 * place**3
        gain = (1 - share) * signs[chip - 1] + share * signs[chip]
        lags = np.round(LAGS * rate).astype(int)
        echoes = sum(g * float(speech[n - lag]) for g, lag in zip(gain, lags, strict=True) if lag <= n)
        assert made[n] == pytest.approx(float(speech[n]) + STRENGTH * echoes, abs=1e-7)


@pytest.mark.parametrize("rate", [8000, 11025, 24000, 48000])
def test_any_cut_gives_the_same_bits(rate: int) -> None:
    """Over the end of a period, in single samples too."""
    audio = np.random.default_rng(rate).standard_normal(round(5.3 * rate)).astype(np.float32)
    whole = watermarked(audio, rate)
    at = round(PERIOD * CHIP_MS * rate / 1000)
    for cuts in (np.arange(240, len(audio), 240), [*range(at - 40, at + 40)], [1, 2, 2, 5, len(audio) - 1]):
        mark = Watermark(rate)
        parts = [mark.push(part) for part in np.split(audio, cuts)]
        assert [len(part) for part in parts] == [len(part) for part in np.split(audio, cuts)]  # none is held back
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert len(watermarked(audio[:0], rate)) == 0


def test_the_signs_are_those_that_were_given_out() -> None:
    """Sound that was marked by an earlier version is found by a later one."""
    assert np.packbits(chips(PUBLIC_KEY) > 0)[:8].tobytes().hex() == "a572f4b0fa3a1cad"


@pytest.mark.parametrize("change", [name for name in CHANGES if name not in HARD])
def test_it_is_found_behind(change: str, speech: np.ndarray, marked: np.ndarray) -> None:
    found = detect(*CHANGES[change](marked, 24000))
    assert found.present
    assert found.score > found.threshold > 6
    assert found.false_alarm < 1e-6
    assert not detect(*CHANGES[change](speech, 24000)).present


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
def test_it_is_found_at_every_rate_of_voice_and_file(rate: int, speech: np.ndarray) -> None:
    audio = watermarked(resample(speech, 24000, rate), rate)
    assert detect(audio, rate).present
    assert detect(resample(audio, rate, 12000), 12000).present


def test_it_is_hardly_there(speech: np.ndarray, marked: np.ndarray) -> None:
    """The spectrum changes by a decibel or so."""
    error = np.mean((marked - speech) ** 2) / np.mean(speech**2)
    assert 10 * math.log10(error) < -12
    ratio = [np.mean(part**2) for part in (marked, speech)]
    assert abs(10 * math.log10(ratio[0] / ratio[1])) < 0.2


def test_another_key_finds_nothing(marked: np.ndarray) -> None:
    seen = stretches(marked, 24000)
    assert judged(seen).score > 12
    others = [judged(seen, key) for key in range(200)]
    assert not any(one.present for one in others)
    assert max(one.score for one in others) < 5
    assert not detect(watermarked(np.asarray(marked), 24000, 5), 24000, 6).present
    assert detect(watermarked(np.asarray(marked), 24000, 5), 24000, 5).present


def test_scores_without_a_mark_have_the_tail_that_is_promised(speech: np.ndarray) -> None:
    """Of a million places, as many reach a score as the bound allows, and nearly as many as the normal law has."""
    (seen,) = stretches(speech, 24000)
    every = np.concatenate([scores(seen.folded, chips(key)).ravel() for key in range(1000)])
    for edge in (1.0, 2.0, 3.0, 4.0):
        share, normal = np.mean(every >= edge), math.erfc(edge / math.sqrt(2)) / 2
        assert share < 3.2 * normal
        assert share > 0.5 * normal
    assert abs(every.mean()) < 0.01
    assert every.std() == pytest.approx(1, abs=0.03)


def test_what_is_told_follows_from_the_score() -> None:
    """The threshold is where the probability is one in a million; longer recordings have more places to be wrong."""
    noise = np.random.default_rng(3).standard_normal(31 * 16000)
    short, long = detect(noise[:48000], 16000), detect(noise, 16000)
    assert (len(stretches(noise[:48000], 16000)), len(stretches(noise, 16000))) == (1, 4)
    assert long.threshold > short.threshold
    for found, number in ((short, 1), (long, 4)):
        trials = number * PERIOD * CHIP_MS // HOP_MS
        assert trials * 3.178 * math.erfc(found.threshold / math.sqrt(2)) / 2 == pytest.approx(1e-6, rel=1e-3)


def test_speech_among_other_sound_is_found_where_it_is(marked: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    noise = [0.05 * rng.standard_normal(30 * 24000).astype(np.float32) for _ in range(2)]
    found = detect(np.concatenate([noise[0], np.tile(marked, 2), noise[1]]), 24000)
    assert found.present
    assert found.start <= 33 < found.stop < 60
    assert found.stop - found.start < 16


@pytest.mark.parametrize("sound", [np.zeros(48000), np.full(48000, 0.5), np.zeros(1), np.full(9, 1e-30)])
def test_silence_and_constants_are_safe(sound: np.ndarray) -> None:
    """Silence stays silence; nothing is found in it, and nothing is NaN."""
    audio = sound.astype(np.float32)
    made = watermarked(audio, 24000)
    assert np.isfinite(made).all()
    assert bool(made.any()) == bool(audio.any())
    found = detect(made, 24000)
    assert not detect(audio, 24000).present
    assert all(math.isfinite(value) for value in (found.score, found.threshold, found.false_alarm))


def test_silence_between_words_stays_silent(speech: np.ndarray) -> None:
    audio = np.concatenate([speech, np.zeros(24000, np.float32), speech])
    made = watermarked(audio, 24000)
    reach = round(LAGS.max() * 24000)
    assert not made[len(speech) + reach : len(speech) + 24000].any()
    assert detect(made, 24000).present


def test_clipped_sound_is_marked_and_found(speech: np.ndarray) -> None:
    audio = np.clip(20 * speech, -1, 1)
    made = np.clip(watermarked(audio, 24000), -1, 1)
    assert detect(made, 24000).present
    assert not detect(audio, 24000).present


def test_what_is_no_speech_bears_no_mark() -> None:
    assert [detect(*sound).present for sound, _ in zip(unmarked(), range(12), strict=False)] == [False] * 12


@pytest.mark.parametrize(
    ("audio", "text"),
    [(np.zeros(0), "0 samples"), (np.array([0.0, math.nan]), "NaN"), (np.array([math.inf, 0.0]), "infinity")],
)
def test_what_is_no_recording_is_refused(audio: np.ndarray, text: str) -> None:
    with pytest.raises(SeqgenError, match=text):
        detect(audio, 16000)
    with pytest.raises(SeqgenError, match="sample rate"):
        detect(np.ones(5), 1)


def test_of_silence_nothing_is_said() -> None:
    assert detect(np.zeros(100), 8000) == Detection(False, 0.0, detect(np.ones(100), 8000).threshold, 1.0, 0.0, 0.0125)
