"""Kaldi data directories: every way in which one can be wrong is found on its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqgen.audio import io
from seqgen.data import directory
from seqgen.data.directory import DataDir, Utterance
from seqgen.errors import SeqgenError

RATE = 8000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three good recordings of two speakers in ``tmp_path/data``."""
    rng = np.random.default_rng(0)
    made = []
    for index, name in enumerate(("anna-1", "anna-2", "ben-1")):
        io.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(800 + 80 * index).astype(np.float32), RATE)
        speaker = name.split("-")[0]
        made.append(Utterance(name, tmp_path / f"{name}.wav", RATE, 0, 800 + 80 * index, speaker, f"words of {name}"))
    directory.write(tmp_path / "data", made)
    return tmp_path / "data"


def found(data: Path, *, decode: bool = False) -> list[str]:
    """Problems as ``file:line: message`` with the bare file name."""
    return [f"{one.file.name}:{one.line}: {one.message}" for one in directory.check(data, decode=decode)]


def test_round_trip(data: Path) -> None:
    assert found(data, decode=True) == []
    loaded = DataDir.load(data)
    assert [one.id for one in loaded] == ["anna-1", "anna-2", "ben-1"]
    assert loaded[1].samples == 880
    assert loaded[1].text == "words of anna-2"
    assert loaded.speakers == ("anna", "ben")
    assert loaded.sample_rate == RATE
    assert loaded.seconds == pytest.approx((800 + 880 + 960) / RATE)
    before = {file.name: file.read_bytes() for file in data.iterdir()}
    directory.write(data, loaded.utterances)
    assert {file.name: file.read_bytes() for file in data.iterdir()} == before


def test_paths_are_relative_beside_the_directory_and_absolute_elsewhere(data: Path, tmp_path: Path) -> None:
    assert (data / "wav.scp").read_text().splitlines()[0] == "anna-1 ../anna-1.wav"
    directory.write(tmp_path / "other" / "data", DataDir.load(data).utterances)
    assert (tmp_path / "other/data/wav.scp").read_text().splitlines()[0] == f"anna-1 {tmp_path / 'anna-1.wav'}"
    assert found(tmp_path / "other/data") == []


