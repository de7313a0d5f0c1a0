"""The recipes that compare estimators of gradients run through in their tiny forms."""

from __future__ import annotations

from pathlib import Path

from tests.recipes.conftest import Tiny
from tests.recipes.test_latent_variables import evaluated


def cells(said: str, first: str) -> dict[str, list[str]]:
    """Cells of the rows of a table that begin with a name, by the second."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if line.startswith("|")]
    return {row[1]: row[2:] for row in rows if row[0] == first}


def test_path_derivatives_of_digits(tiny: Tiny, tmp_path: Path) -> None:
    chosen = {"ESTIMATORS": "path doubly-5", "SEEDS": "0", "SAMPLES": "5", "DRAWS": "20"}
    said = tiny("digits/sticking_the_landing", tmp_path, **chosen)
    assert evaluated(tmp_path / "doubly-5-0")["evidence"] < 0
    found = {name: float(row[0]) for name, row in cells(said, "path-0").items()}
    assert set(found) == {"total", "closed", "path", "total-5", "path-5", "doubly-5"}
    assert found["path"] < 0.5 * found["total"]
    assert found["doubly-5"] < found["path-5"] < found["total-5"]


def test_symbols_of_a_pinwheel(tiny: Tiny, tmp_path: Path) -> None:
    chosen = {"ESTIMATORS": "gumbel-softmax score-function", "SEEDS": "0", "DRAWS": "20"}
    said = tiny("synthetic/gumbel_softmax", tmp_path, **chosen)
    found = {name: [float(cell) for cell in row] for name, row in cells(said, "gumbel-softmax-0").items()}
    assert len(found) == 11
    assert found["gumbel-2"][0] < found["gumbel-0.5"][0] < found["gumbel-0.1"][0]
    assert found["gumbel-1"][0] < found["score-none-2"][0]
    assert found["gumbel-2"][1] > 0.05 * found["gumbel-2"][2]


def test_symbols_of_pictures(tiny: Tiny, tmp_path: Path) -> None:
    said = tiny("mnist/gumbel_softmax", tmp_path, ESTIMATORS="straight-through score-function", SEEDS="0")
    for name in ("straight-through", "score-function"):
        found = evaluated(tmp_path / f"{name}-0")
        assert found["rate"] + found["distortion"] + found["elbo"] < 1e-3
        assert f"| {name} | 1 |" in said
