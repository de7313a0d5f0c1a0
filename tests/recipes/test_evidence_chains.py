"""The recipe of recursive evidence chains in its tiny form: every method goes through every stage."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

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


def test_durations_of_phones_by_speaker(tiny: Tiny, tmp_path: Path) -> None:
    """Slow speakers are told from fast ones; phones that a speaker has once, and silence, are left out."""
    lines = []
    for number in range(8):
        folder = tmp_path / f"corpus/train-clean-100/s{number}"
        folder.mkdir(parents=True)
        soundfile.write(folder / "one.wav", np.zeros(1600, np.float32), 16000)
        for place in range(12):
            seconds = 0.01 * (1 + number) * (1 + place % 6)
            lines.append(f"s{number}-one 1 {place}.0 {seconds:.3f} P{place % 6}\n")
        lines += [f"s{number}-one 1 20.0 0.5 SIL\n", f"s{number}-one 1 21.0 0.5 ONCE\n"]
    (tmp_path / "phones.ctm").write_text("".join(lines))
    few = {"SEEDS": "0", "DECAYS": "1", "PHONES": str(tmp_path / "phones.ctm")}
    said = tiny("librispeech/evidence_chains", tmp_path / "exp", "--corpus", str(tmp_path / "corpus"), **few)
    rows = [line.split("\t") for line in (tmp_path / "exp/durations.tsv").read_text().splitlines()]
    assert {row[1] for row in rows} == {f"P{number}" for number in range(6)}
    assert float(rows[0][2]) == pytest.approx(math.log(10), abs=1e-4)
    assert "48 durations: 8 speakers, 6 phones" in said
    found = {path.parent.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("exp/1/0/*/*/eval.json")}
    assert set(found) == {"means", "factorisation", "chains"}
    assert "| 1x | chains less means |" in said
