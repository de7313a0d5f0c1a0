"""Judges of others, and WORLD beside them: what is computed here of what they say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from seqgen import registry
from seqgen.audio import io, pitch
from seqgen.audio.features import log_mel
from seqgen.data.directory import Utterance
from seqgen.errors import SeqgenError
from seqgen.metrics import judges
from seqgen.metrics.judges import Judge, Judgement, distance, spoken
from seqgen.metrics.pitch import f0_errors
from seqgen.metrics.spectral import mcd
from seqgen.metrics.table import UNITS
from seqgen.metrics.world import copy_synthesis
from seqgen.spec import FeatureSpec
from seqgen.tasks.vocoder.comparison import RECORDING, TITLES, Compared, compare

RATE = 8000
SPEC = FeatureSpec(RATE, 256, 160, 40, 20)
WORDS = some.lists(some.sampled_from("abc"), max_size=6)


def tone(hz: float, seconds: float = 0.3, rate: int = RATE) -> Any:
    """A voice-like sound: ten harmonics of equal strength."""
    t = np.arange(round(seconds * rate)) / rate
    return np.asarray(sum(0.05 * np.sin(2 * np.pi * hz * k * t) for k in range(1, 11)), np.float32)


@pytest.mark.parametrize(
    ("wanted", "got", "errors"),
    [
        ("the cat sat", "the cat sat", 0),
        ("the cat sat", "", 3),
        ("", "the cat", 2),
        ("the cat sat", "the hat sat down", 2),
        ("the cat sat", "cat sat", 1),
        ("a b c d", "b c d a", 2),
        ("kitten sitting", "sitting kitten", 2),
    ],
)
def test_errors_are_words_put_in_taken_out_or_replaced(wanted: str, got: str, errors: int) -> None:
    assert distance(wanted.split(), got.split()) == errors


@given(WORDS, WORDS, WORDS)
def test_errors_are_a_distance(a: list[str], b: list[str], c: list[str]) -> None:
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)
    assert abs(len(a) - len(b)) <= distance(a, b) <= max(len(a), len(b))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("  it's -- 'fine'", ["it's", "fine"]),
        ("Größe; naïve_x", ["größe", "naïve_x"]),
        ("...", []),
    ],
)
def test_case_and_punctuation_do_not_count(text: str, words: list[str]) -> None:
    assert spoken(text) == words


@pytest.mark.parametrize("tracker", [pitch.f0, pitch.harvest])
@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_both_trackers_find_the_pitch_of_a_voice(tracker: Any, rate: int) -> None:
    hz, voiced = tracker(tone(150, rate=rate), rate)
    inside = slice(10, -10)
    assert voiced[inside].all()
    assert np.abs(np.log(hz[inside] / 150)).max() < 0.01


def test_pitch_errors_are_by_the_tracker_that_is_asked() -> None:
    """A semitone is a semitone to both; one that hears nothing voiced finds no common frame."""
    for tracker in (pitch.f0, pitch.harvest):
        found = f0_errors(tone(150), tone(150 * 2 ** (1 / 12)), RATE, tracker)
        assert found.log_f0_rmse == pytest.approx(math.log(2) / 12, abs=0.01)
    deaf = f0_errors(tone(150), tone(150), RATE, lambda audio, rate: (np.zeros(9), np.zeros(9, bool)))
    assert math.isnan(deaf.log_f0_rmse)


def test_a_recording_is_tracked_once_for_all_that_is_compared_with_it() -> None:
    heard: list[int] = []

    def tracker(audio: Any, rate: int) -> Any:
        heard.append(len(audio))
        return pitch.harvest(audio, rate)

    found = [f0_errors(tone(150), tone(hz), RATE, tracker) for hz in (160, 170)]
    assert len(heard) == 3
    assert found == [f0_errors(tone(150), tone(hz), RATE, pitch.harvest) for hz in (160, 170)]
    f0_errors(tone(150)[:-1], tone(160), RATE, tracker)  # another stretch is another recording
    assert len(heard) == 5


@pytest.mark.parametrize("samples", [1, 39, 40, 333, 2400])
def test_world_keeps_the_length_and_makes_the_same_again(samples: int) -> None:
    audio = tone(150)[:samples]
    made = copy_synthesis(audio, RATE)
    assert (made.shape, made.dtype) == ((samples,), np.float32)
    assert np.isfinite(made).all()
    assert np.array_equal(made, copy_synthesis(audio, RATE))


def test_world_keeps_a_voice_in_place() -> None:
    audio = tone(150) * np.hanning(2400).astype(np.float32)
    assert mcd(audio, copy_synthesis(audio, RATE), RATE) < 8 < mcd(audio, tone(230), RATE)
    assert np.abs(copy_synthesis(np.zeros(800), RATE)).max() < 1e-6


class Loudness(Judge):
    """Judge that tells the peak, and trusts an utterance by its words."""

    unit = "peak"
    packages = ()

    def heard(self, text: str, reference: Any, audio: Any) -> Judgement:
        assert len(reference) == len(audio) == 2 * 2400  # at 16 kHz
        return Judgement(float(np.abs(audio).max()) * len(spoken(text)), len(spoken(text)))


@pytest.fixture
def utterances(tmp_path: Path) -> list[Utterance]:
    for name, gain in (("a", 1.0), ("b", 0.5), ("c", 0.25)):
        io.write(tmp_path / f"{name}.wav", gain * tone(150), RATE)
    texts = {"a": "one two three", "b": "one", "c": ""}
    return [Utterance(name, tmp_path / f"{name}.wav", RATE, 0, 2400, "s", text) for name, text in texts.items()]


def test_each_system_is_scored_and_judged_beside_the_recording(utterances: list[Utterance], tmp_path: Path) -> None:
    """A voice that halves the sound; the mean is over words, an utterance without any counts for nothing."""
    sounds = {one.id: io.read(one.path)[0] for one in utterances}
    frames = {one.id: log_mel(sounds[one.id], SPEC) for one in utterances}

    def make(features: Any, speakers: Any, streams: Any) -> list[Any]:
        names = [name for feature in features for name, one in frames.items() if np.array_equal(one, feature)]
        return [np.pad(0.5 * sounds[name], (0, 7)) for name in names]

    (tmp_path / "kept").mkdir()
    found = list(compare(make, SPEC, utterances, judges={"loud": Loudness()}))
    for one in found:
        assert list(one.audio) == [RECORDING, *TITLES]
        assert all(len(audio) == 2400 for audio in one.audio.values())
        assert {kind: list(scores) for kind, scores in one.scores.items()} == {key: list(UNITS) for key in TITLES}
        assert one.scores["voice"]["mcd"] == pytest.approx(0, abs=1e-2)  # blind to gain
        assert one.scores["world"]["mcd"] > 0.1
        one.write(tmp_path / "kept", RATE)
    kinds = ("griffin-lim", "reference", "vocoded", "world")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [f"{n}.{k}.wav" for n in "abc" for k in kinds]
    compared = Compared.of(found, {"loud": Loudness()})
    peak = [float(np.abs(sounds[name]).max()) for name in "ab"]
    expected = (3 * peak[0] + peak[1]) / 4
    judged = compared.plain()["judgements"]["loud"]
    assert judged[RECORDING]["value"] == pytest.approx(expected, rel=0.05)  # resampling moves a peak a little
    assert judged["voice"]["value"] == pytest.approx(judged[RECORDING]["value"] / 2, rel=1e-3)
    assert set(compared.plain()) == {"scores", "griffin_lim", "world", "judgements"}
    head, *rows = compared.lines()
    assert head.split() == ["recording", "voice", "Griffin–Lim", "WORLD"]
    assert [row.split(" (")[0] for row in rows] == [*UNITS, "loud"]


def test_a_judgement_without_weight_is_no_number() -> None:
    assert math.isnan(Compared.of([], {}).scores["voice"].get("mcd", (math.nan,))[0])
    assert Compared.of([], {}).lines() == []


@pytest.mark.parametrize("name", registry.JUDGES)
def test_a_judge_that_is_not_installed_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges.importlib.util, "find_spec", lambda name: None)
    kind = registry.JUDGES.load(name)
    with pytest.raises(SeqgenError, match=rf"pip install 'seqgen\[{kind.extra}\]'"):
        kind()


@pytest.mark.parametrize("name", registry.JUDGES)
def test_judges_prefer_speech_to_noise(name: str, shared_data: Path) -> None:
    kind = registry.JUDGES.load(name)
    for package in kind.packages:
        pytest.importorskip(package, reason=f"the extra '{kind.extra}' is not installed")
    folder = shared_data / "ljspeech-mini"
    (line,) = [
        one for one in (folder / "metadata.csv").read_text(encoding="utf-8").splitlines() if "LJ001-0002|" in one
    ]
    audio, rate = io.read(folder / "wavs" / "LJ001-0002.wav")
    judge = kind()
    text = line.split("|")[-1]
    noise = np.random.default_rng(0).normal(0, 0.1, audio.shape).astype(np.float32)
    good, bad = (judge.judge(text, audio, one, rate) for one in (audio, audio + noise))
    gain = good.amount / good.weight - bad.amount / bad.weight
    assert (-gain if kind.reads else gain) >= {"wer": 0, "speaker": 0.1}.get(name, 1)
    if kind.reads:
        assert good == Judgement(0, len(spoken(text)))
        assert judge.judge("", audio, audio, rate).weight == 0
