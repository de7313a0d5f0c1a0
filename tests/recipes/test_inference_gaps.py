"""The recipe of gaps of inference in its tiny form."""

from __future__ import annotations

from pathlib import Path

from tests.recipes.conftest import Tiny


def test_gaps_are_in_the_table(tiny: Tiny, tmp_path: Path) -> None:
    measure = "--examples 8 --samples 50 --temperatures 8 --chains 4 --leapfrog 2 --search-steps 30"
    tiny("digits/inference_gaps", tmp_path / "out", ENCODERS="flow", MEASURE=measure)
    rows = [line.split("|")[1:-1] for line in (tmp_path / "out" / "table.md").read_text().splitlines()][2:]
    assert [[row[0].strip(), row[1].strip()] for row in rows] == [
        ["flow, seed 0", split] for split in ("train", "test")
    ]
    for row in rows:
        approximation, amortisation, inference = (float(row[at].split("±")[0]) for at in (5, 6, 7))
        assert abs(approximation + amortisation - inference) < 0.02
