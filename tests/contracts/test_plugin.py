"""A package of its own (tests/plugin) adds a method, a model and a task by entry points: no line changes here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = {"objective": "word-dropout", "model": "elman", "task": "counting"}


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has put the package, beside nothing else."""
    source, target = (tmp_path_factory.mktemp("plugin") / name for name in ("source", "site"))
    shutil.copytree(repository / "tests/plugin", source)  # pip builds inside what it is given
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in target.iterdir()} >= {"counting"}
    return target


def run(installed: Path, *words: object, at: Path) -> str:
    """Standard output of a Python program that finds the installed package."""
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=at, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def seqgen(installed: Path, *words: object, at: Path) -> str:
    return run(installed, "-m", "seqgen.cli.main", *words, at=at)


@pytest.fixture(scope="module")
def trained(repository: Path, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment of its.yaml."""
    home = tmp_path_factory.mktemp("trained")
    seqgen(installed, "train", repository / "tests/plugin/its.yaml", "--out", "exp", at=home)
    return home / "exp"


def test_its_names_are_listed(installed: Path, tmp_path: Path) -> None:
    found = json.loads(seqgen(installed, "info", "--json", at=tmp_path))
    for kind, name in NAMES.items():
        assert name in found[kind]
        assert len(found[kind]) > 1
    assert not set(NAMES.values()) & {name for kind in NAMES for name in json.loads(
        seqgen(tmp_path, "info", "--json", at=tmp_path))[kind]}  # fmt: skip


def test_it_learns_and_is_evaluated(installed: Path, trained: Path) -> None:
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [row["loss"] for row in rows if row["split"] == "valid"]
    assert losses[-1] < losses[0]
    table = json.loads(seqgen(installed, "eval", trained, "--json", at=trained.parent))
    assert table["least_nats_per_symbol"] < table["nats_per_symbol"] < losses[0]
    assert len(table["examples"]["nats_per_symbol"]) == 32


def test_it_resumes_exactly(repository: Path, installed: Path, trained: Path, tmp_path: Path) -> None:
    again = tmp_path / "exp"
    shutil.copytree(trained, again)
    newest = max((again / "checkpoints").glob("step-*"))
    assert newest.name.endswith("20")
    shutil.rmtree(newest)
    seqgen(installed, "train", repository / "tests/plugin/its.yaml", "--out", again, "--resume", at=tmp_path)
    files = sorted(newest.glob("*.safetensors"))
    assert {path.stem for path in files} >= {"model", "optimiser", "ema"}
    for path in files:
        assert path.read_bytes() == (trained / "checkpoints" / newest.name / path.name).read_bytes(), path.name


def test_the_laws_run_over_it(repository: Path, installed: Path) -> None:
    """As over every row: nothing names the package."""
    laws = [f"tests/contracts/test_laws.py::test_laws[{kind}-{name}]" for kind, name in NAMES.items()]
    said = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", *laws, at=repository)
    assert "3 passed" in said
