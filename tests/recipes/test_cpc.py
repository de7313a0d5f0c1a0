"""The recipes of contrastive predictive coding run through, and learn to tell what comes from what does not."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RECIPES = {"fsdd": "fsdd", "librispeech": "librispeech-mini", "shakespeare": "text"}
CANDIDATES = {"fsdd": 128, "librispeech": 128, "shakespeare": 64}


def run(repository: Path, script: str, *options: str, **assigned: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"} | assigned
    made = subprocess.run(
        ["bash", f"egs/{script}", *options],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    return made


def scores(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "eval.json").read_text())
    return found


@pytest.mark.parametrize("corpus", RECIPES)
def test_an_encoder_learns_what_comes(corpus: str, shared_data: Path, repository: Path, tmp_path: Path) -> None:
    """It does clearly better than by chance, on other recordings, and the cap is said beside what it bounds."""
    conf = repository / f"egs/{corpus}/cpc/conf/tiny.yaml"
    given = ("--corpus", str(shared_data / RECIPES[corpus]), "--conf", str(conf), "--out", str(tmp_path / "exp"))
    run(repository, f"{corpus}/cpc/run.sh", *given, TARGETS="", SUPERVISED="2")
    found = scores(tmp_path / "exp")
    assert found["accuracy_1"] > 2 / CANDIDATES[corpus]
    assert found["information_1"] > 0.1
    assert found["loss"] == pytest.approx(math.log(CANDIDATES[corpus]) - found["information"], abs=1e-4)
    assert found["information_cap"] == pytest.approx(math.log(CANDIDATES[corpus]))
    if corpus == "librispeech":
        assert (tmp_path / "exp" / "speaker.json").stat().st_size > 0


def test_kinds_of_negatives_are_compared(shared_data: Path, repository: Path, tmp_path: Path) -> None:
    conf = repository / "egs/fsdd/cpc/conf/tiny.yaml"
    given = ("--corpus", str(shared_data / "fsdd"), "--conf", str(conf), "--out", str(tmp_path))
    made = run(repository, "fsdd/cpc/ablation.sh", *given, AHEAD="4", NEGATIVES="sequence", UPDATES="4")
    assert {path.parent.name for path in tmp_path.glob("*/eval.json")} == {"steps-4", "sequence"}
    assert "| information 4 |" in made.stdout
