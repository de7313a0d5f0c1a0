"""The table of several evaluations: every measure of every experiment, also those that one of them lacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def evaluated(path: Path, kl: float, **scores: tuple[float, float | None]) -> str:
    path.mkdir()
    heard = {name: {"mean": mean, "half_width": half, "utterances": 3} for name, (mean, half) in scores.items()}
    report = {"utterances": 3, "kl": kl, "kl_95": 0.25, "scores": heard, "griffin_lim": {"mcd": heard["mcd"]}}
    (path / "eval.json").write_text(json.dumps(report))
    return str(path)


def test_columns_are_experiments(repository: Path, tmp_path: Path) -> None:
    first = evaluated(tmp_path / "first", 1.5, mcd=(8.0, 0.5), f0=(0.25, None))
    second = evaluated(tmp_path / "second", 0.5, mcd=(7.0, 0.125))
    command = [sys.executable, str(repository / "tools/report_table.py")]
    made = subprocess.run([*command, first, second], capture_output=True, text=True, check=True).stdout.splitlines()
    assert made == [
        "|  | first | second | Griffin–Lim |",
        "|---|---|---|---|",
        "| kl | 1.500 ± 0.250 | 0.500 ± 0.250 | – |",
        "| mcd | 8.000 ± 0.500 | 7.000 ± 0.125 | 8.000 ± 0.500 |",
        "| f0 | 0.250 | – | – |",
    ]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "EXPERIMENT" in refused.stderr
