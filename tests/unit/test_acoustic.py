"""The task of acoustic models: what is learnt of aligned recordings, what is spoken, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.audio import io
from seqgen.audio.features import load_features, log_mel
from seqgen.cli.main import main
from seqgen.data import ctm
from seqgen.data.directory import DataDir
from seqgen.generation.spoken import SpokenDensity
from seqgen.metrics.judges import RATE as JUDGED
from seqgen.metrics.judges import Judge, Judgement
from seqgen.registry import JUDGES
from seqgen.spec import FeatureSpec
from seqgen.tasks.acoustic.batches import dequantised, manner, phone_means, phones_of
from seqgen.tasks.acoustic.examples import HOP, RATE, timed
from seqgen.tasks.experiment import Experiment
from seqgen.text.pronounced.aloud import read_aloud
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.markup import script_of
from seqgen.text.pronounced.pronouncer import Pronouncer
from tests.runtime.speaking import FEATURES, acoustic_run
from tests.unit.cli_workspace import done, refused


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings with the times of their phones, a lexicon, and runs of prosody and of frames that have learnt."""
    folder = tmp_path_factory.mktemp("acoustic")
    timed(folder)
    (folder / "lexicon").write_text("a AH0\ntea T IY1\n")
    for target, speaking in (("prosody", {}), ("frames", {"prosody": "prosody", "lexicon": "lexicon"})):
        (folder / f"{target}.yaml").write_text(acoustic_run(folder, target, FEATURES, **speaking))
        given = ["train", str(folder / f"{target}.yaml"), "--out", str(folder / target), "--threads", "1"]
        assert main([*given, "--evaluate"]) == 0
    return folder


def test_frames_are_made_of_recordings(folder: Path, tmp_path: Path) -> None:
    """As many as a recording has, with the recording's own pitch where there is one; the same each time."""
    spec, out = FeatureSpec(**FEATURES), tmp_path / "made" / "train"
    for _ in range(2):
        done("sample", folder / "frames", folder / "train", "-o", out)
        made = {one.id: load_features(out / f"{one.id}.safetensors", spec)[0] for one in DataDir.load(folder / "train")}
    assert {f"{name}.safetensors" for name in made} == {path.name for path in out.iterdir()}
    for one in DataDir.load(folder / "train"):
        audio, _ = io.read(one.path, start=one.start, count=one.samples)
        own = log_mel(audio, spec)
        assert made[one.id].shape == own.shape
        assert np.array_equal(made[one.id][:, spec.n_mels :], own[:, spec.n_mels :])
        assert (made[one.id] >= np.float32(spec.silence)).all()
        assert not np.array_equal(made[one.id], own)
    refused("sample", folder / "frames", folder / "train", named=("-o FOLDER",))
    refused("sample", folder / "frames", folder / "train", "-o", folder, named=("not a folder of frames",))


def test_a_text_has_a_stretch_for_each_phone(folder: Path, tmp_path: Path) -> None:
    """None has less than a frame, whatever the seed; the same seed gives the same sound, another one another."""
    made = []
    for seed in (1, 1, 2):
        out = tmp_path / f"{len(made)}.wav"
        done("sample", folder / "frames", "--prompt", "A tea, tea.", "--seed", str(seed), "-o", out)
        audio, rate = io.read(out)
        assert rate == RATE
        assert len(audio) % HOP == 0
        assert len(audio) >= 8 * HOP  # SIL AH0 T IY1 SIL T IY1 SIL
        made.append(audio)
    assert np.array_equal(made[0], made[1])
    assert len(made[0]) != len(made[2]) or not np.array_equal(made[0], made[2])


def test_what_nothing_is_spoken_of_is_a_silence(folder: Path, tmp_path: Path) -> None:
    done("sample", folder / "frames", "--prompt", "…", "--temperature", "0", "-o", tmp_path / "a.wav")
    assert len(io.read(tmp_path / "a.wav")[0]) >= HOP


def test_what_speaking_lacks_is_named(folder: Path, tmp_path: Path) -> None:
    """A text and a file; and a run of prosody says nothing."""
    refused("sample", folder / "frames", "-o", tmp_path / "a.wav", named=("--prompt TEXT",))
    refused("sample", folder / "frames", "--prompt", "a", named=("-o FILE",))
    refused("sample", folder / "prosody", "--prompt", "a", "-o", tmp_path / "a.wav", named=("frames alone",))
    assert not list(tmp_path.iterdir())


