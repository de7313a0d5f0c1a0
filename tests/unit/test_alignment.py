"""The task of alignment: tokens of a transcript, times that are found, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from seqgen.audio import io
from seqgen.cli.align import far_below
from seqgen.cli.main import main
from seqgen.data import ctm, directory
from seqgen.data.aligned import Aligned, textgrid
from seqgen.data.ctm import Stretch
from seqgen.data.directory import Utterance
from seqgen.errors import SeqgenError
from seqgen.tasks import networks
from seqgen.tasks.alignment.transcripts import transcribed
from seqgen.tasks.experiment import task_of
from seqgen.tasks.run import load
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.pronouncer import Pronouncer

_RATE, _HOP = 8000, 80
_WORDS = {"low": ("L", 0.10), "high": ("HH", 0.25), "hum": ("M", 0.5)}  # the phone that it is, and its tone


def said(folder: Path, name: str, words: str, *, seed: int) -> tuple[Utterance, list[float]]:
    """A recording of one tone for each word, before every other one of them a pause, and where each word begins."""
    rng = np.random.Generator(np.random.Philox(seed))
    pieces, starts, at = [], [], 0
    for number, word in enumerate(words.split()):
        gap = 0 if number % 2 else int(rng.integers(500, 1200))
        length = int(rng.integers(700, 1500))
        starts.append((at + gap) / _RATE)
        pieces += [np.zeros(gap), 0.4 * np.sin(2 * np.pi * _WORDS[word][1] * np.arange(length))]
        at += gap + length
    audio = np.concatenate(pieces)
    path = folder / f"{name}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write(path, (audio + 0.003 * rng.standard_normal(len(audio))).astype(np.float32), _RATE)
    return Utterance(name, path, _RATE, 0, len(audio), "ann", words), starts


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[float]]]:
    """A folder with data directories, a lexicon and an aligner that was trained for a moment; starts of test words."""
    folder = tmp_path_factory.mktemp("aligned")
    rng = np.random.Generator(np.random.Philox(1))
    known: dict[str, list[float]] = {}
    for split, count in (("train", 40), ("valid", 4), ("test", 8)):
        made = []
        for number in range(count):
            chosen = rng.choice(list(_WORDS), size=3, replace=False)
            words = " ".join([*chosen, chosen[0]])  # never the same word twice in a row, which nobody could part
            name = f"ann-{split}-{number:02d}"
            one, starts = said(folder / "audio", name, words, seed=len(known))
            known[name] = starts
            made.append(one)
        directory.write(folder / split, made)
    (folder / "lexicon").write_text("".join(f"{word} {phone}\n" for word, (phone, _) in _WORDS.items()))
    (folder / "run.yaml").write_text(
        f"""\
name: tones
task:
  name: alignment
  train: {folder}/train
  valid: {folder}/valid
  test: {folder}/test
  lexicon: {folder}/lexicon
  reference: {folder}/reference.ctm
  features: {{sample_rate: {_RATE}, n_fft: 256, window: 160, hop: {_HOP}, n_mels: 12}}
networks: {{aligner: {{name: gaussian-aligner, in_dim: 12, vocab_size: 139, channels: 24, cepstra: 8, slope: 1}}}}
objective: {{name: forward-sum}}
train:
  {{steps: 120, batch_size: 8, learning_rate: 1e-2, warmup: 9, clip_norm: 5.0,
   validate_every: 60, checkpoint_every: 60}}
