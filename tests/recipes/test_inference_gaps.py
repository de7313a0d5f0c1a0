"""The recipe of gaps of inference in its tiny form."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_gaps_are_in_the_table(repository: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "ENCODERS": "flow",
        "MEASURE": "--examples 8 --samples 50 --temperatures 8 --chains 4 --leapfrog 2 --search-steps 30",
    }
    command = ["bash", "egs/digits/inference_gaps/run.sh", "--conf", "egs/digits/inference_gaps/conf/tiny.yaml"]
    made = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    rows = [line.split("|")[1:-1] for line in (tmp_path / "out" / "table.md").read_text().splitlines()][2:]
    assert [[row[0].strip(), row[1].strip()] for row in rows] == [
        ["flow, seed 0", split] for split in ("train", "test")
    ]
    for row in rows:
        approximation, amortisation, inference = (float(row[at].split("±")[0]) for at in (5, 6, 7))
        assert abs(approximation + amortisation - inference) < 0.02
