"""The recipes of professor forcing on pictures and on sound run through in their tiny forms; what they measure."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from egs.images.professor_forcing.pictures import binary
from egs.yesno.professor_forcing.spectra import bands, distance
from tests.recipes.conftest import Tiny


def test_pictures_are_sequences_of_binary_pixels(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    few = {"SIDE": "7", "TRAIN": "300", "TEST": "40", "SAMPLES": "30"}
    said = tiny("images/professor_forcing", tmp_path, "--corpus", shared_data / "images", **few)
    pictures = sorted((tmp_path / "data.pixels/test").iterdir())
    assert len(pictures) == 40
    assert {len(one.read_bytes()) for one in pictures} == {49}
    for name in ("teacher", "professor"):
        found = json.loads((tmp_path / f"0/{name}/eval.json").read_text())
        nats = 49 * math.log(2) * found["bits_per_character"]
        assert f"| 0/{name} | {nats:.2f} ± " in said
        assert nats < 49 * math.log(3)
        assert found["oracle_bits_per_character"] > 0
        assert (tmp_path / f"0/{name}/samples.png").stat().st_size > 100


def test_a_pixel_is_the_mean_of_its_part() -> None:
    picture = np.zeros((1, 28, 28), np.uint8)
    picture[0, :2, 2:4] = [[255, 255], [255, 0]]
    picture[0, 27, 27] = 255
    found = binary(picture, 14)
    assert np.argwhere(found[0]).tolist() == [[0, 1]]
    assert binary(picture, 28).sum() == 4
    with pytest.raises(ValueError, match="a side of 9 does not divide 28"):
        binary(picture, 9)


def test_sound_goes_on_from_recordings(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    said = tiny("yesno/professor_forcing", tmp_path, "--corpus", shared_data / "yesno", PLACES="6", MULTIPLES="3")
    assert "| dB | to 10 ms | to 20 ms | to 30 ms |" in said
    found = json.loads((tmp_path / "spectra.json").read_text())
    assert set(found) == {"other stretches of the recordings", "0/teacher", "0/professor"}
    assert all(len(values) == 3 for values in found.values())
    assert min(found["0/teacher"]) > max(found["other stretches of the recordings"])
    assert json.loads((tmp_path / "0/professor/eval.json").read_text())["bits_per_sample"] > 0
    assert (tmp_path / "spectra.png").stat().st_size > 1000


def test_spectra_are_compared_position_by_position() -> None:
    rng = np.random.default_rng(0)
    quiet, loud = (rng.standard_normal((400, 480)) * scale for scale in (0.01, 0.1))
    once, twice = bands(quiet, 8000, 240), bands(loud, 8000, 240)
    assert once.shape == (400, 2, 20)
    assert distance(once, once) == pytest.approx([0, 0])
    assert distance(once, twice) == pytest.approx([20, 20], abs=0.5)  # ten times the amplitude
    half = bands(np.concatenate([quiet[:, :240], loud[:, 240:]], axis=1), 8000, 240)
    apart = distance(half, once)
    assert apart[0] < 2 < 15 < apart[1]
