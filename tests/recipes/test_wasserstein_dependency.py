"""The recipe of constrained critics in its tiny form: every way is trained, measured and probed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.recipes.conftest import Tiny
from tests.recipes.test_latent_variables import evaluated


def test_every_way_is_probed(tiny: Tiny, tmp_path: Path) -> None:
    ways = ("cpc", "wpc", "wpc-spectral", "cpc-decay")
    chosen = {"WAYS": " ".join(ways), "DIGITS": "2", "SEEDS": "0", "BASELINE": "50"}
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
