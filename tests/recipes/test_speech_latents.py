"""The recipes of latent variables of speech run through in their tiny forms, on tones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from egs.fsdd.beta_tcvae.pictures import median_pitch, quarters
from egs.fsdd.beta_tcvae.table import interval
from egs.fsdd.svae.units import changes, evenly, f1, jumps
from seqgen.pictures.directory import PictureData
from seqgen.tasks.vocoder.examples import record
from tests.recipes.conftest import Tiny
from tests.recipes.test_latent_variables import evaluated


def test_states_of_speech_are_judged(tiny: Tiny, tmp_path: Path) -> None:
    record(tmp_path / "data")
    names = (tmp_path / "data/test/utt2spk").read_text().split()[::2]
    (tmp_path / "phones.ctm").write_text(
        "".join(
            f"{name} 1 0.000 0.070 {a}\n{name} 1 0.070 0.200 {b}\n"
            for name, a, b in zip(names, "AABC", "BCAA", strict=True)
        )
    )
    few = {"PHONES": str(tmp_path / "phones.ctm"), "RUNS": "switching"}
    said = tiny("fsdd/svae", tmp_path / "exp", "--data", str(tmp_path / "data"), **few)
    found = json.loads((tmp_path / "exp/units.json").read_text())
    assert set(found) == {"0/switching", "k-means", "equal distances"}
    for row in found.values():
        assert all(0 <= row[name] <= 1 for name in row if name.startswith(("nmi", "purity", "f1")))
    assert "| equal distances | " in said
    assert (tmp_path / "exp/units.png").stat().st_size > 1000


def test_total_correlation_of_speech(tiny: Tiny, tmp_path: Path) -> None:
    record(tmp_path / "data")
    few = {"RATES": "stratified", "BETAS": "4", "BANDS": "8", "FRAMES": "8"}
    said = tiny("fsdd/beta_tcvae", tmp_path / "exp", "--data", str(tmp_path / "data"), **few)
    found = evaluated(tmp_path / "exp/stratified-4-0")
    assert 0 <= found["mutual_information_gap"] <= 1
    about = PictureData.open(tmp_path / "exp/pictures").facts
    assert (about.shape, about.factors) == ((1, 8, 8), ("digit", "speaker", "pitch"))
    assert f"| stratified | 4 | 1 | {found['mutual_information_gap']:.3f} | " in said
    assert (tmp_path / "exp/curve.png").exists()


def test_slow_codes_of_waveforms(tiny: Tiny, tmp_path: Path) -> None:
    record(tmp_path / "data")
    said = tiny("fsdd/delta_vae", tmp_path / "exp", "--data", str(tmp_path / "data"), VARIANTS="delta")
    found, fitted = (evaluated(tmp_path / f"exp/0/{name}") for name in ("delta", "delta-fitted"))
    assert found["rate"] > found["committed_rate"] > 1
    assert found["distortion"] == pytest.approx(fitted["distortion"])  # the prior alone moves
    assert "| 0/delta-fitted | " in said


@pytest.mark.parametrize("hz", [90.0, 150.0, 300.0])
def test_pitch_is_that_of_a_buzz(hz: float) -> None:
    buzz = np.sign(np.sin(2 * np.pi * hz * np.arange(4000) / 8000)).astype(np.float32)
    assert median_pitch(buzz, 8000) == pytest.approx(hz, rel=0.02)


def test_noise_and_silence_have_no_pitch() -> None:
    noise = np.random.Generator(np.random.Philox(0)).standard_normal(4000).astype(np.float32)
    assert np.isnan(median_pitch(noise, 8000))
    assert np.isnan(median_pitch(np.zeros(100, np.float32), 8000))
    found = quarters(np.array([80.0, 110.0, 150.0, 400.0, np.nan]), np.array([100.0, 120.0, 200.0]))
    assert found.tolist() == [0, 1, 2, 3, 4]


def test_boundaries_of_recordings_stand_apart() -> None:
    found = {"a": np.array([1, 1, 1, 2, 2, 3]), "b": np.array([4, 5, 5, 5])}
    assert changes(found["a"]).tolist() == [3, 5]
    assert f1(found, {"a": np.array([2, 5]), "b": np.array([1])}) == 1.0
    assert f1(found, {"a": np.array([1]), "b": np.array([3])}) == 0.0
    assert [len(np.unique(one)) for one in evenly(found).values()] == [3, 2]
    assert [changes(one).tolist() for one in evenly(found).values()] == [[2, 4], [2]]


def test_the_sound_changes_at_a_step() -> None:
    frames = np.repeat([[0.0, 0.0], [3.0, 4.0]], [6, 6], axis=0).astype(np.float32)
    assert jumps(frames).tolist() in ([5], [6])


def test_intervals_are_over_seeds() -> None:
    assert interval([0.5], 3) == "0.500"
    assert interval([1.0, 2.0, 3.0], 2) == f"2.00 ± {4.302653 / np.sqrt(3):.2f}"
