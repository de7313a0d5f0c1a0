"""Damaged data directories: what can be mended is, the rest is left out by name, and a second run finds nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqgen.audio import io
from seqgen.data import checks, directory
from seqgen.data.directory import DataDir, Utterance
from seqgen.data.mend import mend
from seqgen.errors import SeqgenError

RATE = 8000
SHORTEST = {"mcd": 0.025, "stoi": 0.0256}
WHOLE = ["anna-1", "anna-2", "ben-é"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three good recordings of two speakers in ``tmp_path/data``; the working directory is elsewhere."""
    rng, made = np.random.default_rng(0), []
    for index, name in enumerate(WHOLE):
        path = tmp_path / "audio" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        io.write(path, 0.1 * rng.standard_normal(800 + 80 * index).astype(np.float32), RATE)
        made.append(Utterance(name, path, RATE, 0, 800 + 80 * index, name[: name.index("-")], f"words of {name}"))
    directory.write(tmp_path / "data", made)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "data"


def segmented(data: Path) -> None:
    """The same recordings as two segments each."""
    made = []
    for one in DataDir.load(data):
        for part in range(2):
            key, start = f"{one.id}-{part}", 400 * part
            length = one.samples - 400 if part else 400
            made.append(Utterance(key, one.path, RATE, start, length, one.speaker, f"words {part}", one.id))
    directory.write(data, made)


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda data: (data / name).write_bytes(change((data / name).read_bytes())) and None


def swap(name: str, old: str, new: str, *, segments: bool = False) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        if segments:
            segmented(data)
        text = (data / name).read_text()
        assert old in text
        (data / name).write_text(text.replace(old, new))

    return change


def audio(name: str, samples: np.ndarray) -> Callable[[Path], None]:
    return lambda data: soundfile.write(data.parent / "audio" / name, samples, RATE, "FLOAT")


def remove(name: str) -> Callable[[Path], None]:
    return lambda data: (data / name).unlink()


def no_speakers(data: Path) -> None:
    """Ids of all tables lose their speaker."""
    for name in ("wav.scp", "utt2spk", "spk2utt", "text"):
        text = (data / name).read_text()
        where = r"(?<= )(anna|ben)-" if name == "spk2utt" else r"^(anna|ben)-"
        (data / name).write_text(re.sub(where, "", text, flags=re.MULTILINE))


def decomposed(data: Path) -> None:
    text = (data / "text").read_text()
    (data / "text").write_text(unicodedata.normalize("NFD", text))


def unordered_speakers(data: Path) -> None:
    """``anna_1`` of ``anna`` and ``anna1_2`` of ``anna1``: the second comes first."""
    for name in ("wav.scp", "utt2spk", "spk2utt", "text"):
        text = (data / name).read_text()
        text = re.sub(r"(^|(?<= ))anna-1\b", "anna_1", text, flags=re.MULTILINE)
        text = re.sub(r"(^|(?<= ))anna-2\b", "anna1_2", text, flags=re.MULTILINE)
        text = text.replace("anna1_2 anna\n", "anna1_2 anna1\n").replace(
            "anna anna_1 anna1_2", "anna anna_1\nanna1 anna1_2"
        )
        (data / name).write_text("".join(sorted(text.splitlines(keepends=True), key=str.encode)))


