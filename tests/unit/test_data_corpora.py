"""Corpora: their layouts, ids and transcripts, and splits without leakage."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from seqgen.data import directory, prepare
from seqgen.data.corpora import FSDD, Demo, Folder, LJSpeech, YesNo
from seqgen.data.corpus import SPLITS, RawUtterance, sentence
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.registry import CORPORA
from tests.unit.tones import folder, loaded, record


def test_every_registered_corpus_knows_its_name() -> None:
    for name in CORPORA:
        assert CORPORA.load(name).name == name
        assert CORPORA.load(name)().licence


def test_fsdd(shared_data: Path, tmp_path: Path) -> None:
    assert prepare.prepare(FSDD(), shared_data / "fsdd", tmp_path) == {"train": 2520, "valid": 180, "test": 300}
    for split, data in loaded(tmp_path).items():
        assert directory.check(tmp_path / split) == []
        assert len(data.speakers) == 6
        takes = {int(one.id.rpartition("-")[2]) for one in data}
        assert takes == {"train": set(range(8, 50)), "valid": {5, 6, 7}, "test": {0, 1, 2, 3, 4}}[split]
    assert loaded(tmp_path)["test"][0].text == "zero"
    assert not (tmp_path / "audio").exists()
    assert json.loads((tmp_path / "corpus.json").read_text())["licence"] == "CC BY-SA 4.0"


def test_yesno(shared_data: Path, tmp_path: Path) -> None:
    assert prepare.prepare(YesNo(), shared_data / "yesno", tmp_path) == {"train": 45, "valid": 6, "test": 9}
    texts = [one.text for data in loaded(tmp_path).values() for one in data]
    assert len(set(texts)) == 60
    one = loaded(tmp_path)["train"][0]
    assert one.text == " ".join("YES" if word == "1" else "NO" for word in one.id.removeprefix("yesno-").split("_"))


def test_demo(repository: Path, tmp_path: Path) -> None:
    counts = prepare.prepare(Demo(), repository / "egs/demo/corpus", tmp_path)
    total = sum(counts.values())
    assert counts["test"] == -(-total // 7)
    assert counts["valid"] == pytest.approx(total / 12, abs=1)
    sentences = {split: {sentence(one.text) for one in data} for split, data in loaded(tmp_path).items()}
    assert not sentences["train"] & (sentences["test"] | sentences["valid"])


def test_ljspeech(shared_data: Path, tmp_path: Path) -> None:
    counts = prepare.prepare(LJSpeech(), shared_data / "ljspeech-mini", tmp_path)
    assert sum(counts.values()) == 24
    assert min(counts.values()) >= 1
    assert all(directory.check(tmp_path / split, decode=True) == [] for split in SPLITS)


def test_ljspeech_sentences_stay_together(shared_data: Path) -> None:
    rows = (shared_data / "text/ljspeech-transcripts.csv").read_text().splitlines()
    raws = [RawUtterance(row.split("|")[0], Path("x"), "LJ", row.split("|")[2]) for row in rows]
    splits = LJSpeech().splits(raws)
    where: dict[str, set[str]] = {}
    for raw, split in zip(raws, splits, strict=True):
        where.setdefault(sentence(raw.text), set()).add(split)
    assert len(where) < len(raws)  # there are repeated sentences to go wrong on
    assert all(len(places) == 1 for places in where.values())
    assert splits.count("test") == pytest.approx(262, abs=50)
    assert splits.count("valid") == pytest.approx(262, abs=50)


def test_a_split_does_not_change_when_the_corpus_grows() -> None:
    raws = [RawUtterance(f"a-{index}", Path("x"), "a", f"sentence {index}") for index in range(2000)]
    before = Folder().splits(raws[:1000])
    assert Folder().splits(raws)[:1000] == before
    assert list(reversed(Folder().splits(raws[::-1])))[:1000] == before


@pytest.mark.parametrize("count", [3, 4, 7, 20])
def test_an_empty_split_of_a_small_corpus_is_told_with_its_remedy(count: int) -> None:
    for attempt in range(50):
        raws = [RawUtterance(f"a-{attempt}-{index}", Path("x"), "a") for index in range(count)]
        for valid, test in ((0.05, 0.05), (0.0, 0.05), (0.05, 0.0), (0.2, 0.1)):
            wanted = {"train"} | {name for name, share in (("valid", valid), ("test", test)) if share}
            corpus = Folder(valid=valid, test=test)
            for line in corpus.advice(raws):
                named = re.search(r"by --valid \S+ --test \S+: give --valid (\S+) --test (\S+), and keep", line)
                assert named, line
                corpus = Folder(valid=float(named[1]), test=float(named[2]))
            assert set(corpus.splits(raws)) == wanted
            assert corpus.advice(raws) == []


def test_too_small_to_split() -> None:
    raws = [RawUtterance("a-1", Path("x"), "a"), RawUtterance("a-2", Path("x"), "a")]
    (line,) = Folder(valid=0.01, test=0.01).advice(raws)
    assert line.endswith("cut long ones with --max-seconds 10")
    assert Folder(valid=0, test=0).splits(raws) == ["train", "train"]
    with pytest.raises(SeqgenError, match=r"2 recording\(s\) leave nothing to train on.*hold out less"):
        Folder(valid=0, test=0.9999).splits(raws)


def test_sentence_ignores_case_and_punctuation() -> None:
    raws = [RawUtterance(f"{who}-1", Path("x"), who, text) for who, text in (("a", "Go, now!"), ("b", "go now"))]
    raws += [RawUtterance(f"a-{index}", Path("x"), "a", f"other {index}") for index in range(2, 40)]
    splits = Folder(valid=0.3, test=0.3).splits(raws)
    assert splits[0] == splits[1]


def test_speakers_can_be_held_out() -> None:
    raws = [RawUtterance(f"s{index % 20}-{index}", Path("x"), f"s{index % 20}") for index in range(200)]
    splits = Folder(valid=0.2, test=0.2, hold_out="speaker").splits(raws)
    for who in {raw.speaker for raw in raws}:
        assert len({split for raw, split in zip(raws, splits, strict=True) if raw.speaker == who}) == 1
    assert set(splits) == set(SPLITS)


def test_folder_ids_are_kaldi_safe_and_sort_by_speaker(tmp_path: Path) -> None:
    for name in ("a/z.wav", "a-b/x.wav", "Ana María/día 1.flac", "Ana María/sub/día_1.ogg", "李/一.wav", "王/一.wav"):
        record(tmp_path / "in" / name)
    record(tmp_path / "in/a/same one.wav")
    record(tmp_path / "in/a/same_one.flac")
    record(tmp_path / "in/.hidden/x.wav")
    counts = prepare.prepare(Folder(valid=0, test=0), tmp_path / "in", tmp_path / "out")
    assert counts == {"train": 8, "valid": 0, "test": 0}
    assert not (tmp_path / "out/valid").exists()
    assert directory.check(tmp_path / "out/train", decode=True) == []  # unique, sorted, speaker is a prefix
    data = DataDir.load(tmp_path / "out/train")
    ids = {one.id for one in data}
    assert {"a-z", "a-same_one"} < ids
    assert len([one for one in ids if re.fullmatch(r"(a_b|Ana_Maria|x)_[0-9a-f]{12}-.+", one)]) == 5
    assert len(data.speakers) == 5


def test_flat_folder_is_one_speaker(tmp_path: Path) -> None:
    for index in range(4):
        record(tmp_path / "My Voice" / f"{index}.wav")
    made = list(Folder().utterances(tmp_path / "My Voice"))
    (speaker,) = {one.speaker for one in made}
    assert re.fullmatch("My_Voice_[0-9a-f]{12}", speaker)
    assert made[0].id == f"{speaker}-0"


def metadata(tmp_path: Path, text: bytes) -> dict[str, str]:
    root = folder(tmp_path / "in", 3)
    (root / "metadata.csv").write_bytes(text)
    return {one.key: one.text for one in Folder().utterances(root)}


@pytest.mark.parametrize(
    "text",
    [
        b"take 00|One  two\ntake 01|Three\ntake 02|Four\n",
        b"\xef\xbb\xbfpath|text\r\nanna/take 00.wav|One two\r\nben\\take 01.wav|Three\r\n./anna/take 02|Four\r\n",
        b"take 00|one two!|One two\ntake 01|3|Three\n\ntake 02.wav|four|Four",
    ],
)
def test_metadata(tmp_path: Path, text: bytes) -> None:
    expected = {"anna-take_00": "One two", "ben-take_01": "Three", "anna-take_02": "Four"}
    assert metadata(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"take 00|One\ntake 07|Two\n", r"metadata\.csv:2: 'take 07' names no recording"),
        (b"take 00|One\ntake 00|Two\n", r"metadata\.csv:2: a second line for anna/take 00\.wav"),
        (b"take 00|One\n", r"metadata\.csv: no line for anna/take 02\.wav"),
        (b"take 00 One\n", r"metadata\.csv:1: no transcript for 'take 00 One', 1 field"),
        (b"take 00|anna|One\ntake 01|ben|Two\n", r"metadata\.csv:1: 3 columns, of .*--columns id,speaker,text or"),
        (b"take 00|One\ntake 01|ben|Two\n", r"metadata\.csv:2: 3 columns, of which nothing says what they are"),
        (b"take 00|1|2|One\n", r"metadata\.csv:1: 4 columns, of which nothing says what they are"),
        (b"take 00|One\ntake 01|\n", r"metadata\.csv:2: no transcript for 'take 01'"),
        (b"take 00|One\ntake 01|\xff\n", r"metadata\.csv:2: not UTF-8"),
    ],
)
def test_bad_metadata(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(SeqgenError, match=message):
        metadata(tmp_path, text)


def test_ambiguous_metadata(tmp_path: Path) -> None:
    record(tmp_path / "in/ben/take 00.wav")
    with pytest.raises(SeqgenError, match=r"fits anna/take 00\.wav and ben/take 00\.wav"):
        metadata(tmp_path, b"take 00|One\n")


@pytest.mark.parametrize("corpus", [FSDD(), YesNo(), LJSpeech(), Demo(), Folder()])
def test_a_wrong_root_is_named(tmp_path: Path, corpus) -> None:  # type: ignore[no-untyped-def]
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SeqgenError, match=str(root)):
            prepare.prepare(corpus, root, tmp_path.parent / f"{tmp_path.name}-out")


def test_ljspeech_names_the_line_of_an_absent_recording(tmp_path: Path) -> None:
    record(tmp_path / "wavs/a.wav")
    for text, message in (
        ("a|x|x\nb|y|y\n", r"metadata\.csv:2: recording .*b\.wav is absent"),
        ("a|x|x\na|y|y\n", r"metadata\.csv:2: duplicate id 'a', first on line 1"),
        ("a\n", r"metadata\.csv:1: expected 2 fields"),
        ("", r"metadata\.csv: the file is empty"),
    ):
        (tmp_path / "metadata.csv").write_text(text)
        with pytest.raises(SeqgenError, match=message):
            list(LJSpeech().utterances(tmp_path))


def test_held_out_shares_are_checked() -> None:
    for valid, test in ((-0.1, 0.1), (0.5, 0.5)):
        with pytest.raises(SeqgenError, match="leave nothing to train on"):
            Folder(valid=valid, test=test)
