"""The recipe of mutual information in its tiny form: both kinds of bounds go through every stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = "egs/synthetic/information"


def test_bounds_go_through_and_lie_below_what_is_known(repository: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "BOUNDS": "infonce nwj",
        "LEVELS": "2",
        "SEEDS": "0",
    }
    command = ["bash", f"{RECIPE}/run.sh", "--conf", f"{RECIPE}/conf/tiny.yaml", "--out", str(tmp_path)]
    made = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=200)
    assert made.returncode == 0, made.stderr[-2000:]
    runs = {bound: tmp_path / bound / "2" / "0" for bound in ("infonce", "nwj")}
    found = {bound: json.loads((run / "eval.json").read_text()) for bound, run in runs.items()}
    for one in found.values():
        assert one["known_information"] == 2.0
        assert 1.4 < one["information"] < 2.0 + one["information_95"]
    assert found["infonce"]["information_cap"] == pytest.approx(3.4657, abs=1e-4)
    assert "information_cap" not in found["nwj"]
    rows = [line.split(" | ") for line in made.stdout.splitlines()]
    assert [row[:2] for row in rows[2:]] == [["| 2", "infonce"], ["| 2", "nwj"]]
    assert [row[2] for row in rows[2:]] == [f"{one['information']:.2f}" for one in found.values()]