def test_times_have_to_fit_the_recordings(folder: Path, tmp_path: Path) -> None:
    """Recordings without times, with times of other frames, and phones of another alphabet are named."""
    shutil.copytree(folder / "times", tmp_path / "times")
    place = tmp_path / "times/test/phones.ctm"
    known = ctm.read(place)
    name = next(iter(known))
    first = known[name]
    text = (folder / "frames.yaml").read_text().replace(f"{folder}/times", f"{tmp_path}/times")
    (tmp_path / "run.yaml").write_text(text.replace(f"{folder}/train", f"{folder}/test"))
    strange = ctm.Stretch(first[0].start, first[0].duration, "Q")
    for times, why in (([], "no times"), (first[:-1], "end at frame"), ([strange, *first[1:]], "the phone 'Q'")):
        place.write_text(ctm.render(known | {name: times}))
        refused("train", tmp_path / "run.yaml", "--out", tmp_path / "exp", named=(name, why))


def test_durations_become_a_density_of_real_numbers() -> None:
    """Half a frame on either side, the same for a name; rounded again they are what they were."""
    durations = np.array([1, 1, 2, 50])
    made = dequantised(durations, "one")
    assert np.array_equal(made, dequantised(durations, "one"))
    assert not np.array_equal(made, dequantised(durations, "two"))
    assert np.array_equal(np.rint(np.exp(made)), durations)


def test_silences_stand_around_clauses() -> None:
    pronouncer = Pronouncer(Lexicon.of_lines(["a AH0", "tea T IY1"]))
    sentences = list(read_aloud(script_of("A, tea. …Tea!"), pronouncer))
    assert [np.flatnonzero(one.tokens == 0).tolist() for one in sentences] == [[0, 2, 5], [0, 3]]
    assert all(np.isnan(one.pauses).all() for one in sentences)


def test_sentences_without_end_are_cut() -> None:
    """Nothing is left out, and no sentence has more phones than a bound; of nothing there is a silence."""
    pronouncer = Pronouncer(Lexicon.of_lines(["a AH0", "tea T IY1"]))
    for text in ("tea " * 2000, "tea, " * 2000):
        sentences = list(read_aloud(script_of(text), pronouncer))
        assert sum((one.tokens > 0).sum() for one in sentences) == 4000
        assert max(len(one.tokens) for one in sentences) < 310
        assert all(one.tokens[0] == one.tokens[-1] == 0 for one in sentences)
    assert [one.tokens.tolist() for one in read_aloud(script_of(" … "), pronouncer)] == [[0]]


def test_a_document_says_how_its_words_are_spoken() -> None:
    """Manners hold for the phones of their words, and for the silence behind; breaks are silences of their length."""
    pronouncer = Pronouncer(Lexicon.of_lines(["a AH0", "tea T IY1"]))
    document = (
        '<speak>A <prosody rate="200%" pitch="+6st" volume="-6dB">tea</prosody>. '
        'A<break time="300ms"/><break time="0.2s"/> tea<break strength="none"/>.</speak>'
    )
    first, second, behind = read_aloud(script_of(document), pronouncer)
    assert np.flatnonzero(first.tokens == 0).tolist() == [0, 4]
    assert first.rate.tolist() == [1, 1, 2, 2, 2]
    assert first.octaves[1:4].tolist() == [0, 0.5, 0.5]
    assert first.nats[2] == pytest.approx(np.log(10 ** (-6 / 20)))
    assert np.isnan(first.pauses).all()
    assert np.flatnonzero(second.tokens == 0).tolist() == [0, 2, 5]
    assert second.pauses[2] == 0.5
    assert (behind.tokens.tolist(), behind.pauses.tolist()) == ([0], [0.0])


def test_what_a_document_says_is_heard(folder: Path, tmp_path: Path) -> None:
    """Twice as fast is half as long, softer is softer, and a break lasts as long as it says."""

    def spoken(text: str) -> np.ndarray:
        done("sample", folder / "frames", "--prompt", f"<speak>{text}</speak>", "--temperature", "0",
             "-o", tmp_path / "a.wav")  # fmt: skip
        return io.read(tmp_path / "a.wav")[0]

    plain, text = spoken("A tea"), "<prosody {}>A tea</prosody>"
    assert len(spoken(text.format('rate="50%"'))) > 1.5 * len(plain)
    softer = spoken(text.format('volume="-12dB"'))
    assert len(softer) == len(plain)
    assert softer.std() < plain.std()
    assert not np.array_equal(spoken(text.format('pitch="+6st"')), plain)
    assert len(spoken('A <break time="2s"/>tea')) == len(spoken('A <break time="1s"/>tea')) + RATE