BROKEN = {
    "absent": ("wav.scp", ("anna-2.wav", "gone.wav"), "wav.scp:2: audio of 'anna-2' is absent"),
    "duplicate": ("wav.scp", ("ben-1 ", "anna-2 "), "wav.scp:3: duplicate id 'anna-2', first on line 2"),
    "unsorted": ("wav.scp", ("anna-1 ", "zoe-1 "), "wav.scp:2: not sorted: 'anna-2' comes after 'zoe-1'"),
    "crlf": ("wav.scp", ("\n", "\r\n"), "wav.scp:1: CRLF line ending, as on 2 more line(s)"),
    "cut off": ("wav.scp", ("ben-1.wav\n", "ben-1.wav"), "wav.scp:3: the last line does not end with a newline"),
    "blank": ("wav.scp", ("ben-1 ", "\nben-1 "), "wav.scp:3: blank line"),
    "no path": ("wav.scp", (" ../anna-2.wav", ""), "wav.scp:2: no path after the id 'anna-2'"),
    "no file's name": ("wav.scp", ("anna-2.wav", "x" * 300), "wav.scp:2: audio of 'anna-2' is absent: "),
    "pipe": ("wav.scp", ("../anna-2.wav", "sox a.mp3 -t wav - |"), "wav.scp:2: 'anna-2' is a command, not a file"),
    "not UTF-8": ("text", ("of anna-2", "of \udcff"), "text:2: not UTF-8 (byte 0xff at column 17)"),
    "empty": ("wav.scp", (None, ""), "wav.scp:1: the file is empty"),
    "empty speakers": ("utt2spk", (None, ""), "utt2spk:1: the file is empty"),
    "no transcript": ("text", ("anna-2 words of anna-2\n", ""), "wav.scp:2: 'anna-2' has no line in text"),
    "empty transcript": ("text", (" words of anna-2", ""), "text:2: 'anna-2' has an empty transcript"),
    "foreign transcript": ("text", ("ben-1 words", "zoe-1 words"), "text:3: 'zoe-1' is not in wav.scp"),
    "two speakers": ("utt2spk", ("ben-1 ben", "ben-1 ben x"), "utt2spk:3: expected one speaker for 'ben-1'"),
    "no prefix": ("utt2spk", ("ben-1 ben", "ben-1 tom"), "utt2spk:3: the speaker 'tom' is not a prefix"),
    "spk2utt": (
        "spk2utt",
        ("ben ben-1", "ben anna-2"),
        "spk2utt:2: 'ben' lists 'anna-2', but utt2spk gives it to 'anna'",
    ),
    "unlisted": ("spk2utt", (" anna-2", ""), "utt2spk:2: 'anna-2' is not listed in spk2utt"),
    "unknown": ("spk2utt", ("ben-1", "ben-1 ben-2"), "spk2utt:2: 'ben' lists 'ben-2', but utt2spk does not know it"),
    "no utterances": ("spk2utt", ("ben ben-1", "ben"), "spk2utt:2: speaker 'ben' has no utterances"),
    "zero": ("utt2dur", ("anna-2 0.11", "anna-2 0"), "utt2dur:2: 'anna-2' has '0', expected a positive number"),
    "nan": ("utt2dur", ("anna-2 0.11", "anna-2 nan"), "utt2dur:2: 'anna-2' has 'nan', expected a positive number"),
    "wrong time": ("utt2dur", ("anna-2 0.11", "anna-2 0.2"), "utt2dur:2: 'anna-2' has 0.2, but its audio has 0.110 s"),
    "wrong length": ("utt2samples", ("anna-2 880", "anna-2 8"), "utt2samples:2: 'anna-2' has 8, but its audio has 880"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_problem_is_found_on_its_line(data: Path, case: str) -> None:
    name, (old, new), expected = BROKEN[case]
    text = (data / name).read_text()
    assert old is None or old in text
    changed = new if old is None else text.replace(old, new)
    (data / name).write_bytes(changed.encode("utf-8", "surrogateescape"))
    assert any(line.startswith(expected) for line in found(data)), found(data)
    if case != "wrong time" and case != "wrong length":  # loading believes the audio, not these tables
        with pytest.raises(SeqgenError, match=r"data/\w+(\.scp)?:\d+: .*seqgen data check"):
            DataDir.load(data)


def test_speakers_out_of_order(data: Path) -> None:
    (data / "utt2spk").write_text("anna-1 anna-1\nanna-2 anna\nben-1 ben\n")
    assert "utt2spk:2: sorted by utterance, speaker 'anna' comes after 'anna-1'" in found(data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:900]), "truncated"),
        (lambda path: path.write_bytes(b"not audio at all" * 9), "not readable as audio"),
        (lambda path: io.write(path, np.zeros(0, np.float32), RATE), "0 samples"),
    ],
)
def test_bad_audio_is_found_from_headers(data: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    make(data.parent / "anna-2.wav")
    (problem,) = [line for line in found(data) if line.startswith("wav.scp")]
    assert problem.startswith("wav.scp:2: 'anna-2': ")
    assert message in problem
    with pytest.raises(SeqgenError, match=r"wav\.scp:2"):
        DataDir.load(data)


def test_decoding_finds_nan_and_silence(data: Path) -> None:
    import soundfile

    bad = np.zeros(800, np.float32)
    bad[100] = np.nan
    soundfile.write(data.parent / "anna-1.wav", bad, RATE, subtype="FLOAT")
    io.write(data.parent / "anna-2.wav", np.zeros(880, np.float32), RATE)
    assert found(data) == []
    first, second = found(data, decode=True)
    assert first.startswith("wav.scp:1: 'anna-1': ")
    assert "NaN or infinity at sample 100" in first
    assert second == "wav.scp:2: 'anna-2' is digital silence from end to end"


def test_segments(data: Path) -> None:
    path = data.parent / "anna-1.wav"
    pieces = [Utterance(f"anna-1-{k}", path, RATE, 100 * k, 100, "anna", recording="anna-1") for k in range(3)]
    directory.write(data, pieces)
    assert found(data) == []
    assert (data / "segments").read_text().splitlines()[1] == "anna-1-1 anna-1 0.0125 0.025"
    assert not (data / "text").exists()
    loaded = DataDir.load(data)
    assert [(one.start, one.samples, one.recording) for one in loaded] == [(100 * k, 100, "anna-1") for k in range(3)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("anna-1 0.0125 9", "segment 'anna-1-1' ends at 9 s, outside recording 'anna-1' of 0.1 s"),
        ("anna-1 0.0125 0.0125", "segment 'anna-1-1': start 0.0125 and end 0.0125 leave no audio"),
        ("anna-1 0.0125 0.01251", "segment 'anna-1-1' is shorter than one sample at 8000 Hz"),
        ("anna-1 -1 0.02", "segment 'anna-1-1': start -1 and end 0.02 leave no audio"),
        ("anna-1 0.0125 1e305", "segment 'anna-1-1': start 0.0125 and end 1e305 leave no audio"),
        ("anna-1 a b", "segment 'anna-1-1': start and end must be seconds, got 'a' and 'b'"),
        ("anna-1 0.1", "segment 'anna-1-1': expected `utterance recording start end`, got 3 fields"),
        ("zoe-1 0.1 0.2", "segment 'anna-1-1': recording 'zoe-1' is not in wav.scp"),
    ],
)
def test_bad_segments(data: Path, line: str, message: str) -> None:
    test_segments(data)
    text = (data / "segments").read_text().replace("anna-1 0.0125 0.025", line)
    (data / "segments").write_text(text)
    assert f"segments:2: {message}" in found(data)
    with pytest.raises(SeqgenError, match="segments:2"):
        DataDir.load(data)


