"""The recipes of latent-variable models run through in their tiny forms."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from tests.recipes.conftest import Tiny


def evaluated(run: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((run / "eval.json").read_text())
    return found


def test_total_correlation_of_discs(tiny: Tiny, tmp_path: Path) -> None:
    said = tiny("synthetic/beta_tcvae", tmp_path, RATES="stratified", BETAS="4", SIDE="8", SIZES="2")
    found = evaluated(tmp_path / "stratified-4-0")
    assert 0 <= found["mutual_information_gap"] <= 1
    assert found["information_of_size_cap"] - math.log(2) < 1e-6
    assert "mutual information gap" in said
    assert (tmp_path / "curve.png").exists()


def test_rate_against_distortion_of_digits(tiny: Tiny, tmp_path: Path) -> None:
    said = tiny("digits/broken_elbo", tmp_path, DECODERS="autoregressive", BETAS="0.5", TARGET="2")
    for name in ("autoregressive-0.5-0", "autoregressive-target-0"):
        found = evaluated(tmp_path / name)
        assert found["rate"] + found["distortion"] + found["elbo"] < 1e-3
        assert name in said
    assert (tmp_path / "autoregressive.png").exists()


def test_associative_compression_of_digits(tiny: Tiny, tmp_path: Path) -> None:
    said = tiny("digits/acn", tmp_path, VARIANTS="acn")
    found = evaluated(tmp_path / "0/acn")
    assert found["marginal_rate"] - found["rate"] < math.log(1439) + 1
    assert 0 <= found["class_by_nearest_codes"] <= 100
    assert (tmp_path / "0/acn/pictures/variations-00000004.png").exists()
    assert f"| 0/acn | {-found['elbo']:.2f} ± " in said
    assert "Naming one of 1,439 rows costs 7.27 nats, an order of all of them saves at most 6.27 nats a row" in said


def test_associative_compression_of_handwriting(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    options, counts = ("--corpus", str(shared_data / "images")), "--train 60 --valid 20 --test 20"
    said = tiny("mnist/acn", tmp_path, *options, VARIANTS="acn", COUNTS=counts)
    found = evaluated(tmp_path / "0/acn")
    assert found["pictures"] == 20
    assert "Naming one of 60 rows costs 4.09 nats" in said


def test_slow_codes_of_handwriting(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    options, counts = ("--corpus", str(shared_data / "images")), "--train 60 --valid 20 --test 20"
    said = tiny("mnist/delta_vae", tmp_path, *options, VARIANTS="delta", COUNTS=counts)
    found = evaluated(tmp_path / "0/delta")
    assert found["rate"] > found["committed_rate"] > 6
    assert "| 0/delta-fitted | " in said


def test_slow_codes_of_text(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    corpus = str(shared_data / "text")
    said = tiny("shakespeare/delta_vae", tmp_path, "--corpus", corpus, VARIANTS="delta")
    found = evaluated(tmp_path / "0/delta")
    assert found["rate"] > found["committed_rate"] > 1
    assert "| 0/delta-fitted | " in said


def test_slow_codes_of_a_hidden_class(tiny: Tiny, tmp_path: Path) -> None:
    said = tiny("synthetic/delta_vae", tmp_path, VARIANTS="delta")
    found, fitted = (evaluated(tmp_path / f"0/{name}") for name in ("delta", "delta-fitted"))
    assert found["rate"] > found["committed_rate"] > 1
    assert found["distortion"] == fitted["distortion"]
    assert "committed_rate" not in fitted
    assert "| 0/decoder | " in said


def test_evidence_of_pictures(tiny: Tiny, tmp_path: Path) -> None:
    x = np.random.Generator(np.random.Philox(0)).integers(0, 256, (80, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=x[:60], x_test=x[60:])
    few = {"BOUNDS": "importance-weighted", "EXAMPLES": "6", "SAMPLES": "60"}
    few["MEASURE"] = "--examples 4 --samples 20 --temperatures 4 --chains 2 --families none --search-steps 5"
    said = tiny("mnist/vae", tmp_path / "exp", "--corpus", str(tmp_path), TRAIN="50", **few)
    (row,) = json.loads((tmp_path / "exp/evidence.json").read_text())["models"]
    assert row["evidence"] > row["elbo"]
    assert "by 60 samples" in said
    gaps = json.loads((tmp_path / "exp/importance-weighted-0/gaps.json").read_text())["test"]
    assert gaps["log_evidence"] >= gaps["encoder_bound"] - 1e-3
