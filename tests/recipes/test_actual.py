"""The recipes of adversarial training run through; on a known process it goes the right way."""

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
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "TEMPERATURES": "0.8 1"}
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
    swept = json.loads((out / "temperatures.json").read_text())
    assert set(swept) == {"0/longer", "0/all-actions"}
    for name, one in swept.items():
        assert one["1"]["exact_kl_generator_process"] == found[name[2:]]["exact_kl_generator_process"]
        assert one["0.8"]["exact_entropy"] < one["1"]["exact_entropy"]
    assert (out / "temperatures.png").stat().st_size > 1000
    assert "| exact entropy process | 1.893 | 1.893 | 1.893 |" in made.stdout


def test_characters_are_judged_by_a_network_of_another_text(
    shared_data: Path, repository: Path, tmp_path: Path
) -> None:
    """On some pages, behind all the characters that the first half of the plays has."""
    plays = (shared_data / "text/tinyshakespeare.txt").read_text(encoding="utf-8")
    corpus, conf = tmp_path / "plays.txt", repository / "egs/shakespeare/actual/conf/tiny.yaml"
    corpus.write_text("".join(sorted(set(plays[: len(plays) * 45 // 100]))) + plays[:40_000], encoding="utf-8")
    command = ["bash", "egs/shakespeare/actual/run.sh", "--corpus", str(corpus), "--out", str(tmp_path)]
    sizes = {"TEMPERATURES": "0.7 1", "SAMPLES": "40", "EXAMPLES": "2", "OMP_NUM_THREADS": "1"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | sizes | {"PATH": path}
    made = subprocess.run(
        [*command, "--conf", str(conf)], cwd=repository, env=environment, capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr[-2000:]
    data = tmp_path / "data"
    parts = {name: (data / f"{name}.txt").read_bytes() for name in ("train", "valid", "test", "judge")}
    assert b"".join(parts.values()) == corpus.read_bytes()
    assert (data / "judge/train/text").read_bytes() == parts["judge"]
    assert (data / "judge/test/text").read_bytes() == parts["test"]
    swept = json.loads((tmp_path / "temperatures.json").read_text())
    assert set(swept) == {"0/longer", "0/all-actions"}
    for one in swept.values():
        assert one["0.7"]["sample_bits_per_character"] < one["1"]["sample_bits_per_character"]
        assert one["0.7"]["oracle_bits_per_character"] < one["1"]["oracle_bits_per_character"]
        assert one["1"]["oracle_bits_per_character_given"] == one["0.7"]["oracle_bits_per_character_given"]
    assert made.stdout.count("\n| 0/") == 4
