"""The recipe of mutual information in its tiny form: both kinds of bounds go through every stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recipes.conftest import Tiny


def test_bounds_go_through_and_lie_below_what_is_known(tiny: Tiny, tmp_path: Path) -> None:
    said = tiny("synthetic/information", tmp_path, BOUNDS="infonce nwj", LEVELS="2", SEEDS="0")
    runs = {bound: tmp_path / bound / "2" / "0" for bound in ("infonce", "nwj")}
    found = {bound: json.loads((run / "eval.json").read_text()) for bound, run in runs.items()}
    for one in found.values():
        assert one["known_information"] == 2.0
        assert 1.4 < one["information"] < 2.0 + one["information_95"]
    assert found["infonce"]["information_cap"] == pytest.approx(3.4657, abs=1e-4)
    assert "information_cap" not in found["nwj"]
    rows = [line.split(" | ") for line in said.splitlines()]
    assert [row[:2] for row in rows[2:]] == [["| 2", "infonce"], ["| 2", "nwj"]]
    assert [row[2] for row in rows[2:]] == [f"{one['information']:.2f}" for one in found.values()]
