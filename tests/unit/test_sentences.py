"""Rows of sentences: lines that follow each other, filled up to one length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.tasks.text.sentences import Sentences
from seqgen.tasks.text.task import Text
from seqgen.text.directory import Encoded
from seqgen.text.prepare import Preparation, prepare
from seqgen.text.tokenizer import Tokenizer, tokenizer

TEXTS = ("ab\ncde\n\nf\nabcdefg\nb", "one of two\nc\n")


@pytest.fixture
def letters() -> Tokenizer:
    return tokenizer(Component("characters", {"characters": "\nabcdefghnotw "}))


def sentences(made: Tokenizer, **options: Any) -> Sentences:
    rows = [made.encode(text.encode()).symbols for text in TEXTS]
    encoded = Encoded(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))
    return Sentences(encoded, made, **{"segment": 2, "length": 4, "rows": 1, "seed": 0, **options})


def read(made: Tokenizer, row: list[int]) -> str:
    return "".join("." if one == made.vocab_size else made.decode([one]).decode() for one in row)


def test_the_whole_is_each_line_once_and_no_row_crosses_documents(letters: Tokenizer) -> None:
    batches = list(sentences(letters).whole())
    assert [read(letters, one.x[0].tolist()) for one in batches] == ["ab..cde.", "f...abcd", "one c..."]
    assert [one.lengths.tolist() for one in batches] == [[8]] * 3
    assert [len(one.ids) for one in sentences(letters, rows=2).whole()] == [2]


def test_training_rows_begin_at_every_line_that_has_enough_after_it(letters: Tokenizer) -> None:
    source = sentences(letters, rows=4)
    drawn = list(source.batches(0, 60, 0, 1))
    found = {read(letters, row) for batch in drawn for row in batch.x.tolist()}
    assert found == {"ab..cde.", "cde.f...", "f...abcd", "abcdb...", "one c..."}
    assert drawn[3].x[1::2].equal(next(source.batches(3, 4, 1, 2)).x)


def test_rows_longer_than_every_document_are_refused(letters: Tokenizer) -> None:
    with pytest.raises(SeqgenError, match=r"no document has 6 lines in succession .* longest has 5"):
        sentences(letters, segment=6)


def test_a_tokenizer_without_line_breaks_is_refused() -> None:
    with pytest.raises(SeqgenError, match="a line break is no symbol"):
        sentences(tokenizer(Component("characters", {"characters": "abcdefg"})))


def test_the_alphabet_has_a_symbol_more_for_padding(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("ab\n" * 30)
    prepare(tmp_path / "text.txt", tmp_path / "data", Preparation("characters", valid_share=0.2, test_share=0.2))
    plain, rows = (
        Text.example({"data": str(tmp_path / "data"), "segment": 2, **more}, {}).task for more in ({}, {"sentence": 3})
    )
    assert rows.facts.vocab_size == plain.facts.vocab_size + 1
    with pytest.raises(SeqgenError, match="'context' with rows of sentences"):
        Text.example({"data": str(tmp_path / "data"), "segment": 2, "sentence": 3, "context": 1}, {})
