"""The recipe of constrained critics in its tiny form: every way is trained, measured and probed."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.recipes.conftest import Tiny
from tests.recipes.test_latent_variables import evaluated


def test_every_way_is_probed(tiny: Tiny, tmp_path: Path) -> None:
    ways = ("cpc", "wpc", "wpc-spectral", "cpc-decay")
    chosen = {"WAYS": " ".join(ways), "CELLS": "2", "SEEDS": "0", "BASELINE": "50"}
    said = tiny("digits/wasserstein_dependency", tmp_path, **chosen)
    found = {way: evaluated(tmp_path / f"2-{way}-0") for way in ways}
    for way, one in found.items():
        assert one["known_information"] == pytest.approx(2 * math.log(10))
        assert 0.5 < one["information"] <= one["information_cap"] == pytest.approx(math.log(32))
        assert 40 < one["probe_least"] <= one["probe_mean"] <= 100
        assert f"| 2-{way} | 1 | {one['probe_mean']:.2f} | {one['probe_least']:.2f} |" in said
    assert found["cpc"]["pixels_mean"] > 80
    assert found["cpc"]["supervised_mean"] > 40
    assert found["wpc"]["slope"] > 0
    assert found["wpc"]["dependency"] > 0
    assert "slope" not in found["cpc"]


def test_characters_of_alphabets_are_composed(tiny: Tiny, tmp_path: Path) -> None:
    """The larger of two alphabets goes to the only cell; ink is dark in the archive and bright in the drawings."""
    rng = np.random.Generator(np.random.Philox(0))
    with zipfile.ZipFile(tmp_path / "characters.zip", "w") as archive:
        for alphabet, characters in {"Small": 2, "Large": 3}.items():
            for character in range(characters):
                for take in range(16):
                    drawing = np.full((105, 105), 255, np.uint8)
                    drawing[20 * character + rng.integers(15) :][:25, 30:80] = 0
                    held = io.BytesIO()
                    Image.fromarray(drawing).save(held, "PNG")
                    archive.writestr(f"set/{alphabet}/character{character}/{take:02}.png", held.getvalue())
    out = tmp_path / "exp"
    chosen = {"CELLS": "1", "SEEDS": "0", "WAYS": "wpc", "HELD": "24"}
    said = tiny("omniglot/wasserstein_dependency", out, "--corpus", tmp_path / "characters.zip", **chosen)
    found = evaluated(out / "1-wpc-0")
    assert found["known_information"] == pytest.approx(math.log(3))
    assert 60 < found["probe_mean"] <= 100
    assert f"| 1-wpc | 1 | {found['probe_mean']:.2f} |" in said
