"""The recipes of adversarial training run through; on a known process it goes the right way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recipes.conftest import Tiny


def test_an_adversarial_generator_makes_likelier_samples(tiny: Tiny, tmp_path: Path) -> None:
    """The tiny form: estimates agree with enumeration, and samples are likelier than those of likelihood alone."""
    out = tmp_path / "exp"
    said = tiny("synthetic/actual", out, TEMPERATURES="0.8 1")
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
    assert "| exact entropy process | 1.893 | 1.893 | 1.893 |" in said


def test_characters_are_judged_by_a_network_of_another_text(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    """On some pages, behind all the characters that the first half of the plays has."""
    plays = (shared_data / "text/tinyshakespeare.txt").read_text(encoding="utf-8")
    corpus = tmp_path / "plays.txt"
    corpus.write_text("".join(sorted(set(plays[: len(plays) * 45 // 100]))) + plays[:40_000], encoding="utf-8")
    sizes = {"TEMPERATURES": "0.7 1", "SAMPLES": "40", "EXAMPLES": "2"}
    said = tiny("shakespeare/actual", tmp_path, "--corpus", corpus, **sizes)
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
    assert said.count("\n| 0/") == 4
