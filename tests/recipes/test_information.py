"""The recipe of mutual information in its tiny form: both kinds of bounds go through every stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from egs.synthetic.information.table import Found
from tests.recipes.conftest import Tiny


def test_bounds_go_through_and_lie_below_what_is_known(tiny: Tiny, tmp_path: Path) -> None:
    said = tiny("synthetic/information", tmp_path, FORMS="gaussian", BOUNDS="infonce nwj", LEVELS="2", SEEDS="0")
    runs = {bound: tmp_path / "gaussian" / bound / "2" / "0" for bound in ("infonce", "nwj")}
    found = {bound: json.loads((run / "eval.json").read_text()) for bound, run in runs.items()}
    for one in found.values():
        assert one["known_information"] == 2.0
        assert 1.4 < one["information"] < 2.0 + one["information_95"]
    assert found["infonce"]["information_cap"] == pytest.approx(3.4657, abs=1e-4)
    assert "information_cap" not in found["nwj"]
    rows = [line.split(" | ") for line in said.splitlines()][2:]
    assert [row[:3] for row in rows] == [["| gaussian", "2", "infonce"], ["| gaussian", "2", "nwj"]]
    assert [row[3] for row in rows] == [f"{one['information']:.2f}" for one in found.values()]
    assert (tmp_path / "bounds.png").stat().st_size > 1000


def test_error_is_bias_and_scatter_together() -> None:
    """Of two runs, one 1 nat too low, one 1 too high, whose batches deviate by 2."""
    runs = [
        {"information": mean, "information_95": 3.182446, "examples": {"information": [0.0] * 4}} for mean in (3, 5)
    ]
    found = Found("gaussian", "nwj", 4.0, tuple(runs))
    assert (found.information, found.deviation, found.error) == pytest.approx((4, 2, 5**0.5))
    assert found.cells()[5:] == ["+0.00", "2.00", "2.24", "none"]
