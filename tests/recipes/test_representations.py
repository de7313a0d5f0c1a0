"""The bench of representations runs through in its tiny form, and its table holds what the stages found."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from egs.bench.representations import information
from egs.bench.representations.table import Cell, cost, markdown, of_seed, over_seeds, picture, rate
from tests.recipes.conftest import Run
from tests.unit import spoken

METHODS = ("wpc", "vq_vae", "beta_tcvae", "ali")


def report(place: Path, **found: Any) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(found), encoding="utf-8")


def test_the_bench_goes_from_recordings_to_a_table(run: Run, tmp_path: Path) -> None:
    """Tones of three speakers and digits; every chosen method and baseline has its row, every column a figure."""
    for split, takes in {"train": range(2), "valid": range(2, 4), "test": range(4, 6)}.items():
        spoken.record(tmp_path / "sides" / split, takes, half=1200)
        (tmp_path / "data/fsdd").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/fsdd" / split).symlink_to(tmp_path / "sides" / split / "data")
        (tmp_path / f"data/fsdd/{split}.ctm").symlink_to(tmp_path / "sides" / split / "phones.ctm")
    out = tmp_path / "exp"
    few = {
        "SET": "train.steps=2 train.batch_size=8 train.warmup=0",
        "TARGETS": "digit pitch phone",
        "BOUNDS": "infonce",
    }
    few |= {"METHODS": " ".join(METHODS)}
    given = ("--conf", "tiny", "--out", out, "--data", tmp_path / "data")
    run("bench/representations", *given, STEPS="2", **few)
    found = of_seed(out / "fsdd/0")
    assert set(found) == {*METHODS, "mfcc", "random", "supervised"}
    for name, row in found.items():
        assert all(math.isfinite(cell.value) for cell in row.values())
        assert ("rate, nats a second" in row) == (name in METHODS[1:])
        assert ("training and evaluation, CPU minutes" in row) == (name in METHODS)
        for column in ("digit, %", "I(label), infonce, nats", "I(signal), infonce, nats"):
            assert column in row
        assert ("pitch, %" in row) == ("phone, %" in row) == (name != "supervised")
    trained = [json.loads(line) for line in (out / "fsdd/0/wpc/metrics.jsonl").read_text().splitlines()]
    assert all(line["slope"] >= 0 for line in trained)
    assert found["vq_vae"]["rate, nats a second"].value == pytest.approx(125 * math.log(32), rel=0.1)
    assert (out / "table.md").read_text().count("\n") == 2 + len(found)
    assert (out / "bench.png").stat().st_size > 10_000


def test_pictures_and_readers_are_benched_side_by_side(run: Run, tmp_path: Path) -> None:
    """Tones of forty takes at 16 kHz for readers, noise for handwriting: both go through to one table."""
    rng = np.random.Generator(np.random.Philox(0))
    for reader in range(2):
        for take in range(20):
            place = tmp_path / f"readers/test-other/r{reader}/{take}.wav"
            place.parent.mkdir(parents=True, exist_ok=True)
            tone = np.sin(2 * np.pi * (120 + 90 * reader) * np.arange(24000) / 16000) + 0.1 * rng.standard_normal(24000)
            soundfile.write(place, (0.3 * tone).astype(np.float32), 16000)
    x, y = rng.integers(0, 256, (80, 28, 28)).astype(np.uint8), np.arange(80) % 10
    np.savez(tmp_path / "mnist.npz", x_train=x[:60], x_test=x[60:], y_train=y[:60], y_test=y[60:])
    chosen = {
        "DATASETS": "librispeech mnist",
        "LIBRISPEECH": str(tmp_path / "readers"),
        "MNIST": str(tmp_path / "mnist.npz"),
    }
    few = {
        "METHODS": "ali cpc",
        "SET": "train.steps=2 train.batch_size=8",
        "COUNTS": "--train 32 --valid 24 --test 16",
    }
    out = tmp_path / "exp"
    run(
        "bench/representations",
        "--conf",
        "tiny",
        "--out",
        out,
        STEPS="2",
        BOUNDS="infonce",
        **chosen,
        **few,
    )
    table = (out / "table.md").read_text()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]]
    assert rows == [
        *(f"librispeech/{name}" for name in ("ali", "cpc", "mfcc", "random")),
        *(f"mnist/{name}" for name in ("ali", "cpc", "pixels", "random", "supervised")),
    ]
    assert "class, % | speaker, % | pitch, % | rate, nats a second | rate, nats a picture" in table


def test_rates_are_of_seconds(tmp_path: Path) -> None:
    """Of frames they follow from the bands and the hop: 50 frames of 4 numbers are 200 numbers a second."""
    report(tmp_path / "eval.json", rate_per_number=0.5, rate_per_number_95=0.1)
    features = "{sample_rate: 8000, n_fft: 512, window: 256, hop: 160, n_mels: 4}"
    (tmp_path / "config.yaml").write_text(
        "name: x\nobjective: {name: evidence}\nnetworks: {}\ntrain: {steps: 1}\n"
        f"task: {{name: features, train: a, valid: b, test: c, features: {features}}}\n",
        encoding="utf-8",
    )
    assert rate(tmp_path)["rate, nats a second"] == pytest.approx(Cell(100.0, 20.0))
    report(tmp_path / "eval.json", rate_per_second=700.0, rate_per_second_95=None)
    assert rate(tmp_path)["rate, nats a second"] == pytest.approx(Cell(700.0, math.nan), nan_ok=True)
    report(tmp_path / "eval.json", rate=12.0, rate_95=0.5, rate_per_pixel=0.1)
    assert rate(tmp_path) == {"rate, nats a picture": Cell(12.0, 0.5)}
    report(tmp_path / "eval.json", accuracy_1=0.5)
    assert rate(tmp_path) == {}


def test_costs_add_up_over_sittings(tmp_path: Path) -> None:
    (tmp_path / "cpc.time").write_text("100.5 4.5\n60.0 15.0\n", encoding="utf-8")
    assert cost(tmp_path / "cpc.time") == pytest.approx(Cell(3.0, math.nan), nan_ok=True)


def test_seeds_have_a_mean_and_students_interval() -> None:
    tables = [{"cpc": {"digit, %": Cell(value, 9.0)}} for value in (90.0, 92.0, 97.0)]
    found = over_seeds([*tables, {"mfcc": {"digit, %": Cell(50.0, 1.5)}}])
    assert found["cpc"]["digit, %"] == pytest.approx(Cell(93.0, 4.302653 * 3.605551 / math.sqrt(3)), rel=1e-5)
    assert found["mfcc"]["digit, %"] == Cell(50.0, 1.5), "of one seed the interval is its own"


def test_columns_have_an_order_and_gaps_a_dash(tmp_path: Path) -> None:
    table = {
        "mfcc": {"digit, %": Cell(93.3, 2.8), "I(label), nwj, nats": Cell(1.234, 0.05)},
        "cpc": {"training and evaluation, CPU minutes": Cell(7.0), "speaker, %": Cell(99.7, 0.7)},
    }
    assert markdown({"a": table}) == [
        "| | digit, % | speaker, % | I(label), nwj, nats | training and evaluation, CPU minutes |",
        "|---|---|---|---|---|",
        "| a/cpc | – | 99.7 ± 0.7 | – | 7.00 |",
        "| a/mfcc | 93.3 ± 2.8 | – | 1.23 ± 0.05 | – |",
    ]
    picture({"a": table, "b": table}, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 5000


def test_a_bound_that_diverges_leaves_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are told all the same, and it is named; where none can be told the last failure's status is given."""
    vectors = tmp_path / "vectors"
    vectors.mkdir()
    for name in ("cpc", "label", "signal"):
        np.save(vectors / f"{name}.npy", np.zeros((40, 3)))
    failing = {"signal.npy nwj"}

    def told(words: list[str]) -> int:
        if f"{Path(words[2]).name} {words[4]}" in failing:
            return 1
        Path(words[-1]).write_text("{}")
        return 0

    monkeypatch.setattr(information, "seqgen", told)
    given = [str(vectors), str(tmp_path / "out"), "5", "2", "infonce", "nwj"]
    assert information.main(given) == 0
    assert "nothing is told of cpc-signal-nwj\n" in capsys.readouterr().err
    names = sorted(one.name for one in (tmp_path / "out").iterdir())
    assert names == ["cpc-label-infonce.json", "cpc-label-nwj.json", "cpc-signal-infonce.json"]
    failing |= {f"{one}.npy {bound}" for one in ("label", "signal") for bound in ("infonce", "nwj")}
    assert information.main([given[0], str(tmp_path / "none"), *given[2:]]) == 1
