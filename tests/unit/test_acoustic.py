"""The task of acoustic models: what is learnt of aligned recordings, what is spoken, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.audio import io
from seqgen.cli.main import main
from seqgen.data import ctm
from seqgen.data.directory import DataDir
from seqgen.generation.spoken import SpokenDensity
from seqgen.spec import FeatureSpec
from seqgen.tasks.acoustic.aloud import read_aloud
from seqgen.tasks.acoustic.batches import dequantised, manner, phone_means, phones_of
from seqgen.tasks.acoustic.examples import HOP, RATE, timed
from seqgen.tasks.experiment import Experiment
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.markup import script_of
from seqgen.text.pronounced.pronouncer import Pronouncer
from tests.unit.cli_workspace import done, refused

_RUN = """\
name: {target}
task:
  name: acoustic
  train: {folder}/train
  valid: {folder}/valid
  test: {folder}/test
  times: {folder}/times
  target: {target}
  {speaking}
  features: {{sample_rate: 8000, n_fft: 256, window: 160, hop: 80, n_mels: 6}}
networks:
  generator:
    name: aligned-phones
    encoder: {{name: bytenet-encoder, vocab_size: 70, channels: 4, out_dim: 6, cycles: 1}}
    {body}
    components: 2
objective: {{name: likelihood}}
train: {{steps: 30, batch_size: 4, learning_rate: 1e-2, validate_every: 30, checkpoint_every: 30}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings with the times of their phones, a lexicon, and runs of prosody and of frames that have learnt."""
    folder = tmp_path_factory.mktemp("acoustic")
    timed(folder)
    (folder / "lexicon").write_text("a AH0\ntea T IY1\n")
    speaking = f"prosody: {folder}/prosody\n  lexicon: {folder}/lexicon"
    body = "body: {channels: 5, blocks: 1, look_ahead: 1}\n    width: 6"
    for target, more, network in (("prosody", "", ""), ("frames", speaking, body)):
        (folder / f"{target}.yaml").write_text(
            _RUN.format(target=target, folder=folder, speaking=more, body=network), encoding="utf-8"
        )
        given = ["train", str(folder / f"{target}.yaml"), "--out", str(folder / target), "--threads", "1"]
        assert main([*given, "--evaluate"]) == 0
    return folder


def test_a_text_has_a_stretch_for_each_phone(folder: Path, tmp_path: Path) -> None:
    """None has less than a frame, whatever the seed; the same seed gives the same sound, another one another."""
    made = []
    for seed in (1, 1, 2):
        out = tmp_path / f"{len(made)}.wav"
        said = done("sample", folder / "frames", "--prompt", "A tea, tea.", "--seed", str(seed), "-o", out).err
        audio, rate = io.read(out)
        assert rate == RATE
        assert len(audio) % HOP == 0
        assert len(audio) >= 8 * HOP  # SIL AH0 T IY1 SIL T IY1 SIL
        assert "8 phones" in said
        made.append(audio)
    assert np.array_equal(made[0], made[1])
    assert len(made[0]) != len(made[2]) or not np.array_equal(made[0], made[2])


def test_what_nothing_is_spoken_of_is_a_silence(folder: Path, tmp_path: Path) -> None:
    assert "1 phones" in done("sample", folder / "frames", "--prompt", "…", "-o", tmp_path / "a.wav").err


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
    told = read_aloud(script_of("A tea. …Tea!"), pronouncer)
    assert np.flatnonzero(told.tokens == 0).tolist() == [0, 4, 7]
    assert np.isnan(told.pauses).all()


def test_a_document_says_how_its_words_are_spoken() -> None:
    """Manners hold for the phones of their words, and for the silence behind; breaks are silences of their length."""
    pronouncer = Pronouncer(Lexicon.of_lines(["a AH0", "tea T IY1"]))
    document = (
        '<speak>A <prosody rate="200%" pitch="+6st" volume="-6dB">tea</prosody>. '
        'A<break time="300ms"/><break time="0.2s"/> tea<break strength="none"/>.</speak>'
    )
    told = read_aloud(script_of(document), pronouncer)
    assert np.flatnonzero(told.tokens == 0).tolist() == [0, 4, 6, 9]
    assert told.rate.tolist() == [1, 1, 2, 2, 2, 1, 1, 1, 1, 1]
    assert told.octaves[1:4].tolist() == [0, 0.5, 0.5]
    assert told.nats[2] == pytest.approx(np.log(10 ** (-6 / 20)))
    assert told.pauses[[6, 9]].tolist() == [0.5, 0.0]
    assert np.isnan(told.pauses[[0, 4]]).all()


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
        cond = phones_of([tokens], [np.array([2, 3, 4, last])], [np.zeros((4, 2))])
        x = torch.zeros(1, (9 + last) * 6)
        with torch.no_grad():
            scores.append(network.log_prob(x, cond)[0, : 8 * 6])  # of the first eight of nine frames
    assert torch.allclose(scores[0], scores[1], atol=1e-6)


def test_the_data_are_described(folder: Path) -> None:
    assert len(DataDir.load(folder / "train")) == 5
    assert "bits_per_number" in (folder / "prosody/eval.json").read_text()
