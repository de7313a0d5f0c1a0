"""The recipe of structured VAEs runs through."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_clusters_are_judged_and_frames_foretold(repository: Path, tmp_path: Path) -> None:
    """The tiny form: every run is judged, by its clusters or by what it foretells, and pictures are made."""
    out, conf = tmp_path / "exp", repository / "egs/synthetic/svae/conf/tiny.yaml"
    command = ["bash", "egs/synthetic/svae/run.sh", "--conf", str(conf), "--out", str(out)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": path,
        "OMP_NUM_THREADS": "1",
        "SEEN": "6",
        "RUNS": "mixture vae dynamics dot-vae",
    }
    made = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=400)
    assert made.returncode == 0, made.stderr[-2000:]
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
