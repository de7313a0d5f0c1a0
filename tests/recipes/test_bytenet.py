"""The recipes of convolutional language models in their tiny form, on real texts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("corpus", "least", "most"), [("shakespeare", 3, 4.5), ("enwiki", 3, 7)], ids=["shakespeare", "enwiki"]
)
def test_a_text_is_learnt_and_judged(
    corpus: str, least: float, most: float, shared_data: Path, repository: Path, tmp_path: Path
) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given: dict[str, Any] = {"cwd": repository, "env": os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}}
    recipe = f"egs/{corpus}/bytenet"
    command = ["bash", f"{recipe}/run.sh", "--corpus", str(shared_data / "text"), "--out", str(tmp_path)]
    command += ["--conf", f"{recipe}/conf/tiny.yaml"]
    made = subprocess.run(command, capture_output=True, text=True, timeout=300, **given)
    assert made.returncode == 0, made.stderr[-2000:]
    found = json.loads((tmp_path / "eval.json").read_text())
    assert least < found["bits_per_byte"] < most
    assert len(made.stdout) > 300


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
