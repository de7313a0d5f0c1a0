"""Text data directories: documents, splits, packed corpora, bounded memory, what is refused, checks and numbers."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.text import checks, corpus
from seqgen.text.corpus import DOCUMENTS, Documents
from seqgen.text.directory import SPLITS, Split, TextData
from seqgen.text.prepare import Preparation, prepare
from tests.unit.cli_workspace import contents, done, refused, seqgen

TEXT = "".join(f"line {n}: é{'x' * (n % 7)}\n" + "\n" * (n % 4 == 3) for n in range(200))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def documents(path: Path) -> list[bytes]:
    return [document.data for document in Split.open(path)]


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize(
    ("tokenizer", "stop"),
    [("bytes", False), ("bytes", True), ("characters", False), ("sentencepiece", False), ("phonemes", True)],
)
def test_all_bytes_are_in_one_document_of_one_split(
    kind: Documents, tokenizer: str, stop: bool, tmp_path: Path
) -> None:
    """Of a folder, in the order of its files' names; and the symbols of every document are those of its own text, with
    the one that ends a sequence behind them."""
    folder = tmp_path / "corpus"
    (folder / "b").mkdir(parents=True)
    (folder / ".hidden").write_bytes(b"not read")
    for number, part in enumerate(TEXT[start : start + 500] for start in range(0, len(TEXT), 500)):
        (folder / ("b" if number else "") / f"{number:02d} é\t.txt").write_text(part, encoding="utf-8")
    prepare(folder, tmp_path / "data", Preparation(tokenizer, 350 * (tokenizer == "sentencepiece"), stop,
                                                   documents=kind, valid_share=0.2, test_share=0.2))  # fmt: skip
    data = TextData.open(tmp_path / "data")
    ends = [data.tokenizer.stop] * stop
    assert (data.tokenizer.stop is not None) == stop
    found = {name: documents(tmp_path / "data" / name) for name in SPLITS}
    assert b"".join(one for name in SPLITS for one in found[name]).decode() == TEXT
    for name in SPLITS:
        symbols, bounds = data.encoded(name)
        assert len(bounds) == len(found[name]) + 1
        for index, one in enumerate(found[name]):
            expected = [*data.tokenizer.encode(one).symbols, *ends]
            assert np.array_equal(symbols[bounds[index] : bounds[index + 1]], expected)
    every = [one.decode() for name in SPLITS for one in found[name]]  # no character is cut
    ids = [document.id for name in SPLITS for document in Split.open(tmp_path / "data" / name)]
    if kind == "whole":
        assert [len(found[name]) for name in SPLITS] == [1, 1, 1]
    elif kind == "files":
        assert ids[0] == "00%20é%09.txt"
        assert ids[1:] == [f"b/{number:02d}%20é%09.txt" for number in range(1, len(ids))]
    else:
        assert len(set(ids)) == len(ids)
        breaks = ["\n", "\n\n"][kind == "blank-lines"]
        assert sum(one.endswith(breaks) for one in every) >= TEXT.count(breaks) * (kind == "lines")
        assert all(one.strip("\n").count(breaks) == 0 for one in every)


def test_the_default_split_is_the_last_tenth_in_order(text: Path, tmp_path: Path) -> None:
    text.write_bytes(b"a" * 1000)
    counts = prepare(text, tmp_path / "data")
    assert [one["bytes"] for one in counts.values()] == [900, 50, 50]


def test_a_cut_lies_behind_a_whole_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the character lies across two blocks; and bytes that are none are not waited for."""
    monkeypatch.setattr(corpus, "BLOCK", 181)
    (tmp_path / "text.txt").write_bytes("😀".encode() * 51 + b"\x80" * 6)
    for shares, sizes in (((0.14, 0.05), [172, 28, 10]), ((0.05, 0.03), [196, 11, 3])):
        settings = Preparation(valid_share=shares[0], test_share=shares[1])
        counts = prepare(tmp_path / "text.txt", tmp_path / "data", settings)
        assert [one["bytes"] for one in counts.values()] == sizes


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_texts_are_unpacked(pack: Callable[[bytes], bytes], text: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"  # whatever its name
    packed.write_bytes(pack(TEXT.encode()))
    for source, out in ((text, "plain"), (packed, "unpacked")):
        prepare(source, tmp_path / out, Preparation("characters"))
    assert contents(tmp_path / "plain") == contents(tmp_path / "unpacked")
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(SeqgenError, match="packed: cannot be read"):
        prepare(packed, tmp_path / "plain")
    assert (tmp_path / "plain/tokenizer.json").read_text().startswith('{\n "name": "characters"')


def test_held_out_texts_may_be_given(text: Path, tmp_path: Path) -> None:
    (tmp_path / "valid.txt").write_text("valid α\n")
    (tmp_path / "test.txt").write_text("test\n")
    prepare(
        text, tmp_path / "data", Preparation("characters", valid=tmp_path / "valid.txt", test=tmp_path / "test.txt")
    )
    assert documents(tmp_path / "data/train")[0].decode() == TEXT
    assert documents(tmp_path / "data/valid") == ["valid α\n".encode()]
    assert json.loads((tmp_path / "data/corpus.json").read_text())["splits"]["valid"]["unknown"] == 4  # v, a, d, α


def test_a_line_longer_than_a_block_is_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 10)
    (tmp_path / "text.txt").write_text("é" * 17 + "\nshort\n" + "y" * 25)
    prepare(tmp_path / "text.txt", tmp_path / "data", Preparation(documents="lines", valid_share=0.1, test_share=0.4))
    assert [documents(tmp_path / "data" / name) for name in SPLITS[::2]] == [["é".encode() * 17 + b"\n"], [b"y" * 25]]