MENDED: dict[str, tuple[Callable[[Path], None], str]] = {
    "byte order mark": (edit("wav.scp", lambda raw: b"\xef\xbb\xbf" + raw), r"wav\.scp:1: a byte order mark"),
    "byte order mark in text": (edit("text", lambda raw: b"\xef\xbb\xbf" + raw), r"text:1: a byte order mark"),
    "UTF-16": (edit("text", lambda raw: raw.decode().encode("utf-16")), r"text:1: UTF-16"),
    "CRLF": (edit("utt2spk", lambda raw: raw.replace(b"\n", b"\r\n")), r"utt2spk:1: CRLF"),
    "CR": (edit("text", lambda raw: raw.replace(b"\n", b"\r")), r"text:1: CR line endings"),
    "no newline at the end": (edit("text", lambda raw: raw[:-1]), r"text:3: the last line does not end"),
    "blank lines": (edit("text", lambda raw: raw.replace(b"\n", b"\n \n")), r"text:2: blank line"),
    "other blanks": (swap("utt2spk", "anna-2 ", "anna-2\u00a0"), r"utt2spk:2: U\+00A0"),
    "invisible characters": (swap("utt2spk", "anna-2 ", "anna\u200b-2 "), r"utt2spk:2: U\+200B"),
    "other blank before a text": (swap("text", "anna-2 ", "anna-2\u3000"), r"text:2: U\+3000"),
    "unsorted": (edit("text", lambda raw: b"".join(reversed(raw.splitlines(True)))), r"text:2: not sorted"),
    "the same line twice": (edit("text", lambda raw: raw + raw), r"text:4: 'anna-1' stands on line 1 already"),
    "decomposed": (decomposed, r"text:3: decomposed characters on 1 line"),
    "path from the working directory": (swap("wav.scp", "../audio/anna-1", "audio/anna-1"), r"wav\.scp:1: 'anna-1'"),
    "backslashes": (swap("wav.scp", "../audio/anna-2", "..\\audio\\anna-2"), r"wav\.scp:2: 'anna-2'"),
    "quotes": (swap("wav.scp", "../audio/anna-2.wav", '"../audio/anna-2.wav"'), r"wav\.scp:2: 'anna-2'"),
    "accents of a path": (swap("wav.scp", "../audio/ben-é", "../audio/ben-e\u0301"), r"wav\.scp:3: 'ben-é'"),
    "a command that decodes": (swap("wav.scp", "../audio/anna-1.wav", "cat ../audio/anna-1.wav |"), r"wav\.scp:1: 'a"),
    "flac": (swap("wav.scp", "../audio/anna-1.wav", "flac -c -d -s ../audio/anna-1.wav |"), r"wav\.scp:1: 'anna-1'"),
    "no utt2spk": (remove("utt2spk"), r"spk2utt:1: says who speaks 'anna-1'"),
    "no spk2utt": (remove("spk2utt"), r"spk2utt: made anew"),
    "another spk2utt": (swap("spk2utt", "ben ben", "ben anna-1 ben"), r"spk2utt: made anew"),
    "a speaker who lists too few": (swap("spk2utt", " anna-2", ""), r"spk2utt: made anew"),
    "wrong lengths": (swap("utt2samples", "880", "881"), r"utt2samples: made anew"),
    "ids without their speaker": (no_speakers, r"utt2spk:1: the id '1' becomes 'anna-1'"),
    "ids that do not sort by speaker": (
        unordered_speakers,
        r"utt2spk:\d: 3 ids are made to sort .* 'anna1_2' becomes 'a",
    ),
    "a speaker of two words": (swap("utt2spk", "anna-2 anna", "anna-2 anna -2"), r"utt2spk:2: the speaker 'anna -2'"),
    "a segment 2 ms late": (
        swap("segments", "anna-1-1 anna-1 0.05 0.1\n", "anna-1-1 anna-1 0.05 0.102\n", segments=True),
        r"segments:2: 'anna-1-1' from 0\.05 to 0\.102 s is clipped to 0\.05 to 0\.1 s",
    ),
    "a segment to the end": (
        swap("segments", "anna-1-1 anna-1 0.05 0.1\n", "anna-1-1 anna-1 0.05 -1\n", segments=True),
        r"segments:2: 'anna-1-1' from 0\.05 to -1 s is clipped to 0\.05 to 0\.1 s",
    ),
    "a segment 2 ms early": (
        swap("segments", "anna-1-0 anna-1 0 0.05\n", "anna-1-0 anna-1 -0.002 0.05\n", segments=True),
        r"segments:1: 'anna-1-0' from -0\.002 to 0\.05 s is clipped to 0 to 0\.05 s",
    ),
}


def problems(data: Path) -> list[str]:
    return [str(one) for one in checks.examine(data, decode=True, shortest=SHORTEST).problems]


