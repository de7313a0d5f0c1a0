"""Recordings of every length: what is too short for a frame or a metric is left out by name and count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqgen.audio import io
from seqgen.audio.features import log_mel
from seqgen.data import directory
from seqgen.data.directory import Utterance
from seqgen.metrics.griffin_lim import griffin_lim
from seqgen.spec import FeatureSpec
from tests.unit.cli_workspace import CONFIG, done, refused

RATE, HOP, WINDOW = 8000, 80, 160
LENGTHS = [1, 2, HOP - 1, HOP, HOP + 1, WINDOW - 1, WINDOW, 199, 200, 204, 205, 266, 267, 2400]


def recordings(folder: Path, lengths: list[int]) -> Path:
    """A data directory of one recording of each length."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    noise, made = np.random.default_rng(0), []
    for number, samples in enumerate(lengths):
        path = folder.parent / f"{folder.name}-{number:02d}.wav"
        io.write(path, (0.1 * noise.standard_normal(samples)).astype(np.float32), RATE)
        made.append(Utterance(f"anna-{samples:04d}", path, RATE, 0, samples, "anna", "word"))
    directory.write(folder, made)
    return folder


def configuration(root: Path) -> Path:
    path = root / "tiny.yaml"
    path.write_text(CONFIG.format(root=root))
    return path


def test_training_and_evaluation_leave_out_what_is_too_short(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        recordings(tmp_path / "data" / split, LENGTHS)
    told = done("train", configuration(tmp_path), "--out", tmp_path / "exp").err
    few = "3 of 14 recordings are shorter than a frame of 80 samples: left out (anna-0001, anna-0002, anna-0079)"
    assert told.count(few) == 2  # once for each split
    assert "11 utterances" in told
    evaluated = done("eval", tmp_path / "exp")
    assert few in evaluated.err
    assert evaluated.out.startswith("11 utterances")
    for milliseconds, count, names in (
        ("25.0", 5, "mcd, log_spectral_distance"),
        ("25.6", 7, "stoi"),
        ("33.3", 9, "log_f0_rmse, vuv_error, log_f0_rmse_harvest, vuv_error_harvest"),
    ):
        what = f"{count} of 11 recordings are shorter than {milliseconds} ms: left out of {names}"
        assert f"{what} (anna-0080, anna-0081, " in evaluated.out


@pytest.mark.parametrize("split", ["train", "valid"])
def test_recordings_that_are_all_too_short_are_refused(tmp_path: Path, split: str) -> None:
    for name in ("train", "valid", "test"):
        recordings(tmp_path / "data" / name, [1, HOP - 1] if name == split else [2400])
    error = refused("train", configuration(tmp_path), "--out", tmp_path / "exp")
    assert f"data/{split}: all 2 recordings are shorter than a frame of 80 samples; give longer recordings" in error
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize("samples", LENGTHS[:-1])
def test_griffin_lim_of_every_length(samples: int, recwarn: pytest.WarningsRecorder) -> None:
    spec = FeatureSpec(RATE, 512, 320, HOP, 16)
    noise = np.random.default_rng(0).standard_normal(samples)
    assert griffin_lim(log_mel(noise, spec), spec, samples).shape == (samples,)
    assert not recwarn.list
