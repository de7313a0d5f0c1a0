"""Tables of pairs: what they may begin with, two files beside each other, and what a check says of a data directory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seqgen.cli.main import main
from seqgen.errors import SeqgenError
from seqgen.text.pairs import Pair, read


def test_a_byte_order_mark_before_a_table_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes(b"\xef\xbb\xbfone\t1\n\xef\xbb\xbftwo\t2\n")
    assert [pair.source for pair in read(tmp_path / "t.tsv")] == ["one", "\ufefftwo"]


def test_two_files_beside_each_other_are_a_table(tmp_path: Path) -> None:
    sources, targets = tmp_path / "s.txt", tmp_path / "t.txt"
    sources.write_text("one\ntwo\n")
    targets.write_text("eins\nzwei\tzwo\n")
    assert read(sources, targets) == [Pair("one", ("eins",)), Pair("two", ("zwei", "zwo"))]
    for ours, theirs, said in (
        ("one\ntwo\n", "eins\n", f"{sources}:2: {targets} has no such line"),
        ("one\n", "eins\nzwei\n", f"{targets}:2: {sources} has no such line"),
        ("one\ntw\to\n", "eins\nzwei\n", f"{sources}:2: a tab in a source"),
        ("one\ntwo\n", "eins\n\n", f"{sources}:2: target 1 is empty"),
    ):
        sources.write_text(ours)
        targets.write_text(theirs)
        with pytest.raises(SeqgenError, match=re.escape(said)):
            read(sources, targets)


def test_a_data_directory_is_checked_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, data = tmp_path / "t.tsv", tmp_path / "data"
    table.write_text("".join(f"word {index}\t{index}\n" for index in range(60)))
    assert main(["data", "prepare", "pairs", "--corpus", str(table), "--out", str(data)]) == 0
    assert main(["data", "check", str(data)]) == 0
    assert main(["data", "stats", str(data / "train")]) == 0
    assert main(["data", "stats", str(data)]) == 0
    assert "longest target" in capsys.readouterr().out
    first = (data / "train/pairs.tsv").read_text().splitlines()[0]
    with (data / "valid/pairs.tsv").open("a") as more:
        more.write(f"{first}\nno tab\nWört\t1\n")
    lines = len((data / "valid/pairs.tsv").read_text().splitlines())
    assert main(["data", "check", str(data)]) == 1
    told = capsys.readouterr()
    assert (
        f"valid/pairs.tsv:{lines - 2}: the source '{first.partition(chr(9))[0]}' stands in train/pairs.tsv:1"
        in told.out
    )
    assert f"valid/pairs.tsv:{lines - 1}: 1 column" in told.out
    assert "3 symbols of sources" in told.err
    (data / "target.json").write_text("{}")
    assert main(["data", "check", str(data)]) == 1
    assert "no tokenizer's name" in capsys.readouterr().out
