"""The recipes of translation in their tiny forms: spellings to phonemes, English to German, spelt numbers to digits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from egs.cmudict.g2p import dictionary
from egs.synthetic.bytenet import numbers


def made(repository: Path, recipe: str, conf: str, *options: str) -> str:
    """Output of a recipe, which must succeed."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "REPEATS": "1",
        "JITTERED_STEPS": "20",
        "NUMBERS": "2000",
        "VARIANTS": "jittered undilated",
        "LENGTHS": "32 64 128 256",
    }
    command = ["bash", f"egs/{recipe}/run.sh", "--conf", f"egs/{recipe}/conf/{conf}.yaml", *options]
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def evaluated(path: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(path.read_text())
    return found


def test_spellings_become_phonemes(shared_data: Path, repository: Path, tmp_path: Path) -> None:
    said = made(repository, "cmudict/g2p", "tiny", "--corpus", str(shared_data / "text"), "--out", str(tmp_path))
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


def test_english_becomes_german_beside_attention(shared_data: Path, repository: Path, tmp_path: Path) -> None:
    said = made(repository, "tatoeba/bytenet", "tiny", "--corpus", str(shared_data / "text"), "--out", str(tmp_path))
    assert "|  | bytenet | attention |" in said
    assert "| chrf |" in said
    for name in ("bytenet", "attention"):
        found = evaluated(tmp_path / name / "eval.json")
        assert found["nats_per_character"] < 4
        assert 0 <= found["bleu"] <= 100


def test_spelt_numbers_become_digits(repository: Path, tmp_path: Path) -> None:
    said = made(repository, "synthetic/bytenet", "tiny", "--out", str(tmp_path))
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