LIMITED = """
import resource, sys
from pathlib import Path
import numpy, seqgen.text.sentencepiece, seqgen.text.checks
from seqgen.text.prepare import Preparation, prepare
held = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) << 10
room = held + (100 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (room, room))
prepare(Path(sys.argv[1]), Path(sys.argv[2]), Preparation(sys.argv[3], documents=sys.argv[4]))
seqgen.text.checks.statistics(Path(sys.argv[2]))
assert not seqgen.text.checks.examine(Path(sys.argv[2])).problems
"""


@pytest.mark.parametrize(("tokenizer", "kind"), [("characters", "whole"), ("bytes", "lines")])
def test_a_text_larger_than_memory_is_prepared(tokenizer: str, kind: str, tmp_path: Path) -> None:
    """Packed: 150 MB of text, 100 MB of memory for what is worked on."""
    size = 150_000_000
    line = (b"a line of text that is as good as any other, \xc3\xa9\n" * 20000)[:-1].replace(b"\n", b"\r") + b"\n"
    with gzip.open(tmp_path / "text.gz", "wb", compresslevel=1) as file:
        for _ in range(size // len(line)):
            file.write(line)
    words = [sys.executable, "-c", LIMITED, str(tmp_path / "text.gz"), str(tmp_path / "data"), tokenizer, kind]
    made = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, check=False
    )
    assert made.returncode == 0, made.stderr[-1000:]
    assert (tmp_path / "data/train/text").stat().st_size > 0.85 * size


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no text is given; give --corpus"),
        (("--corpus", "absent.txt"), "no text at absent.txt; give --corpus a file"),
        (("--corpus", "empty"), "no file in this folder"),
        (("--corpus", "short.txt"), "nothing is left for valid; give a longer text"),
        (("--corpus", "text.txt", "--documents", "files"), "nothing is left for valid"),
        (("--corpus", "text.txt", "--tokenizer", "letters"), "unknown tokenizer 'letters'"),
        (("--corpus", "text.txt", "--tokenizer", "sentencepiece", "--vocabulary", "9"), "no 9 subwords can be learnt"),
        (("--corpus", "text.txt", "--valid-share", "0.7", "--test-share", "0.3"), "give two above 0 whose sum"),
        (("--corpus", "text.txt", "--valid", "text.txt"), "give both --valid and --test"),
        (("--corpus", "text.txt", "--valid", "a", "--test", "b", "--test-share", "0.1"), "give one or the other"),
        (("--corpus", "text.txt", "--sample-rate", "8000"), "--sample-rate does not apply to a text"),
        (("--corpus", "packed.zst"), "packed by zstd; unpack it first"),
    ],
)  # fmt: skip
def test_what_cannot_be_prepared_is_one_line(
    words: tuple[str, ...], said: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "short.txt").write_text("a")
    (tmp_path / "packed.zst").write_bytes(b"\x28\xb5\x2f\xfd rest")
    assert said in refused("data", "prepare", "text", "--out", "data", *words)
    assert not (tmp_path / "data").exists()