def test_prosody_is_the_mean_of_its_frames() -> None:
    """Of frames without pitch nothing counts; a phone without any has that of the line between its neighbours."""
    spec = FeatureSpec(sample_rate=8000, n_fft=256, window=160, hop=80, n_mels=4, floor=1e-2)
    clarity = np.array([0.5, 1.0, 0.1, 1.0, 0.0])
    pitch = np.array([0.2, 0.4, 0.9, 0.6, 0.0]) * clarity**2
    loud = np.array([0.0, 1.0, 0.5, 0.5, 0.5])
    numbers = np.stack([loud, loud, loud, loud, pitch, clarity], axis=1)
    made = manner((spec.silence * (1 - numbers)).astype(np.float32), np.array([2, 1, 1, 1]), spec)
    assert made[:, 1] == pytest.approx([0.5, 0.5, 0.5, 0.5], abs=1e-6)
    assert made[:, 0] == pytest.approx([(0.2 * 0.25 + 0.4) / 1.25, 0.48, 0.6, 0.6], abs=1e-6)
    assert manner(np.full((3, 6), spec.silence, np.float32), np.array([1, 2]), spec) == pytest.approx(0, abs=1e-6)
    assert phone_means(np.array([[1.0, 0.0], [3.0, 0.0], [5.0, 2.0]]), np.array([2, 1])).tolist() == [[2, 0], [5, 2]]


def test_a_frame_hears_no_more_than_its_look_ahead(folder: Path) -> None:
    """Numbers of a frame do not depend on how long later phones are, beyond two frames and what the encoder knows."""
    network, _ = Experiment.open(folder / "frames").network("generator")
    assert isinstance(network, SpokenDensity)
    tokens = np.array([0, 3, 5, 0])
    scores = []
    for last in (2, 6):
        cond = phones_of([tokens], [np.array([2, 3, 6, last])], [np.zeros((4, 2))])
        x = torch.zeros(1, (11 + last) * 6)
        with torch.no_grad():
            scores.append(network.log_prob(x, cond)[0, : 8 * 6])  # of the first eight of eleven frames
    assert torch.allclose(scores[0], scores[1], atol=1e-6)


def test_the_data_are_described(folder: Path) -> None:
    assert len(DataDir.load(folder / "train")) == 5
    assert "bits_per_number" in (folder / "prosody/eval.json").read_text()


class Counts(Judge):
    """Judge that counts: the words of the text, of as many seconds."""

    unit = "words a second"
    packages = ()

    def heard(self, text: str, reference: np.ndarray, audio: np.ndarray) -> Judgement:
        return Judgement(len(text.split()), len(audio) / JUDGED)


def test_what_it_speaks_is_judged_beside_the_recordings(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transcripts in the recording, in its frames' sound and spoken; lines of a file are spoken alone; sounds are
    kept."""
    monkeypatch.setattr(JUDGES, "load", lambda name: Counts)
    shutil.copytree(folder / "test", tmp_path / "test")
    shutil.copytree(folder / "audio", tmp_path / "audio")
    names = [one.id for one in DataDir.load(tmp_path / "test")]
    (tmp_path / "test/text").write_text("".join(f"{name} a tea a tea\n" for name in names))
    given = ("eval", folder / "frames", "--data", tmp_path / "test", "--judges", "wer", "--temperature", "0")
    report = json.loads(done(*given, "--utterances", "2", "--audio", tmp_path / "kept", "--json").out)
    seconds = {}
    for kind in ("recording", "copied", "spoken"):
        audio = [io.read(tmp_path / f"kept/{name}.{kind}.wav")[0] for name in names[:2]]
        seconds[kind] = sum(len(one) for one in audio) / RATE
        assert report[f"wer_{kind}"] == pytest.approx(8 / seconds[kind], rel=1e-3)
    assert seconds["recording"] == seconds["copied"] != seconds["spoken"]
    assert len(list((tmp_path / "kept").iterdir())) == 6
    (tmp_path / "lines.txt").write_text("A tea.\n\nTea, tea, a tea.\n")
    report = json.loads(done(*given, "--texts", tmp_path / "lines.txt", "--audio", tmp_path / "lines", "--json").out)
    assert "wer_spoken" in report
    assert "wer_recording" not in report
    assert sorted(one.name for one in (tmp_path / "lines").iterdir()) == ["0001.spoken.wav", "0002.spoken.wav"]


def test_what_cannot_be_judged_is_refused(folder: Path, tmp_path: Path) -> None:
    given = ("eval", folder / "frames")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "latin").write_bytes("Tür".encode("latin-1"))
    refused(*given, "--judges", "pesq", named=("sample by sample",))
    for name, why in (("empty", "no text"), ("latin", "not UTF-8"), ("absent", "No such file")):
        refused(*given, "--texts", tmp_path / name, "--audio", tmp_path / "kept", named=(why,))
    refused("eval", folder / "prosody", "--audio", tmp_path / "kept", named=("frames alone",))
    assert not list((tmp_path / "kept").glob("*"))
