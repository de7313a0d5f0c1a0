"""The recipe of recursive evidence chains in its tiny form: every method goes through every stage."""

from __future__ import annotations

import json
from pathlib import Path

from tests.recipes.conftest import Tiny


def test_methods_go_through_and_are_put_side_by_side(tiny: Tiny, tmp_path: Path) -> None:
    said = tiny("synthetic/evidence_chains", tmp_path, SEEDS="0", SIZES="1", DECAYS="1", TARGET="0.9")
    found = {path.parent.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("1/0/*/*/eval.json")}
    assert set(found) == {"means", "factorisation", "chains"}
    assert found["factorisation"]["rmse"] < found["means"]["rmse"] < found["means"]["deviation"]
    assert found["chains"]["rmse"] < found["chains"]["deviation"]
    for one in found.values():
        assert one["rmse_given_20"] < one["rmse_given_1"]
    table = [line for line in said.splitlines() if line.startswith("| ")]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert [line[1] for line in lines] == [
        *("method", "means", "factorisation", "chains", "chains less means", "chains less factorisation")
    ]
    assert lines[2][3] == f"{found['factorisation']['rmse']:.3f}"
    apart = found["chains"]["rmse"] - found["factorisation"]["rmse"]
    assert lines[5][3].startswith(f"{apart:+.3f} ± ")