@pytest.mark.parametrize("case", MENDED)
def test_what_can_be_mended_is_and_nothing_is_lost(data: Path, case: str) -> None:
    damage, note = MENDED[case]
    damage(data)
    if case != "decomposed":
        assert problems(data)
    count = len((data / "utt2dur").read_text().splitlines())
    before = {file.name: file.read_bytes() for file in data.iterdir()}
    made = mend(data, decode=True, shortest=SHORTEST)
    assert any(re.search(note, line) for line in made.notes), made.notes
    assert made.rejected == made.dropped == []
    assert problems(data) == []
    loaded = DataDir.load(data)
    assert len(loaded) == count
    assert all(one.text.startswith("words") for one in loaded)
    assert {file.name: file.read_bytes() for file in (data / ".backup").iterdir()} == before
    after = {str(file): file.read_bytes() for file in data.rglob("*") if file.is_file()}
    again = mend(data, decode=True, shortest=SHORTEST)
    assert again.notes == again.rejected == again.dropped == []
    assert {str(file): file.read_bytes() for file in data.rglob("*") if file.is_file()} == after


LATE = "anna-1-1 anna-1 0.05 0.1\n"
LEFT_OUT: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "absent audio": (remove("../audio/anna-2.wav"), 3, r"^(wav\.scp|utt2spk|text):2: its audio is absent\tanna-2 "),
    "audio of nobody": (
        swap("wav.scp", "../audio/anna-2", "~nobody-of-this-name/a"),
        3,
        r":2: its audio is absent\tan",
    ),
    "no file's name": (
        swap("wav.scp", "../audio/anna-2.wav", "sox " + "x" * 300 + " |"),
        3,
        r":2: its audio is absent",
    ),
    "empty audio": (
        lambda data: (data.parent / "audio/anna-2.wav").write_bytes(b"") and None,
        3,
        r":2: 'anna-2': .*the file is empty.*\tanna-2 ",
    ),
    "silence": (audio("anna-2.wav", np.zeros(880)), 3, r":2: is digital silence from end to end\tanna-2 "),
    "integers as floats": (audio("anna-2.wav", np.full(880, 9e3)), 3, r":2: .*samples of up to 9000.*\tanna-2 "),
    "too short": (audio("anna-2.wav", np.ones(10)), 3, r":2: lasts 1\.25 ms, too short for mcd \(25\.0 ms\), stoi"),
    "no transcript": (swap("text", "anna-2 words of anna-2\n", ""), 2, r"^(wav\.scp|utt2spk):2: has no transcript\tan"),
    "an empty transcript": (swap("text", " words of anna-2\n", "\n"), 3, r":2: has no transcript\tanna-2"),
    "a line of nobody": (swap("text", "anna-2 words", "anna-15 x\nanna-2 words"), 1, r"^text:2: there is no utterance"),
    "contradicting texts": (
        swap("text", "anna-2 words", "anna-1 x\nanna-2 words"),
        1,
        r"^text:2: contradicts line 1\t",
    ),
    "contradicting paths": (
        swap("wav.scp", "anna-1 ", "anna-1 ../gone.wav\nanna-1 "),
        1,
        r"^wav\.scp:1: contradicts line 2\tanna-1 \.\./gone\.wav",
    ),
    "a segment far outside": (
        swap("segments", LATE, "anna-1-1 anna-1 0.05 0.3\n", segments=True),
        3,
        r":2: ends at 0\.3 s, outside recording 'anna-1' of 0\.1 s\tanna-1-1",
    ),
    "a segment without end": (
        swap("segments", LATE, "anna-1-1 anna-1 0.05 1e305\n", segments=True),
        3,
        r":2: start 0\.05 and end 1e305 leave no audio\tanna-1-1",
    ),
    "a segment of nothing": (
        swap("segments", LATE, "anna-1-1 anna-9 0.05 0.1\n", segments=True),
        3,
        r":2: there is no recording 'anna-9'\tanna-1-1",
    ),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_left_out_is_kept_with_its_reason(data: Path, case: str) -> None:
    damage, count, pattern = LEFT_OUT[case]
    damage(data)
    assert problems(data)
    made = mend(data, decode=True, shortest=SHORTEST)
    assert len(made.rejected) == count, made.rejected
    assert all(re.search(pattern, line) for line in made.rejected), made.rejected
    assert (data / ".rejected").read_text().splitlines() == made.rejected
    assert problems(data) == []
    again = mend(data, decode=True, shortest=SHORTEST)
    assert again.notes == again.rejected == []


