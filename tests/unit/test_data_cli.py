"""``seqgen data``: exit statuses, output that people and programs read, help that teaches."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from seqgen.audio import io
from seqgen.cli import data as command
from seqgen.errors import SeqgenError


def run(*words: object) -> int:
    parser = argparse.ArgumentParser(prog="seqgen")
    command.add_parsers(parser.add_subparsers(required=True))
    args = parser.parse_args(["data", *map(str, words)])
    status = args.run(args)
    assert isinstance(status, int)
    return status


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for index in range(9):
        io.write(tmp_path / "in" / f"{index}.wav", 0.1 * rng.standard_normal(900).astype(np.float32), 8000)
    return tmp_path / "in"


def test_prepare_check_stats(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("prepare", "folder", "--corpus", corpus, "--out", out, "--sample-rate", 16000, "--valid", 0.2) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{out}: train ")
    assert "resampling to 16000 Hz" in printed.err
    assert run("check", out / "train", out / "test") == 0
    assert capsys.readouterr().out == "2 directories, no problem\n"
    assert run("check", "--json", out / "train") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run("stats", out / "train") == 0
    assert "sample_rates  [16000]" in capsys.readouterr().out
    assert run("stats", "--json", out / "train", out / "valid", out / "test") == 0
    rows = json.loads(capsys.readouterr().out)
    assert sum(row["utterances"] for row in rows) == 9
    assert sum(row["samples"] for row in rows) == 9 * 1800


def test_check_prints_every_problem(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    run("prepare", "folder", "--corpus", corpus, "--out", out, "--valid", 0, "--test", 0)
    (corpus / "3.wav").unlink()
    io.write(corpus / "5.wav", np.zeros(900, np.float32), 8000)
    capsys.readouterr()
    assert run("check", out / "train") == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{out}/train/wav.scp:4: audio of 'in-3' is absent: {corpus}/3.wav"
    assert second == f"{out}/train/wav.scp:6: 'in-5' is digital silence from end to end"
    assert run("check", "--quick", "--json", out / "train") == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["file"], row["line"]) == (f"{out}/train/wav.scp", 4)
    assert run("check", "--quick", "--fix", out / "train") == 0
    assert "dropped 1 utterance(s) in-3" in capsys.readouterr().err


def test_json_is_valid_for_any_name(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prepare", "folder", "--corpus", corpus, "--out", tmp_path / "out", "--valid", "0", "--test", "0") == 0
    odd = (tmp_path / "out/train").rename(tmp_path / "out/caf\udce9")
    (odd / "text").write_bytes(b"")
    capsys.readouterr()
    assert run("check", "--json", odd) == 1
    assert json.loads(capsys.readouterr().out.encode())[0]["file"] == f"{odd}/text"
    (odd / "text").unlink()
    assert run("stats", "--json", odd) == 0
    assert json.loads(capsys.readouterr().out.encode())[0]["path"] == str(odd)


def test_demo_needs_no_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prepare", "demo", "--out", tmp_path / "demo") == 0
    assert (tmp_path / "demo/test/text").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fssd", "--corpus", "."), "unknown corpus 'fssd'; did you mean 'fsdd'"),
        (("fsdd", "--corpus", ".", "--valid", "0.1"), "--valid does not apply to fsdd"),
        (("folder",), "corpus 'folder' has no public archive; give its folder with --corpus DIR"),
        (("folder", "--corpus", "."), r"no recording in it \(\.aif, "),
        (("folder", "--corpus", "nowhere"), "nowhere: no such folder"),
        (("demo", "--sample-rate", "0"), "--sample-rate 0"),
        (("demo", "--sample-rate", "7"), "--sample-rate 7; choose a whole number from 2000 to 384000 Hz"),
        (("demo", "--sample-rate", "9" * 30), "--sample-rate 9"),
        *((("demo", "--max-seconds", word), f"--max-seconds {word}") for word in ("-1.0", "nan", "inf", "1e-09")),
        (("folder", "--valid", "nan"), "held-out shares valid nan"),
    ],
)
def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(SeqgenError, match=message) as caught:
        run("prepare", *words, "--out", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [("prepare",), ("check",), ("stats",)])
def test_help_shows_examples(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*words, "--help")
    assert caught.value.code == 0
    assert f"  seqgen data {words[0]} " in capsys.readouterr().out
