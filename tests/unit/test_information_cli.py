"""``seqgen information``: an estimate from two files, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from seqgen.tasks.pairs.arrays import VectorPairs
from seqgen.tasks.pairs.task import Pairs
from tests.unit.cli_workspace import contents, done, refused, seqgen

Floats = npt.NDArray[np.float32]
RHO = 0.8
KNOWN = -0.5 * math.log(1 - RHO**2)  # nats

QUICK = ("--steps", 250, "--set", "players.critic.learning_rate=5e-3", "networks.critic.hidden=48")


def channel(count: int, seed: int = 0) -> tuple[Floats, Floats]:
    """A correlated dimension of each, and one that tells nothing."""
    rng = np.random.Generator(np.random.Philox(seed))
    x, noise = rng.normal(size=(count, 2)), rng.normal(size=(count, 2))
    y = np.stack([RHO * x[:, 0] + math.sqrt(1 - RHO**2) * noise[:, 0], noise[:, 1]], axis=1)
    return x.astype(np.float32), y.astype(np.float32)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return saved(tmp_path, *channel(3000))


def saved(folder: Path, x: object, y: object) -> tuple[Path, Path]:
    paths = folder / "x.npy", folder / "y.npy"
    for path, array in zip(paths, (x, y), strict=True):
        np.save(path, np.asarray(array))
    return paths


def test_an_estimate_of_what_is_known(files: tuple[Path, Path], tmp_path: Path) -> None:
    """In whatever units the vectors are, to the bit the same again, and kept where it is asked."""
    x, y = channel(3000)
    saved(tmp_path, x, 1000 * y - 7)
    first = seqgen("information", *files, *QUICK, "--json", "--out", tmp_path / "kept")
    found = first.json()
    assert found["kind"] == "lower bound"
    assert (found["pairs"], found["batch_size"], found["bound"]) == (1024, 64, "alpha:0.01")
    assert found["information_cap"] == pytest.approx(1 + math.log(63 / 0.01))
    assert found["information"] == pytest.approx(KNOWN, abs=0.12)
    assert 0.005 < found["information_95"] < 0.1
    again = done("information", *files, *QUICK, "--report", tmp_path / "report.json")
    assert again.out.splitlines()[0].startswith("1,024 pairs in 16 batches of 64, checkpoint step-")
    assert (
        f"information {found['information']:.3f} ± {found['information_95']:.3f} nats, at most 9.748 (1 + " in again.out
    )
    assert again.out.splitlines()[-1] == "a lower bound in the mean over batches: there is as much, or more"
    evaluated = done("eval", tmp_path / "kept", "--json").json()
    assert evaluated["information"] == found["information"]
    assert '"kind": "lower bound"' in (tmp_path / "report.json").read_text()
    said = refused("information", *files, "--out", tmp_path / "kept", quiet=False)
    assert "already holds checkpoints" in said


def test_another_seed_is_another_number(files: tuple[Path, Path]) -> None:
    brief = ("--steps", 20, "--set", "networks.critic.hidden=8", "--json", "--bound", "infonce")
    one, other = (done("information", *files, *brief, "--seed", seed).json() for seed in (0, 1))
    assert one["information"] != other["information"]


def test_an_estimate_that_leans_on_its_cap(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(2000, 16))
    paths, critic = saved(tmp_path, x, x), ("--critic", "bilinear-critic", "--steps", 200)
    fast = ("--set", "players.critic.learning_rate=0.05")
    said = done("information", *paths, *critic, "--bound", "infonce", "--batch", 4, *fast).out
    assert "nats, at most 1.386 (ln K, K = 4 pairs of a batch)" in said
    assert "warning: information leans on its cap of 1.386: what is there may be more" in said


def test_a_known_density_needs_no_training(files: tuple[Path, Path], tmp_path: Path) -> None:
    x, y = channel(3000)
    paths = saved(tmp_path, x[:, :1], y[:, :1])
    known = ("--critic", f"gaussian-channel:gain={RHO},noise=0.6", "--plain")
    bounds = ("leave-one-out", "infonce")
    upper, lower = (done("information", *paths, *known, "--bound", bound, "--json") for bound in bounds)
    assert "finished at" not in upper.err + lower.err
    above, below = upper.json(), lower.json()
    assert above["kind"] == "upper bound"
    assert below["information"] - below["information_95"] < KNOWN < above["information"] + above["information_95"]
    assert above["information"] == pytest.approx(KNOWN, abs=0.1)
    said = done("information", *paths, *known, "--bound", "leave-one-out").out
    assert "an upper bound in the mean over batches: there is as much, or less" in said
    said = refused("information", *paths, *known[:2], "--bound", "leave-one-out")
    assert "the bound takes a known density of y, and standardised vectors have another; give --plain" in said


def test_vectors_that_tell_nothing(tmp_path: Path) -> None:
    """A critic that learns few pairs by heart says less than nothing of others, and that is said."""
    rng = np.random.default_rng(0)
    paths = saved(tmp_path, rng.normal(size=(120, 70)), rng.normal(size=(120, 2)))
    result = done("information", *paths, "--batch", 16, "--steps", 150, "--bound", "nwj", *QUICK[2:])
    assert "warning: x has 70 dimensions and there are 60 pairs to learn from: what a critic finds" in result.err
    assert "warning: y has" not in result.err
    assert "warning: below 0, where no information is" in result.out


REFUSED = {
    "one-pair": (["--batch", 1], "--batch 1; give 2 or more: pairs are told from each other"),
    "few-pairs": (
        ["--batch", 512],
        "--batch 512 with 3,000 pairs, of which 450 choose the checkpoint; give --batch 450",
    ),
    "bound": (["--bound", "infonec"], "unknown estimator 'infonec'; did you mean 'infonce'"),
    "alpha": (["--bound", "alpha:2"], "'alpha' is 2.0; give a share from 0 to 1"),
    "words": (["--bound", "alpha:much"], "'alpha' expected float, got str 'much'"),
    "option": (["--bound", "infonce:alpha=1"], "unknown key 'alpha'"),
    "spelling": (["--bound", "interpolated:alpha="], "cannot read 'interpolated:alpha='; write NAME, or NAME:OPTION="),
    "entropy": (["--bound", "barber-agakov"], "'entropy' is missing"),
    "critic": (["--critic", "recurrent"], "unknown key 'x_dim'"),
    "no-density": (["--bound", "leave-one-out", "--plain"], "takes a known density of y given x, which Separable"),
    "steps": (["--steps", 0], "'steps' is 0; give a value 1 or more"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_cannot_be_are_one_line(name: str, files: tuple[Path, Path]) -> None:
    options, said = REFUSED[name]
    assert said in refused("information", *files, *options)


def _nan(x: Floats) -> Floats:
    x[7, 1] = math.nan
    return x


FILES = {
    "constant": (lambda x: np.full_like(x, 3.0), "x.npy: 'x' is the same in all 3,000 rows; give vectors that vary"),
    "nan": (_nan, "x.npy: 'x' is nan in row 7, column 1 (from 0); leave such rows out of both files"),
    "lengths": (lambda x: x[:-1], "x.npy has 2,999 rows,"),
    "flat": (lambda x: x[:, 0], "x.npy: 'x' has shape [3000]; save vectors as [rows, dimensions]"),
    "one-row": (lambda x: x[:1], "x.npy has 1 rows,"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_cannot_be_are_one_line(name: str, files: tuple[Path, Path]) -> None:
    spoil, said = FILES[name]
    np.save(files[0], spoil(channel(3000)[0]))
    assert said in refused("information", *files)


def test_nothing_is_left_behind(files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    done("information", *files, "--steps", 2, "--set", "networks.critic.hidden=4")
    assert contents(tmp_path / "scratch") == {}


def test_standardised_by_what_is_learnt_from(tmp_path: Path) -> None:
    """Means and deviations are those of the training pairs; a dimension that is constant there stays finite."""
    x, y = channel(100)
    y[:, 1] = 2.0
    x, y = 10 * x + 3, y
    paths = [str(path) for path in saved(tmp_path, x, y)]
    options = {"x": paths[0], "y": paths[1], "standardise": True, "split": [0.2, 0.2]}
    task = Pairs.example(options, {}).task
    learnt = VectorPairs(*(torch.cat(side) for side in zip(*((b.x, b.y) for b in first_turn(task)), strict=True)))
    assert torch.allclose(learnt.x.mean(dim=0), torch.zeros(2), atol=1e-5)
    assert torch.allclose(learnt.x.std(dim=0, correction=0), torch.ones(2), atol=1e-5)
    assert torch.equal(learnt.y[:, 1], torch.zeros(60))
    held_out = next(iter(task.source("test", {}).whole()))
    numbers = [int(name) for name in held_out.ids]
    kept = [int(name) for batch in first_turn(task) for name in batch.ids]
    expected = (x[numbers] - x[kept].mean(axis=0)) / x[kept].std(axis=0)
    np.testing.assert_allclose(held_out.x, expected, rtol=1e-4, atol=1e-5)


def first_turn(task: Pairs) -> list:
    return list(task.source("train", {}).whole())
