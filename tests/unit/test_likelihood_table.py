"""The table that compares likelihoods: paired differences, and a clear word where the recordings differ."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seqgen.tasks.table import Table, ratio


def score(path: Path, each: dict[str, tuple[float, int]], name: str = "eval.json") -> Path:
    path.mkdir(exist_ok=True)
    figure = ratio(np.array([b for b, _ in each.values()]), np.array([n for _, n in each.values()]))
    found = Table("", {"bits_per_sample": figure}, examples={"bits_per_sample": each})
    (path / name).write_text(json.dumps({"path": path.name, **found.plain()}))
    return path


def table(repository: Path, *places: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / "tools" / "likelihood_table.py"), *map(str, places)]
    return subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)


def test_differences_are_paired(repository: Path, tmp_path: Path) -> None:
    first = score(tmp_path / "first", {"a": (800.0, 100), "b": (100.0, 100)})
    second = score(tmp_path / "second", {"a": (700.0, 100), "b": (0.0, 100)})
    score(second, {"a": (700.0, 100), "b": (0.0, 100)}, "float32.json")
    score(second, {"a": (701.0, 100), "b": (1.0, 100)}, "int8.json")
    lines = table(repository, first, second).stdout.splitlines()
    assert len(lines) == 4
    cells = [cell.strip() for cell in lines[3].strip("|").split("|")]
    # The means are far apart, the differences all one bit a sample; int8 costs a hundredth of a bit.
    assert cells[:4] == [
        "second",
        f"{3.5 * math.log(2):.4f} ± {12.7062 * 3.5 * math.log(2):.4f}",
        f"{-math.log(2):+.4f} ± 0.0000",
        f"{0.01 * math.log(2):+.4f} ± 0.0000",
    ]


def test_other_recordings_are_not_compared(repository: Path, tmp_path: Path) -> None:
    first = score(tmp_path / "first", {"a": (800.0, 100), "b": (100.0, 100)})
    second = score(tmp_path / "second", {"a": (700.0, 100), "c": (100.0, 100)})
    refused = table(repository, first, second)
    assert refused.returncode == 1
    assert "different recordings" in refused.stderr


def test_the_interval_is_that_of_a_ratio() -> None:
    rng = np.random.Generator(np.random.Philox(3))
    samples = rng.integers(50, 150, 2000)
    means = []
    for _ in range(300):
        mean, half, *_ = ratio(samples * 5.0 + rng.normal(0, 40, 2000), samples)
        means.append(mean)
    assert np.mean(means) == pytest.approx(5.0, abs=0.003)
    assert half == pytest.approx(1.96 * np.std(means), rel=0.15)