def test_not_a_data_directory(tmp_path: Path) -> None:
    with pytest.raises(SeqgenError, match="no such data directory"):
        directory.check(tmp_path / "nowhere")
    with pytest.raises(SeqgenError, match=r"no wav\.scp"):
        DataDir.load(tmp_path)


def test_write_refuses(data: Path, tmp_path: Path) -> None:
    one = DataDir.load(data)[0]
    with pytest.raises(SeqgenError, match="no utterances"):
        directory.write(tmp_path / "new", [])
    with pytest.raises(SeqgenError, match="'anna-1' occurs 2 times"):
        directory.write(tmp_path / "new", [one, one])
    with pytest.raises(SeqgenError, match="cannot stand in a Kaldi table"):
        directory.write(tmp_path / "new", [Utterance("a b", one.path, RATE, 0, 800, "a")])
    (tmp_path / "home").mkdir()
    with pytest.raises(SeqgenError, match="is no data directory"):
        directory.write(tmp_path / "home", [one])
    assert not (tmp_path / "new").exists()


def test_a_failing_write_leaves_the_old_directory(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file.name: file.read_bytes() for file in data.iterdir()}
    written = []

    def full(path: Path, contents: bytes) -> int:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return len(contents)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SeqgenError, match="No space left on device"):
        directory.write(data, DataDir.load(data).utterances[:1])
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in data.iterdir()} == before
    assert sorted(path.name for path in data.parent.iterdir() if path.name.startswith(".")) == []


def test_mixed_rates_and_the_remedy(data: Path) -> None:
    io.write(data.parent / "ben-1.wav", np.ones(1920, np.float32) / 8, 16000)
    with pytest.raises(
        SeqgenError, match=r"'ben-1' has 16000 Hz, but 8000 Hz .*seqgen data prepare --sample-rate 8000"
    ):
        _ = DataDir.load(data).sample_rate


def test_statistics(data: Path) -> None:
    numbers = directory.statistics(DataDir.load(data))
    assert numbers["utterances"] == 3
    assert numbers["speakers"] == {"anna": 2, "ben": 1}
    assert numbers["samples"] == 2640
    assert numbers["words"] == 9
    assert (numbers["shortest"], numbers["median"], numbers["longest"]) == (0.1, 0.11, 0.12)
    assert (numbers["seconds"], numbers["recordings"], numbers["sample_rates"]) == (0.33, 3, [8000])


def test_the_median_of_an_even_number_lies_between_two(data: Path) -> None:
    two = DataDir.load(data).utterances[:2]
    numbers = directory.statistics(DataDir(data, two))
    assert numbers["median"] == pytest.approx(sum(one.seconds for one in two) / 2)
    assert numbers["shortest"] != numbers["longest"]
