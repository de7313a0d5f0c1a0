"""The recipe of structured VAEs runs through."""

from __future__ import annotations

import json
from pathlib import Path

from tests.recipes.conftest import Tiny


def test_clusters_are_judged_and_frames_foretold(tiny: Tiny, tmp_path: Path) -> None:
    """The tiny form: every run is judged, by its clusters or by what it foretells, and pictures are made."""
    out = tmp_path / "exp"
    tiny("synthetic/svae", out, SEEN="6", RUNS="mixture vae dynamics dot-vae")
    found = {place.parent.name: json.loads(place.read_text()) for place in out.glob("0/*/eval.json")}
    assert set(found) == {"mixture", "vae", "dynamics", "dot-vae"}
    clusters = json.loads((out / "clusters.json").read_text())
    assert set(clusters) == {"0/mixture", "0/vae"}
    assert all(-1 <= one["adjusted_rand_index"] <= 1 and 1 <= one["components"] <= 15 for one in clusters.values())
    foretold = json.loads((out / "predictions.json").read_text())
    assert set(foretold) == {
        "0/dynamics: inference",
        "0/dot-vae: map of codes",
        "0/dot-vae: prior's mean",
        "the last frame seen",
    }
    for picture in ("clusters", "predictions"):
        assert (out / f"{picture}.png").stat().st_size > 1000
