"""The table of several evaluations: every measure of every experiment, also those that one of them lacks."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

from seqgen.tasks.table import Figure, Table


def evaluated(path: Path, kl: float, **scores: tuple[float, float | None]) -> str:
    path.mkdir()
    heard = {name: {"mean": mean, "half_width": half, "utterances": 3} for name, (mean, half) in scores.items()}
    report = {"utterances": 3, "kl": kl, "kl_95": 0.25, "scores": heard, "griffin_lim": {"mcd": heard["mcd"]}}
    report |= {"world": {"mcd": {"mean": 3.0, "half_width": 0.5}}} if "f0" in heard else {}
    (path / "eval.json").write_text(json.dumps(report))
    return str(path)


def test_columns_are_experiments(repository: Path, tmp_path: Path) -> None:
    first = evaluated(tmp_path / "first", 1.5, mcd=(8.0, 0.5), f0=(0.25, None))
    second = evaluated(tmp_path / "second", 0.5, mcd=(7.0, 0.125))
    command = [sys.executable, str(repository / "tools/report_table.py")]
    made = subprocess.run([*command, first, second], capture_output=True, text=True, check=True).stdout.splitlines()
    assert made == [
        "|  | first | second | Griffin–Lim | WORLD |",
        "|---|---|---|---|---|",
        "| kl | 1.500 ± 0.250 | 0.500 ± 0.250 | – | – |",
        "| mcd | 8.000 ± 0.500 | 7.000 ± 0.125 | 8.000 ± 0.500 | 3.000 ± 0.500 |",
        "| f0 | 0.250 | – | – | – |",
    ]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "EXPERIMENT" in refused.stderr


def test_experiments_without_recordings_have_no_distances(repository: Path, tmp_path: Path) -> None:
    table = Table("", {"bits_per_character": Figure(2.25, 0.5), "nothing": Figure(math.nan)})
    (tmp_path / "text").mkdir()
    (tmp_path / "text/eval.json").write_text(json.dumps(table.plain()))
    voice = evaluated(tmp_path / "voice", 1.5, mcd=(8.0, 0.5))
    command = [sys.executable, str(repository / "tools/report_table.py"), "--digits", "2"]
    alone, beside = (
        subprocess.run([*command, str(tmp_path / "text"), *more], capture_output=True, text=True, check=True)
        for more in ([], [voice])
    )
    assert alone.stdout.splitlines() == [
        "|  | text |",
        "|---|---|",
        "| bits per character | 2.25 ± 0.50 |",
        "| nothing | – |",
    ]
    assert beside.stdout.splitlines() == [
        "|  | text | voice | Griffin–Lim |",
        "|---|---|---|---|",
        "| bits per character | 2.25 ± 0.50 | – | – |",
        "| nothing | – | – | – |",
        "| kl | – | 1.50 ± 0.25 | – |",
        "| mcd | – | 8.00 ± 0.50 | 8.00 ± 0.50 |",
    ]


def test_rows_are_runs_over_their_seeds(repository: Path, tmp_path: Path) -> None:
    for name, elbo in (("one-0", -4.0), ("one-1", -2.0), ("other-3", -7.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "eval.json").write_text(json.dumps({"elbo": elbo}))
    command = [sys.executable, str(repository / "tools/seeds_table.py"), "--figures", "elbo", "--digits", "1"]
    runs = sorted(map(str, tmp_path.iterdir()))
    made = subprocess.run([*command, *runs], capture_output=True, text=True, check=True).stdout.splitlines()
    # Of two values Student's t with one degree of freedom: 12.706 times their standard error, 1.
    assert made == ["|  | seeds | elbo |", "|---|---|---|", "| one | 2 | -3.0 ± 12.7 |", "| other | 1 | -7.0 |"]
