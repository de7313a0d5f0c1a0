"""Folders of recordings: everything is taken, or named and counted as left out."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqgen.audio import io
from seqgen.data import prepare
from seqgen.data.corpora import FSDD, Folder
from seqgen.data.directory import DataDir
from seqgen.data.folder.metadata import entries, parse_columns
from seqgen.data.folder.scan import scan
from seqgen.errors import SeqgenError
from tests.unit.containers import MADE, pcm
from tests.unit.tones import RATE, record

ODD = "whose names are not UTF-8 or hold a line end"
NAMED = ("wav", "aiff", "aifc", "au", "snd", "caf", "w64", "sph")


def test_every_format_is_taken_and_the_rest_is_named_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for name in NAMED:
        make, order = MADE[name]
        (root / "anna").mkdir(parents=True, exist_ok=True)
        (root / "anna" / f"{name}.{name}").write_bytes(make(pcm(900, order)))
    (root / "anna/upper.WAV").write_bytes(MADE["wav"][0](pcm(900)))
    noise = 0.1 * np.random.default_rng(0).standard_normal(9000)
    soundfile.write(root / "anna/m.mp3", noise, RATE, format="MP3")
    soundfile.write(root / "anna/o.opus", noise, RATE, format="OGG", subtype="OPUS")
    record(tmp_path / "elsewhere/ben/1.wav")
    os.symlink(tmp_path / "elsewhere/ben", root / "ben")
    record(tmp_path / "elsewhere/2.flac")
    os.symlink(tmp_path / "elsewhere/2.flac", root / "anna/linked.flac")
    os.symlink("anna", root / "again")
    os.symlink("..", root / "anna/loop")
    os.symlink("upper.WAV", root / "anna/same.wav")
    os.symlink("nowhere", root / "anna/broken.wav")
    os.mkfifo(root / "anna/pipe.wav")
    for name in ("anna/v.m4a", "anna/w.M4A", "anna/notes.txt", "README", "anna/.hidden.wav", ".git/x.wav"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    with open(os.fsencode(root) + b"/anna/caf\xe9.wav", "wb") as sink:
        sink.write(b"x")
    (root / "anna/two\nlines.wav").write_bytes(b"x")
    told: list[str] = []
    counts = prepare.prepare(Folder(valid=0, test=0), root, tmp_path / "out", tell=told.append)
    assert counts["train"] == len(NAMED) + 5
    assert {one.speaker for one in DataDir.load(tmp_path / "out/train")} == {"anna", "ben"}
    assert told == [
        "left out, 2: .m4a files, which are not read (convert them to WAV or FLAC): anna/v.m4a, anna/w.M4A",
        "left out, 1: .txt files, which are no recordings: anna/notes.txt",
        "left out, 1: broken links: anna/broken.wav",
        "left out, 1: devices and pipes: anna/pipe.wav",
        "left out, 1: files without an ending: README",
        "left out, 2: hidden files and folders: .git, anna/.hidden.wav",
        "left out, 2: links to folders that are in the folder already: again, anna/loop",
        "left out, 1: links to recordings that are in the folder already: anna/same.wav",
        f"left out, 2: recordings {ODD} (rename them): anna/caf\\udce9.wav, anna/two\\nlines.wav",
    ]


def test_what_libsndfile_lacks_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "a.wav")
    (tmp_path / "b.mp3").write_bytes(b"x")
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": ""})
    found = scan(tmp_path)
    assert [path.name for path in found.recordings] == ["a.wav"]
    assert found.lines() == [
        "left out, 1: .mp3 files, which this version of libsndfile cannot read (convert them to WAV or FLAC): b.mp3"
    ]


def test_a_folder_of_nothing_that_is_read_says_what_is_there(tmp_path: Path) -> None:
    for index in range(5):
        (tmp_path / f"{index}.m4a").write_bytes(b"x")
    with pytest.raises(SeqgenError, match=r"no recording in it .*; left out, 5: \.m4a .*0\.m4a, 1\.m4a, 2\.m4a, … 2 m"):
        scan(tmp_path)


def test_one_recording_in_two_formats_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "in/a.wav")
    record(tmp_path / "in/a.flac")
    with pytest.raises(SeqgenError, match=r"a\.flac and .*a\.wav would both be 'in-a'; rename or remove one"):
        prepare.prepare(Folder(), tmp_path / "in", tmp_path / "out")


def test_files_beside_a_known_corpus_are_counted(tmp_path: Path) -> None:
    for take in range(9):
        record(tmp_path / f"in/7_anna_{take}.wav")
    record(tmp_path / "in/7_anna.wav")
    (tmp_path / "in/7_anna_1.WAV").write_bytes(b"x")
    told: list[str] = []
    assert sum(prepare.prepare(FSDD(), tmp_path / "in", tmp_path / "out", tell=told.append).values()) == 9
    assert told == ["left out, 2: files that are not of the corpus: 7_anna.wav, 7_anna_1.WAV"]


def test_float_recordings_are_measured(tmp_path: Path) -> None:
    tone = np.sin(np.arange(900) / 9)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/loud.wav", 1.5 * tone, RATE, "FLOAT")
    soundfile.write(tmp_path / "in/good.wav", 0.5 * tone, RATE, "FLOAT")
    told: list[str] = []
    prepare.prepare(Folder(valid=0, test=0), tmp_path / "in", tmp_path / "out", tell=told.append)
    (line,) = told
    assert f"{tmp_path}/in/loud.wav: reaches 1.5, and full scale is 1: " in line
    assert line.endswith("of 900 samples (54 %) at or beyond it are clamped; lower its gain")
    soundfile.write(tmp_path / "in/integers.wav", 20_000 * tone, RATE, "FLOAT")
    told.clear()
    prepare.prepare(Folder(valid=0, test=0), tmp_path / "in", tmp_path / "out", tell=told.append)
    (unusable,) = [line for line in told if line.startswith("unusable: ")]
    assert re.search(r"integers\.wav: float samples of up to .*where full scale is 1; divide them", unusable)
    assert io.info(tmp_path / "in/good.wav").floating


TABLES = {
    "two": ("a|one\nb|two\n", "", [("a", "one", ""), ("b", "two", "")]),
    "same words": ("a|Dr. One|doctor one\nb|two!|Two\n", "", [("a", "doctor one", ""), ("b", "Two", "")]),
    "told": ("a|anna|one\nb|ben|two\n", "id,speaker,text", [("a", "one", "anna"), ("b", "two", "ben")]),
    "told otherwise": ("one|a|3|anna\n", "text,id,-,speaker", [("a", "one", "anna")]),
    "headings": ("Path|Speaker_ID|Age|Transcript\na|anna|7|one\n", "", [("a", "one", "anna")]),
    "odd blanks in a text": ("a|one\u2028two\x0bthree\x85four\n", "", [("a", "one two three four", "")]),
    "speakers alone": ("a|anna\nb|ben\n", "id,speaker", [("a", "", "anna"), ("b", "", "ben")]),
    "BOM, CRLF, blank lines": ("\ufefffile|text\r\n\r\n a | one  two \r\n", "", [("a", "one two", "")]),
}


@pytest.mark.parametrize(("text", "columns", "expected"), TABLES.values(), ids=TABLES)
def test_columns(tmp_path: Path, text: str, columns: str, expected: list[tuple[str, str, str]]) -> None:
    (tmp_path / "metadata.csv").write_bytes(text.encode())
    found = entries(tmp_path / "metadata.csv", parse_columns(columns) if columns else ())
    assert [(one.name, one.text, one.speaker) for one in found] == expected


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a|anna|one\n", "", r":1: 3 columns, of which nothing says what they are; give --columns"),
        ("a|one\nb|ben|two\n", "", r":2: 3 columns"),
        ("a|anna|one\nb|two\n", "id,speaker,text", r":2: 2 field\(s\) where the columns are id\|speaker\|text"),
        ("speaker|text\nanna|one\n", "", r":1: no heading of recordings; call their column id, or path"),
        ("a||one\n", "id,speaker,text", r":1: no speaker for 'a'"),
        ("a|anna|\n", "id,speaker,text", r":1: no transcript for 'a'"),
    ],
)
def test_tables_that_cannot_be_told(tmp_path: Path, text: str, columns: str, message: str) -> None:
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(SeqgenError, match=message):
        entries(tmp_path / "metadata.csv", parse_columns(columns) if columns else ())


@pytest.mark.parametrize("words", ["", "text", "id,id", "id,name", "id,text,text"])
def test_bad_columns(words: str) -> None:
    with pytest.raises(SeqgenError, match="--columns"):
        parse_columns(words)


def test_speakers_of_a_table(tmp_path: Path) -> None:
    for index in range(3):
        record(tmp_path / "in" / f"{index}.wav")
    (tmp_path / "in/metadata.csv").write_text("0|anna|one\n1|ben|two\n2|anna|three\n")
    made = list(Folder(columns=("id", "speaker", "text")).utterances(tmp_path / "in"))
    assert [(one.id, one.speaker, one.text) for one in made] == [
        ("anna-0", "anna", "one"),
        ("ben-1", "ben", "two"),
        ("anna-2", "anna", "three"),
    ]
    (tmp_path / "in/metadata.csv").unlink()
    with pytest.raises(SeqgenError, match="--columns without a table"):
        list(Folder(columns=("id", "speaker")).utterances(tmp_path / "in"))
