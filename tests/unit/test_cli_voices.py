"""Voices by the command line: for the engine alone, trained further, unproved; and options that nobody would heed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from seqgen.audio import io
from seqgen.errors import SeqgenError
from seqgen.runtime import native_library, replay
from tests.unit.cli_workspace import done, refused


@pytest.fixture(scope="module")
def work(cli_work: Path) -> Path:
    return cli_work


@pytest.mark.skipif(not native_library.built(), reason="the native engine is not built")
def test_a_voice_for_the_engine_only_speaks_but_is_not_judged(work: Path, tmp_path: Path) -> None:
    done("export", work / "exp", "--out", tmp_path / "small", "--quantise", "int8", "--engine-only")
    words = (work / "in/anna/u0.wav", "-o", tmp_path / "a.wav", "--speaker", "anna")
    done("sample", tmp_path / "small", *words)
    assert io.info(tmp_path / "a.wav").samples == 2400
    refused("eval", tmp_path / "small", named=("native engine only", "export the experiment without"), quiet=False)


def test_a_voice_that_was_trained_further_is_exported_whole(work: Path, tmp_path: Path) -> None:
    """The bundle says itself how the voice is built, whatever becomes of the run that began it."""
    shutil.copytree(work / "exp", tmp_path / "first")
    further = f"networks.generator={{name: pretrained, experiment: {tmp_path}/first, frozen: false}}"
    words = ("--device", "cpu", "--set", further, "train.steps=2")
    done("train", work / "run.yaml", "--out", tmp_path / "exp", *words)
    shutil.rmtree(tmp_path / "first")
    assert (tmp_path / "exp/networks.yaml").is_file()
    done("export", tmp_path / "exp", "--out", tmp_path / "voice")
    assert "pretrained" not in (tmp_path / "voice/config.yaml").read_text()
    done("check", tmp_path / "voice")
    scored = done("eval", tmp_path / "exp", "--likelihood-only", "--json").json()
    assert 10 < scored["bits_per_sample"] < 20
    shutil.rmtree(tmp_path / "exp/checkpoints")
    done("train", work / "run.yaml", "--out", tmp_path / "exp", "--device", "cpu")  # another run in its place
    assert not (tmp_path / "exp/networks.yaml").exists()


def test_a_voice_that_does_not_reproduce_itself_is_not_left_behind(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def different(directory: Path) -> None:
        raise SeqgenError("the audio differs", remedy="export again")

    monkeypatch.setattr(replay, "check", different)
    refused("export", work / "exp", "--out", tmp_path / "voice", named=("the audio differs",), quiet=False)
    assert not (tmp_path / "voice").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("sample", "exp", "in/anna/u0.wav", "--prompt", "Once"), "--prompt Once: of no use to the task 'vocoder'"),
        (("sample", "exp", "in/anna/u0.wav", "--length", 5), "--length 5: of no use"),
        (("bench", "--preset", "wavernn-256", "--train", "--streams", 2), "--streams measures generation"),
        (("bench", "--preset", "wavernn-256", "--precision", "bf16-mixed"), "--precision bf16-mixed is of training"),
    ],
)
def test_options_that_nobody_would_heed_are_refused(work: Path, words: tuple[Any, ...], named: str) -> None:
    placed = [work / word if word in ("exp", "in/anna/u0.wav") else word for word in words]
    refused(*placed, named=(named,))