def test_unused_recordings_stay(data: Path) -> None:
    segmented(data)
    for name in ("segments", "utt2spk", "text", "utt2dur", "utt2samples"):
        lines = (data / name).read_text().splitlines(keepends=True)
        (data / name).write_text("".join(line for line in lines if not line.startswith("ben")))
    (data / "spk2utt").unlink()
    made = mend(data)
    assert made.rejected == []
    assert "ben-é " in (data / "wav.scp").read_text()
    assert problems(data) == []


def test_unused_recordings_that_cannot_be_read_are_left_out(data: Path) -> None:
    segmented(data)
    with (data / "wav.scp").open("a") as sink:
        sink.write("zoe-1 ../work\nzoe-2 segments\n")
    made = mend(data)
    assert [line.split(":")[:2] for line in made.rejected] == [["wav.scp", "4"], ["wav.scp", "5"]]
    assert problems(data) == []


def test_every_backup_is_kept(data: Path) -> None:
    for _ in range(3):
        (data / "spk2utt").write_bytes(b"\xef\xbb\xbf" + (data / "spk2utt").read_bytes())
        mend(data)
    assert sorted(path.name for path in data.glob(".backup*")) == [".backup", ".backup-2", ".backup-3"]


def test_what_was_meant_is_not_guessed(data: Path) -> None:
    for name, content, message in (
        ("text", b"anna-1 \xff\n", "text:1: not UTF-8"),
        ("utt2spk", b"x x\n", "no utterance is usable"),
    ):
        if name == "utt2spk":
            (data / "spk2utt").unlink()
        good = (data / name).read_bytes()
        (data / name).write_bytes(content)
        before = {file.name: file.read_bytes() for file in data.iterdir()}
        with pytest.raises(SeqgenError, match=message):
            mend(data)
        assert {file.name: file.read_bytes() for file in data.iterdir()} == before
        (data / name).write_bytes(good)


@pytest.mark.parametrize("samples", [1, 79, 80, 199, 200, 204, 205, 400])
def test_recordings_too_short_for_a_statistic_are_named(data: Path, samples: int) -> None:
    soundfile.write(data.parent / "audio/anna-1.wav", np.linspace(-0.5, 0.5, samples), RATE)
    (data / "utt2dur").unlink()
    (data / "utt2samples").unlink()
    named = [line for line in problems(data) if "too short" in line]
    lacking = [f"{name} ({1000 * least:.1f} ms)" for name, least in SHORTEST.items() if samples < least * RATE]
    told = f"{data}/wav.scp:1: 'anna-1' lasts {1000 * samples / RATE:.3g} ms, too short for {', '.join(lacking)}"
    assert named == ([told] if lacking else [])


def test_full_scale_is_noted_and_is_no_problem(data: Path) -> None:
    tone = np.sin(np.arange(880) / 9)
    audio("anna-2.wav", 1.5 * tone)(data)
    soundfile.write(data.parent / "audio/anna-1.wav", np.clip(2 * tone[:800], -1, 1), RATE)
    found = checks.examine(data, decode=True)
    assert found.problems == []
    first, second = (str(one) for one in found.notes)
    assert re.search(r"wav\.scp:1: 'anna-1' \d+ of 800 samples \(\d+ %\) are at full scale: clipped when", first)
    assert re.search(r"wav\.scp:2: 'anna-2' reaches 1\.5, and full scale is 1: \d+ of 880 samples", second)


def test_channels_that_cancel_out(data: Path) -> None:
    tone = 0.5 * np.sin(np.arange(800) / 9)
    soundfile.write(data.parent / "audio/anna-1.wav", np.stack([tone, -tone], axis=1), RATE)
    (line,) = problems(data)
    assert line.endswith("'anna-1' is silence when its channels are averaged, for they cancel out")
