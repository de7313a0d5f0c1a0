"""The recipe of adversarial training on a known process runs through, and goes the right way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_an_adversarial_generator_makes_likelier_samples(repository: Path, tmp_path: Path) -> None:
    """The tiny form: estimates agree with enumeration, and samples are likelier than those of likelihood alone."""
    out, conf = tmp_path / "exp", repository / "egs/synthetic/actual/conf/tiny.yaml"
    command = ["bash", "egs/synthetic/actual/run.sh", "--conf", str(conf), "--out", str(out)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr[-2000:]
    found = {path.parent.name: json.loads(path.read_text()) for path in out.glob("0/*/eval.json")}
    assert set(found) == {"mle", "longer", "all-actions"}
    for one in found.values():
        for name in ("oracle_nll", "entropy", "kl_generator_process", "kl_process_generator"):
            assert one[name] == pytest.approx(one[f"exact_{name}"], abs=2 * one[f"{name}_95"])
        assert one["nll_process"] == found["mle"]["nll_process"]
    before, after = found["mle"], found["all-actions"]
    assert after["exact_oracle_nll"] < before["exact_oracle_nll"] - 0.05
    assert after["exact_kl_generator_process"] < before["exact_kl_generator_process"]
    assert after["gradient_variance_all_actions"] < after["gradient_variance_reinforce"] / 5
    assert "| exact entropy process | 1.893 | 1.893 | 1.893 |" in made.stdout
