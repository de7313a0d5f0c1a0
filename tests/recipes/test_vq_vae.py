"""The recipes of VQ-VAE run through in their tiny forms."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from seqgen.audio import io
from seqgen.compression.code_file import CodeFile
from tests.recipes.conftest import Tiny
from tests.recipes.test_latent_variables import evaluated


def test_codebooks_on_sequences_of_a_known_class(tiny: Tiny, tmp_path: Path) -> None:
    said = tiny("synthetic/vq_vae", tmp_path, CLASSES="4")
    found, fitted = (evaluated(tmp_path / f"0/codebook-4{kind}") for kind in ("", "-fitted"))
    assert found["rate"] == pytest.approx(math.log(4))
    assert fitted["distortion"] == pytest.approx(found["distortion"])  # the prior alone moves
    assert fitted["rate"] != pytest.approx(found["rate"])
    assert 1 <= found["perplexity"] <= 4
    assert "0/gaussian" in said


def test_symbols_of_pictures(tiny: Tiny, tmp_path: Path) -> None:
    x = np.random.Generator(np.random.Philox(0)).integers(0, 256, (80, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=x[:60], x_test=x[60:])
    tiny("mnist/vq_vae", tmp_path / "exp", "--corpus", str(tmp_path), TRAIN="50")
    found, fitted = (evaluated(tmp_path / f"exp/0/codebook-8{kind}") for kind in ("", "-fitted"))
    assert found["rate"] == pytest.approx(4 * math.log(8))
    assert fitted["distortion"] == pytest.approx(found["distortion"])
    assert (tmp_path / "exp/0/codebook-8-fitted/samples.png").exists()


def test_a_codec_of_digits(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    corpus = ("--corpus", str(shared_data / "fsdd"))
    few = "--learnt 60 --held 30 --matched 12"
    said = tiny("fsdd/vq_vae", tmp_path, *corpus, CONVERSION=few, RATES="--held 10")
    with CodeFile(tmp_path / "george-0-00.sgc") as codes:
        audio, rate = io.read(tmp_path / "george-0-00.wav")
        assert (len(audio), rate) == (codes.header.samples, codes.header.sample_rate) == (2384, 8000)
        assert codes.header.classes == 32
    told = json.loads((tmp_path / "conversion.json").read_text())
    assert set(told["listeners"]) == {"recordings", "decoded recordings"}
    shares = told["listeners"]["recordings"]["another voice"]
    assert 0 <= shares["nearer"][0] <= 100
    assert told["listeners"]["recordings"]["recordings"]["nearer"][0] == 0  # no voice is nearer to itself
    assert "| decoded recordings | another voice |" in said
    assert len(io.read(tmp_path / "fitted/george-0-00.wav")[0]) == 2384
    rows = [line.split(" | ") for line in (tmp_path / "bit_rates.md").read_text().splitlines()[2:]]
    fixed, _, claimed, coded, whole = (float(row[2].rstrip(" |")) for row in rows)
    assert fixed > coded > claimed
    assert whole <= 1.005 * claimed + 64 * 8 / 3  # of three seconds and more


def test_a_codec_of_readers(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    corpus = ("--corpus", str(shared_data / "librispeech-mini"))
    few = "--learnt 40 --held 6 --matched 20"
    said = tiny("librispeech/vq_vae", tmp_path, *corpus, CONVERSION=few)
    told = json.loads((tmp_path / "conversion.json").read_text())
    assert set(told["probes"]) == {"speaker"}  # transcripts, where there are any, are sentences
    assert "| decoded recordings | another voice |" in said
