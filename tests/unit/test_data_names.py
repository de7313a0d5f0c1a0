"""Names of recordings: functions of their own paths, unique and recorded; adding some moves none."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.data import directory, prepare
from seqgen.data.corpora import Folder
from seqgen.data.corpus import SPLITS, RawUtterance
from seqgen.data.directory import DataDir
from seqgen.data.folder.names import kaldi_name, name_of, speaker_name
from tests.unit.tones import record

ALPHABETS = ("ab", "a_", "a-_. ", "AaBb", "éе́ё", "аб в", "李一", "🎤a", "a\u0301á", "0123456789abcdef_", "a+|&'\"")
PARTS = st.one_of([st.text(alphabet, min_size=1, max_size=40) for alphabet in ALPHABETS]).filter(
    lambda part: part.strip(".") == part and len(part.encode()) < 200
)
PATHS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
HOME = "home"


def named(path: str) -> RawUtterance:
    """The recording that a path below a folder called ``home`` is."""
    owner, _, below = path.partition("/")
    name = name_of(path, owner, f"{below}.wav", clashing=HOME) if below else name_of(path, HOME, f"{path}.wav")
    return RawUtterance(name.id, Path(path), name.speaker, key=name.key)


@settings(max_examples=150, deadline=None)
@given(st.sets(PATHS, max_size=12), st.sets(PATHS, max_size=12))
def test_names_and_splits_depend_on_nothing_else(first: set[str], added: set[str]) -> None:
    corpus = Folder(valid=0.3, test=0.3)
    together = {path: named(path) for path in sorted(first | added)}
    ids = [one.id for one in together.values()]
    assert len(set(ids)) == len(ids)
    for path, one in together.items():
        assert one == named(path)
        assert one.id.isascii()
        assert one.id.split() == [one.id]
        assert one.id.startswith(f"{one.speaker}-")
        assert "-" not in one.speaker
        assert len(one.id) < 240
    spare = RawUtterance("z", Path("z"), "z", "the one that is always trained on")
    alone = corpus.splits([spare, *(together[path] for path in sorted(first))])
    all_of_them = corpus.splits([spare, *together.values()])
    where = dict(zip(together, all_of_them[1:], strict=True))
    assert [where[path] for path in sorted(first)] == alone[1:]
    # Kaldi's order: sorted by utterance is sorted by speaker too.
    speakers = [one.speaker.encode() for one in sorted(together.values(), key=lambda one: one.id.encode())]
    assert speakers == sorted(speakers)


@settings(max_examples=100, deadline=None)
@given(PATHS)
def test_composed_and_decomposed_accents_are_in_one_split(path: str) -> None:
    keys = {named(unicodedata.normalize(form, path)).key for form in ("NFC", "NFD")}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("anna/greeting_1", "anna-greeting_1"),
        ("anna/b/c_d", "anna-b__c_d"),
        ("LJ/LJ001-0001", "LJ-LJ001-0001"),
        ("p.225/p225_001_mic1", "p.225-p225_001_mic1"),
        ("take.1", "home-take.1"),
    ],
)
def test_plain_names_stay_as_they_are(path: str, name: str) -> None:
    assert named(path).id == name
    assert named(path).key == name.replace("__", "_")


@pytest.mark.parametrize(
    "paths",
    [
        ("anna/a b", "anna/a_b", "anna/a  b", "anna/a-b", "anna/a+b"),
        ("anna/b/c_d", "anna/b_c/d", "anna/b/c/d", "anna/b_c_d", "anna/b__c_d"),
        ("анна/а", "борис/а", "x/а", "x/б"),
        ("anna/é", "anna/e\u0301", "anna/e"),
        ("A/x", "a/x", "a/X"),
        ("home/x", "x"),
        ("a-b/c", "a/b-c", "a_b/c"),
        (f"anna/{'x' * 150}", f"anna/{'x' * 151}"),
        ("anna/_a", "anna/a", "anna/a_", "anna/a."),
    ],
)
def test_names_that_would_fall_together(paths: tuple[str, ...]) -> None:
    assert len({named(path).id for path in paths}) == len(paths)
    marked = named(paths[0]).id
    assert named(f"anna/{marked.removeprefix('anna-')}").id != marked or paths[0].isascii()


def test_readable_names() -> None:
    assert kaldi_name("  ...  ") == "x"
    assert kaldi_name("a-b", speaker=True) == "a_b"
    assert speaker_name("Zoë Ann-Marie").startswith("Zoe_Ann_Marie_")


def test_adding_speakers_and_recordings_moves_nobody(tmp_path: Path) -> None:
    """Through the whole preparation, with what was said of it on the way recorded."""
    root = tmp_path / "мои записи"
    homes: dict[str, str] = {}
    for speaker, names in (("Анна", "абвгдежзик"), ("Борис", "абвгдежзик"), ("李", "一二三"), ("Анна", "лмн")):
        for name in names:
            record(root / speaker / f"{name}.wav")
        counts = prepare.prepare(Folder(valid=0.2, test=0.2), root, tmp_path / "out")
        rows = [json.loads(line) for line in (tmp_path / "out/recordings.jsonl").read_text().splitlines()]
        assert sum(counts.values()) == len(rows)
        now = {row["file"]: f"{row['split']} {row['id']}" for row in rows}
        assert now | homes == now
        homes = now
    for split in SPLITS:
        assert directory.check(tmp_path / "out" / split) == []
        for one in DataDir.load(tmp_path / "out" / split):
            assert homes[one.path.relative_to(root).as_posix()] == f"{split} {one.id}"


def test_ids_that_differ_by_case_alone_are_two_files(tmp_path: Path) -> None:
    for name in ("a", "A"):
        record(tmp_path / "in/x" / f"{name}.wav", 800 if name == "a" else 1600)
    prepare.prepare(Folder(valid=0, test=0), tmp_path / "in", tmp_path / "out", sample_rate=4000)
    files = os.listdir(tmp_path / "out/audio")
    assert len({file.casefold() for file in files}) == 2
    assert {one.id: one.samples for one in DataDir.load(tmp_path / "out/train")} == {"x-A": 800, "x-a": 400}


def test_pieces_of_a_recording_have_ids_that_no_recording_has(tmp_path: Path) -> None:
    record(tmp_path / "in/x/a.wav", 16_000)
    record(tmp_path / "in/x/a-00001.wav")
    prepare.prepare(Folder(valid=0, test=0), tmp_path / "in", tmp_path / "out", max_seconds=1)
    assert len({one.id for one in DataDir.load(tmp_path / "out/train")}) == 3