def test_a_folder_of_something_else_is_not_replaced(text: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("dear")
    assert "exists and is not a text data directory" in refused(
        "data", "prepare", "text", "--corpus", text, "--out", tmp_path / "mine"
    )
    for kind in ("bytes", "characters"):  # its own is
        done("data", "prepare", "text", "--corpus", text, "--out", tmp_path / "data", "--tokenizer", kind)
    assert TextData.open(tmp_path / "data").tokenizer.unit == "character"
    (tmp_path / "data/config.yaml").write_text("of an experiment")
    refused("data", "prepare", "text", "--corpus", text, "--out", tmp_path / "data")


def test_options_of_a_text_are_refused_for_recordings(tmp_path: Path) -> None:
    words = ("data", "prepare", "yesno", "--out", tmp_path / "data", "--tokenizer", "bytes")
    assert "--tokenizer does not apply to yesno" in refused(*words)
    words = ("data", "prepare", "folder", "--corpus", tmp_path, "--out", tmp_path / "data", "--valid", "some")
    assert "--valid some is no number" in refused(*words)


def test_numbers_and_notes(tmp_path: Path) -> None:
    """Line by line; what is only odd is noted and exits with 0."""
    odd = b"\xef\xbb\xbfone\r\nnul \0 here\nbad \xff\xe2\x82\n" + b"x" * 70_000 + b"\nlast \xef\xbb\xbf\n"
    (tmp_path / "text.txt").write_bytes(odd)
    held = tmp_path / "held.txt"
    held.write_text("held\n")
    words = ("--valid", held, "--test", held, "--tokenizer", "characters", "--vocabulary", 12)
    done("data", "prepare", "text", "--corpus", tmp_path / "text.txt", "--out", tmp_path / "data", *words)
    made = done("data", "check", tmp_path / "data")
    place = tmp_path / "data/train/text"
    for line, message in (
        (1, "ends with CR LF"), (1, "begins with a byte order mark"), (2, "has NUL bytes"),
        (3, "has bytes that are no UTF-8"), (4, "longer than 65,536 bytes"), (5, "has a byte order mark inside"),
    ):  # fmt: skip
        assert f"note: {place}:{line}: {message}" in made.err
    assert "are unknown to the tokenizer" in made.err
    assert "no problem" in made.out
    (row,) = done("data", "stats", "--json", tmp_path / "data").json()
    assert row["tokenizer"] == "characters"
    assert "3 invalid bytes" in row["train"]
    (row,) = done("data", "stats", "--json", tmp_path / "data/valid").json()
    assert (row["documents"], row["characters"], row["lines"]) == (1, 5, 1)


def table(text: str) -> Callable[[Path], object]:
    return lambda data: (data / "valid/documents").write_text(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (table("text\t0\t9\nmore\t12\t14\n"), "documents:2: the document begins at byte 12, the one before it"),
        (table("text\t0\t9\ntext\t9\t14\n"), ":2: the id text comes twice"),
        (table("text 0 9\n"), "documents:1: no `id<TAB>start<TAB>end`"),
        (table("text\t0\t9\n"), "the last document ends at byte 9, the text"),
        (table("text\t0\t99999\n"), ":1: the document ends at byte 99999"),
        (lambda data: (data / "valid/documents").unlink(), "valid: no text data"),
        (lambda data: (data / "test/symbols.npy").unlink(), "test: no symbols"),
        (lambda data: (data / "tokenizer.json").write_text('{"name": "bytes"}'), "the symbols were made by tokenizer"),
    ],
)  # fmt: skip
def test_problems_are_told_by_file_and_line(
    change: Callable[[Path], object], said: str, text: Path, tmp_path: Path
) -> None:
    prepare(text, tmp_path / "data", Preparation("characters"))
    assert checks.examine(tmp_path / "data").problems == []
    change(tmp_path / "data")
    made = seqgen("data", "check", tmp_path / "data")
    assert made.status == 1
    assert said in made.out


def test_a_split_is_asked_for_where_its_directory_is_given(text: Path, tmp_path: Path) -> None:
    prepare(text, tmp_path / "data")
    with pytest.raises(SeqgenError, match=r"no text data.*; give .*data/test"):
        Split.open(tmp_path / "data")
    with pytest.raises(SeqgenError, match="make one with `seqgen data prepare text`"):
        TextData.open(tmp_path)
