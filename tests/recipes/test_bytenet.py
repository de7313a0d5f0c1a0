"""The recipes of convolutional language models in their tiny form, on real texts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes.conftest import Tiny


@pytest.mark.parametrize(
    ("corpus", "least", "most"), [("shakespeare", 3, 4.5), ("enwiki", 3, 7)], ids=["shakespeare", "enwiki"]
)
def test_a_text_is_learnt_and_judged(
    corpus: str, least: float, most: float, tiny: Tiny, shared_data: Path, tmp_path: Path
) -> None:
    said = tiny(f"{corpus}/bytenet", tmp_path, "--corpus", shared_data / "text")
    found = json.loads((tmp_path / "eval.json").read_text())
    assert least < found["bits_per_byte"] < most
    assert len(said) > 300


def test_times_of_lengths_are_measured(repository: Path) -> None:
    command = [sys.executable, "tools/bench_bytenet.py", "slope", "--json", "--channels", "4", "--repeats", "1"]
    command += ["--lengths", "32", "64", "128", "--rows", "1", "--cycles", "1"]
    made = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=100, check=True)
    rows = [json.loads(line) for line in made.stdout.splitlines()]
    assert [row["network"] for row in rows] == ["convolutions", "attention"]
    assert all(row["ms_128"] > 0 for row in rows)


def test_a_step_is_measured(repository: Path) -> None:
    command = [sys.executable, "tools/bench_bytenet.py", "train", "--json", "--channels", "8", "--repeats", "1"]
    made = subprocess.run([*command, "--cycles", "1"], cwd=repository, capture_output=True, text=True, timeout=100)
    row = json.loads(made.stdout.splitlines()[-1])
    assert 0 < row["share_of_products"] < 1
    assert row["parameters"] > 1000