"""
    )
    test = {one.id: one.text.split() for one in directory.DataDir.load(folder / "test")}
    reference = {
        name: [Stretch(start, 0.05, _WORDS[word][0]) for start, word in zip(known[name], words, strict=True)]
        for name, words in test.items()
    }
    (folder / "reference.ctm").write_text(ctm.render(reference))
    assert main(["train", str(folder / "run.yaml"), "--out", str(folder / "exp"), "--threads", "1"]) == 0
    return folder, {name: known[name] for name in test}


def test_words_are_found_where_they_are(trained: tuple[Path, dict[str, list[float]]], tmp_path: Path) -> None:
    """With pauses before words and without, to about a frame; phones and words cover the recordings."""
    folder, known = trained
    out = tmp_path / "made"
    assert main(["align", str(folder / "exp"), str(folder / "test"), "-o", str(out)]) == 0
    words, phones = ctm.read(out / "words.ctm"), ctm.read(out / "phones.ctm")
    assert set(words) == set(phones) == set(known)
    away = []
    for name, starts in known.items():
        found = [one for one in words[name] if one.label != "SIL"]
        away += [abs(one.start - start) for one, start in zip(found, starts, strict=True)]
        for line in (words[name], phones[name]):
            ends = [one.start + one.duration for one in line]
            assert line[0].start == 0
            assert [one.start for one in line[1:]] == pytest.approx(ends[:-1], abs=2e-3)
    assert np.median(away) <= 2 * _HOP / _RATE
    assert np.quantile(away, 0.9) <= 6 * _HOP / _RATE
    assert {path.stem for path in (out / "textgrid").iterdir()} == set(known)
    scores = [float(line.split("\t")[1]) for line in (out / "scores.tsv").read_text().splitlines()]
    assert scores == sorted(scores)
    assert len(scores) == len(known)


def test_an_evaluation_tells_how_far_another_alignment_is(trained: tuple[Path, dict[str, list[float]]]) -> None:
    folder, known = trained
    assert main(["eval", str(folder / "exp")]) == 0
    report = json.loads((folder / "exp/eval.json").read_text())
    assert report["boundaries_away"] < 30
    assert report["boundaries_within_50_ms"] > 85
    assert len(report["examples"]["boundaries_away"]) == len(known)


def test_a_transcript_of_something_else_is_told(
    trained: tuple[Path, dict[str, list[float]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One recording among eight has the transcript of another one."""
    folder, _ = trained
    data = list(directory.DataDir.load(folder / "test"))
    wrong = {"low": "hum", "hum": "low", "high": "low"}
    text = " ".join(wrong[word] for word in data[3].text.split())
    changed = [one if at != 3 else Utterance(one.id, one.path, _RATE, 0, one.samples, "ann", text)
               for at, one in enumerate(data)]  # fmt: skip
    directory.write(tmp_path / "data", changed)
    assert main(["align", str(folder / "exp"), str(tmp_path / "data"), "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert f"{data[3].id}:" in said.splitlines()[0]
    assert "does the transcript match?" in said


def test_what_cannot_be_aligned_is_refused(
    trained: tuple[Path, dict[str, list[float]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written: recordings without transcripts, with more phones than frames, and a task without words."""
    folder, _ = trained
    first = next(iter(directory.DataDir.load(folder / "test")))

    def refused(text: str) -> str:
        one = Utterance(first.id, first.path, _RATE, 0, first.samples, "ann", text)
        directory.write(tmp_path / "data", [one])
        assert main(["align", str(folder / "exp"), str(tmp_path / "data"), "-o", str(tmp_path / "out")]) == 1
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "no transcript of" in refused("")
    assert "frames for the 8000 tokens" in refused("low " * 4000)


def test_tokens_of_a_transcript() -> None:
    """Silences that may be stand at both ends and between words; a word in no lexicon is marked."""
    pronouncer = Pronouncer(Lexicon.of_lines(["cats K AE1 T S", "a AH0"]))
    found = transcribed("A zyx, [cat](/k æ t/)!", pronouncer)
    assert [(word.name, word.guessed) for word in found.words] == [("a", False), ("zyx", True), ("cat", False)]
    assert [phone.name for phone in found.phones[-4:]] == ["K", "AE0", "T", "SIL"]
    assert [at for at, free in enumerate(found.optional) if free] == [
        0,
        *(word.stop for word in found.words),
    ]
    doubled = transcribed("A", pronouncer, states=2)
    assert doubled.tokens == (0, 51, 52, 0)
    assert transcribed("…", pronouncer).tokens == (0,)


def test_a_textgrid_has_two_tiers() -> None:
    """Silences are intervals without a label, quotes are doubled."""
    one = Aligned("a", [Stretch(0, 0.2, "SIL"), Stretch(0.2, 0.3, "AH0")], [Stretch(0, 0.5, 'a"')], -0.1)
    lines = [line.strip() for line in textgrid(one).splitlines()]
    assert lines[:2] == ['File type = "ooTextFile"', 'Object class = "TextGrid"']
    assert [line for line in lines if line.startswith("name")] == ['name = "words"', 'name = "phones"']
    assert [line for line in lines if line.startswith("text")] == ['text = "a"""', 'text = ""', 'text = "AH0"']
    assert lines[4] == "xmax = 0.500000"


def test_only_those_far_below_are_listed() -> None:
    """By the median and its deviation, so that one of them does not hide another."""
    scores = [-9.0, -8.0, *(-1.0 - 0.01 * number for number in range(20))]
    ranked = [Aligned(str(number), [], [], score) for number, score in enumerate(sorted(scores))]
    assert [one.nats for one in far_below(ranked)] == [-9.0, -8.0]


def test_an_aligner_of_other_sizes_is_refused(trained: tuple[Path, dict[str, list[float]]], tmp_path: Path) -> None:
    folder, _ = trained
    text = (folder / "run.yaml").read_text().replace("in_dim: 12", "in_dim: 13")
    (tmp_path / "run.yaml").write_text(text)
    run = load(tmp_path / "run.yaml")
    task = task_of(run, source="run.yaml")
    with pytest.raises(SeqgenError, match="13 bands and 139 tokens"):
        task.require_fit(networks.build(run.networks, task.facts, source="run.yaml"))
