"""The recipes of contrastive predictive coding run through, and learn to tell what comes from what does not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.conftest import Run, Tiny

RECIPES = {"fsdd": "fsdd", "librispeech": "librispeech-mini", "shakespeare": "text"}
CANDIDATES = {"fsdd": 128, "librispeech": 128, "shakespeare": 64}


def scores(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "eval.json").read_text())
    return found


@pytest.mark.parametrize("corpus", RECIPES)
def test_an_encoder_learns_what_comes(corpus: str, tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    """It does clearly better than by chance, on other recordings, and the cap is said beside what it bounds."""
    given = ("--corpus", shared_data / RECIPES[corpus])
    tiny(f"{corpus}/cpc", tmp_path / "exp", *given, TARGETS="", SUPERVISED="2")
    found = scores(tmp_path / "exp")
    assert found["accuracy_1"] > 2 / CANDIDATES[corpus]
    assert found["information_1"] > 0.1
    assert found["loss"] == pytest.approx(math.log(CANDIDATES[corpus]) - found["information"], abs=1e-4)
    assert found["information_cap"] == pytest.approx(math.log(CANDIDATES[corpus]))
    if corpus == "librispeech":
        assert (tmp_path / "exp" / "speaker.json").stat().st_size > 0


def test_kinds_of_negatives_are_compared(run: Run, shared_data: Path, tmp_path: Path) -> None:
    given = ("--corpus", shared_data / "fsdd", "--conf", "egs/fsdd/cpc/conf/tiny.yaml", "--out", tmp_path)
    made = run("fsdd/cpc/ablation.sh", *given, AHEAD="4", NEGATIVES="sequence", UPDATES="4", TARGETS="")
    assert {path.parent.name for path in tmp_path.glob("*/eval.json")} == {"steps-4", "sequence"}
    assert "| information 4 |" in made.stdout
