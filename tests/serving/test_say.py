"""`seqgen-serve say` without networks: a pipe is read as it grows, and times are written as CTM."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from seqgen.audio import io
from seqgen.data import ctm
from serving.cli.__main__ import main
from serving.speech import command
from tests.serving.plain_speaker import plain_voice

TEXT = "Yes, a tea. A tea!"


@pytest.fixture(autouse=True)
def voice(monkeypatch: pytest.MonkeyPatch):
    """The plain speaker in the place of a bundle's."""
    reader = plain_voice().reader
    monkeypatch.setattr(command, "Bundle", SimpleNamespace(open=lambda path: None))
    monkeypatch.setattr(command, "open_runtime", lambda bundle, threads: None)
    monkeypatch.setattr(command, "Voice", lambda runtime, own: reader)
    return reader


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch):
    """Writing end of standard input."""
    source, sink = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(source))
    with os.fdopen(sink, "wb", buffering=0) as file:
        yield file


def given(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.options(parser)
    return parser.parse_args([*words, "-o", "-", "--voice", "x"])


def test_a_pipe_is_spoken_while_it_grows(voice, pipe) -> None:
    """A sentence comes out before more of the text goes in, bytes of a character apart."""
    sound = command._said(voice, given("-"), lambda moment: None)
    pipe.write(b"Yes. A")
    made = [next(sound)]
    pipe.write(b"\xc3")
    pipe.write(b"\xa9 tea.")
    pipe.close()
    made += sound
    assert np.array_equal(np.concatenate(made), np.concatenate(list(voice.speak("Yes. Aé tea.", 0.0))))


def test_lines_are_texts_of_their_own(voice, pipe) -> None:
    """Whole when they end; times go on."""
    times = []
    sound = command._said(voice, given("-", "--lines"), times.append)
    pipe.write(b"A tea\n\nYes")
    first = np.concatenate(list(voice.speak("A tea", 0.0)))
    made = 0
    while made < len(first):
        made += len(next(sound))
    pipe.write(b"\n")
    pipe.close()
    assert made + sum(map(len, sound)) == len(first) + len(np.concatenate(list(voice.speak("Yes", 0.0))))
    phones = [one for one in times if one.kind == "phone"]
    ends = [one.start + one.duration for one in phones]
    assert [one.start for one in phones[1:]] == pytest.approx(ends[:-1])


def test_times_are_written(voice, tmp_path: Path) -> None:
    times = []
    sound = np.concatenate(list(voice.speak(TEXT, 0.0, tell=times.append)))
    asked = ["--ctm", str(tmp_path / "words.ctm"), "--phone-ctm", str(tmp_path / "phones.ctm")]
    assert main(["say", TEXT, *asked, "-o", str(tmp_path / "one.wav"), "--voice", "x"]) == 0
    assert len(io.read(tmp_path / "one.wav")[0]) == len(sound)
    for name, kind in (("words", "word"), ("phones", "phone")):
        (found,) = ctm.read(tmp_path / f"{name}.ctm").items()
        assert found[0] == "one"
        assert [(one.label, one.start, one.duration) for one in found[1]] == [
            (one.text, pytest.approx(one.start), pytest.approx(one.duration)) for one in times if one.kind == kind
        ]
    assert sum(one.duration for one in found[1]) * 8000 == pytest.approx(len(sound))


def test_lines_of_a_text_that_is_given_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["say", TEXT, "--lines", "-o", "x.wav", "--voice", "x"]) != 0
    assert "--lines with a text" in capsys.readouterr().err
