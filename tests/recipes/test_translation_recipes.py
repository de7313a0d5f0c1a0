"""The recipes of translation in their tiny forms: spellings to phonemes, English to German, spelt numbers to digits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from egs.cmudict.g2p import dictionary
from egs.synthetic.bytenet import numbers
from tests.recipes.conftest import Tiny


def evaluated(path: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(path.read_text())
    return found


def test_spellings_become_phonemes(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    said = tiny("cmudict/g2p", tmp_path, "--corpus", shared_data / "text")
    *_, words = said.partition("sources\n")
    assert words.count("\n") == 4
    found = evaluated(tmp_path / "eval.json")
    assert found["nats_per_phoneme"] < 3.5
    assert found["phoneme_error_ignoring_012"] <= found["phoneme_error"]
    assert found["within_expected_length"] > 99
    test = (tmp_path / "data" / "test" / "pairs.tsv").read_text().splitlines()
    assert found["sources"] == len(test) > 6000
    train = {line.split("\t")[0] for line in (tmp_path / "data" / "train" / "pairs.tsv").read_text().splitlines()}
    assert not train & {line.split("\t")[0] for line in test}


def test_english_becomes_german_beside_attention(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    said = tiny("tatoeba/bytenet", tmp_path, "--corpus", shared_data / "text")
    assert "|  | bytenet | attention |" in said
    assert "| chrf |" in said
    for name in ("bytenet", "attention"):
        found = evaluated(tmp_path / name / "eval.json")
        assert found["nats_per_character"] < 4
        assert 0 <= found["bleu"] <= 100


def test_spelt_numbers_become_digits(tiny: Tiny, tmp_path: Path) -> None:
    few = {"NUMBERS": "2000", "JITTERED_STEPS": "20", "VARIANTS": "jittered undilated"}
    said = tiny("synthetic/bytenet", tmp_path, REPEATS="1", LENGTHS="32 64 128 256", **few)
    found = evaluated(tmp_path / "jittered" / "eval.json")
    assert found["nats_per_character"] < 2.6
    assert evaluated(tmp_path / "long" / "jittered" / "eval.json")["sources"] == 1000
    assert said.count("| jittered | undilated |") == 2
    assert said.count("slope_of_the_longer_half") == 2


def test_numbers_are_different_and_of_the_lengths_that_are_asked_for() -> None:
    found = list(numbers.numbers([1, 3], 200))
    assert len(set(found)) == 200
    assert {len(one) for one in found} == {1, 3}
    assert found == list(numbers.numbers([1, 3], 200))
    with pytest.raises(ValueError, match="not 11 numbers"):
        list(numbers.numbers([1], 11))


def test_lines_of_the_dictionary_are_pairs_without_numbers_and_comments() -> None:
    lines = [";;; comment\n", "Hello HH AH0 L OW1\n", "hello(2) HH EH0 L OW1 # foreign\n", "\n", "lonely\n"]
    assert list(dictionary.pairs(iter(lines))) == ["hello\tHH AH0 L OW1\n", "hello\tHH EH0 L OW1\n"]
