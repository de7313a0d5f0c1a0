"""The task of pairs: files that are refused, batches by number, and runs through the command line."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from seqgen.errors import SeqgenError
from seqgen.estimators.correlated_gaussians import CorrelatedGaussians
from seqgen.noise import Key
from seqgen.tasks.pairs.arrays import read
from seqgen.tasks.pairs.batches import Batch, DrawnPairs, StoredPairs
from tests.unit.cli_workspace import done, refused

CONFIG = """\
name: pairs
task: {{name: pairs, {pairs}}}
networks:
  critic: {{name: separable-critic, x_dim: 3, y_dim: {y_dim}, hidden: 16, layers: 1, embedding: 4}}
objective: {{name: information, bound: {{name: infonce}}}}
players:
  critic: {{optimiser: {{name: adam}}, learning_rate: 5e-3, clip_norm: 0}}
train: {{steps: 20, batch_size: 8, validate_every: 10, checkpoint_every: 10, log_every: 5, keep: 3}}
"""
DRAWN = "gaussian: {dimension: 3, information: 2.0}, held_out: 80"
Floats = npt.NDArray[np.float32]


def vectors(count: int = 50, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.Generator(np.random.Philox(seed))
    x = rng.normal(size=(count, 3)).astype(np.float32)
    return x, (x[:, :2] + 0.3 * rng.normal(size=(count, 2))).astype(np.float32)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    for path, array in zip((x, y), vectors(), strict=True):
        np.save(path, array)
    return x, y


def test_files_are_read(files: tuple[Path, Path], tmp_path: Path) -> None:
    x, y = vectors()
    pairs = read(*files)
    np.testing.assert_array_equal(pairs.x, x)
    np.testing.assert_array_equal(pairs.y, y)
    np.savez(tmp_path / "both.npz", x=x, y=y)
    np.savez(tmp_path / "one.npz", anything=y)
    for first, second in ((tmp_path / "both.npz", tmp_path / "both.npz"), (files[0], tmp_path / "one.npz")):
        again = read(first, second)
        assert torch.equal(again.x, pairs.x)
        assert torch.equal(again.y, pairs.y)


def _with(value: Any) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        y = vectors()[1]
        y[7, 1] = value
        np.save(path, y)

    return spoil


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "lengths": (lambda path: np.save(path, vectors(49)[1]), "x.npy has 50 rows, .*y.npy has 49; give two files whose"),
    "nan": (_with(math.nan), "y.npy: 'y' is nan in row 7, column 1 .*; leave such rows out"),
    "infinite": (_with(-math.inf), "y.npy: 'y' is -inf in row 7, column 1"),
    "too-large": (
        lambda path: np.save(path, np.full((50, 2), 1e39)),
        r"y.npy: 'y' is 1e\+39 in row 0, column 0 .*float32 must hold every number",
    ),
    "flat": (lambda path: np.save(path, np.zeros(50)), r"y.npy: 'y' has shape \[50\]; save vectors as \[rows, dim"),
    "deep": (lambda path: np.save(path, np.zeros((50, 2, 2))), r"y.npy: 'y' has shape \[50, 2, 2\]; save vectors"),
    "empty": (lambda path: np.save(path, np.zeros((0, 2))), r"y.npy: 'y' has shape \[0, 2\]; .* one or more"),
    "no-columns": (lambda path: np.save(path, np.zeros((50, 0))), r"y.npy: 'y' has shape \[50, 0\]"),
    "complex": (lambda path: np.save(path, np.zeros((50, 2), complex)), "y.npy: 'y' holds complex128; save real"),
    "words": (lambda path: np.save(path, np.array([["a", "b"]] * 50)), "y.npy: 'y' holds <U1; save real numbers"),
    "objects": (lambda path: np.save(path, np.array([[None, 1]] * 50)), "y.npy: not an array .*; write it with numpy"),
    "text": (lambda path: path.write_text("1 2\n3 4\n"), "y.npy: not an array .*; write it with numpy.save"),
    "nothing": (lambda path: path.write_bytes(b""), "y.npy: not an array .*; write it with numpy.save"),
    "cut-short": (_half, "y.npy: not an array .*; write it with numpy.save"),
    "missing": (lambda path: path.unlink(), "cannot read .*y.npy: No such file or directory; give a readable"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "cannot read .*y.npy: Is a directory; give a readable"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_file_that_cannot_be_used_is_one_line(name: str, files: tuple[Path, Path]) -> None:
    spoil, said = SPOILT[name]
    spoil(files[1])
    with pytest.raises(SeqgenError, match=said) as error:
        read(*files)
    assert "\n" not in str(error.value)


def test_an_archive_without_the_array(files: tuple[Path, Path], tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=vectors()[0], b=vectors()[1])
    with pytest.raises(SeqgenError, match=r"other.npz: no array 'y' \(there are a, b\); write it with numpy.savez"):
        read(files[0], tmp_path / "other.npz")
    _half(tmp_path / "other.npz")
    with pytest.raises(SeqgenError, match=r"other.npz: not an array"):
        read(files[0], tmp_path / "other.npz")


def test_damaged_arrays_are_no_traceback(tmp_path: Path) -> None:
    x, random = vectors()[0], np.random.default_rng(0)
    np.save(tmp_path / "x.npy", x)
    np.savez_compressed(tmp_path / "x.npz", x=x, y=x)
    for file in (tmp_path / "x.npy", tmp_path / "x.npz"):
        whole = file.read_bytes()
        for _ in range(150):
            damaged = bytearray(whole)
            damaged[random.integers(128)] = random.integers(256)
            damaged[random.integers(len(damaged))] = random.integers(256)
            file.write_bytes(damaged)
            with contextlib.suppress(SeqgenError):  # and nothing else; an array without a digest may be read as it is
                read(file, file)


def drawn(rows: int = 8, count: int = 80, stream: int = 1) -> DrawnPairs:
    return DrawnPairs(CorrelatedGaussians(2.0, dimension=3), key=Key(0, stream), rows=rows, count=count)


def stored(files: tuple[Path, Path], rows: int = 8, seed: int = 0) -> StoredPairs:
    return StoredPairs(read(*files), np.arange(5, 45), rows=rows, seed=seed)


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.x, other.x) and torch.equal(one.y, other.y) and one.ids == other.ids


def named(batches: Iterable[Batch]) -> list[str]:
    return [name for batch in batches for name in batch.ids]


@pytest.fixture(params=["drawn", "stored"])
def source(request: pytest.FixtureRequest, files: tuple[Path, Path]) -> DrawnPairs | StoredPairs:
    return drawn() if request.param == "drawn" else stored(files)


def test_batches_are_functions_of_their_number(source: DrawnPairs | StoredPairs) -> None:
    whole = list(source.batches(0, 13, 0, 1))
    assert all(batch.x.shape == (8, 3) and batch.x.dtype == torch.float32 for batch in whole)
    for one, other in zip(whole[7:], source.batches(7, 13, 0, 1), strict=True):
        assert same(one, other)
    assert not any(same(one, other) for one, other in pairwise(whole))


def test_processes_share_the_rows_of_a_batch(source: DrawnPairs | StoredPairs) -> None:
    for number, whole in enumerate(source.batches(0, 7, 0, 1)):
        shares = [next(iter(source.batches(number, number + 1, rank, 3))) for rank in range(3)]
        for rank, share in enumerate(shares):
            assert share.ids == whole.ids[rank::3]
            assert torch.equal(share.x, whole.x[rank::3])
            assert torch.equal(share.y, whole.y[rank::3])


def test_the_whole_is_whole_batches(source: DrawnPairs | StoredPairs) -> None:
    ids = named(source.whole())
    assert len(ids) == len(set(ids)) == source.count
    assert all(len(batch.ids) == 8 for batch in source.whole())


def test_stored_pairs_come_once_a_turn_in_another_order(files: tuple[Path, Path]) -> None:
    x, y = vectors()
    turns = [named(stored(files).batches(5 * turn, 5 * turn + 5, 0, 1)) for turn in (0, 1)]
    assert sorted(turns[0]) == sorted(turns[1]) == [f"{number:09d}" for number in range(5, 45)]
    assert turns[0] != turns[1]
    assert named(stored(files, seed=1).batches(0, 5, 0, 1)) != turns[0]
    for batch in stored(files).batches(0, 9, 0, 1):
        numbers = [int(name) for name in batch.ids]
        np.testing.assert_array_equal(batch.x, x[numbers])
        np.testing.assert_array_equal(batch.y, y[numbers])


def test_what_does_not_fill_a_batch_takes_its_turn(files: tuple[Path, Path]) -> None:
    """Of 40 pairs, 12 a batch, four are left over in each turn: others than before."""
    source = stored(files, rows=12)
    turns = [set(named(source.batches(3 * turn, 3 * turn + 3, 0, 1))) for turn in range(4)]
    assert all(len(turn) == 36 for turn in turns)
    assert len(set.union(*turns)) == 40
    assert len(list(source.whole())) == 3


def test_too_few_pairs(files: tuple[Path, Path]) -> None:
    with pytest.raises(SeqgenError, match=r"40 pairs are there, fewer than a batch of 64; lower train\.batch_size or"):
        stored(files, rows=64)
    with pytest.raises(SeqgenError, match="80 pairs are drawn, fewer than a batch of 128"):
        drawn(rows=128)
    with pytest.raises(SeqgenError, match=r"'train\.batch_size' is 1; give 2 or more"):
        drawn(rows=1)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of pairs, ``stored.yaml`` that learns from them, ``drawn.yaml`` from Gaussians, and what both trained."""
    root = tmp_path_factory.mktemp("pairs")
    x, y = vectors(400)
    np.save(root / "x.npy", x)
    np.save(root / "y.npy", y)
    (root / "stored.yaml").write_text(CONFIG.format(pairs=f"x: {root}/x.npy, y: {root}/y.npy", y_dim=2))
    (root / "drawn.yaml").write_text(CONFIG.format(pairs=DRAWN, y_dim=3))
    for name in ("stored", "drawn"):
        assert "finished at step 20" in done("train", root / f"{name}.yaml", "--out", root / name).err
    return root


def test_training_says_what_it_learns_from(work: Path) -> None:
    said = done("train", work / "drawn.yaml", "--out", work / "drawn-again", "--set", "task.gaussian.cubic=true").err
    assert "correlated Gaussians of 3 dimensions, y cubed with 2 nats" in said
    said = done("train", work / "stored.yaml", "--out", work / "stored-again", "--set", "train.seed=1").err
    assert "320 pairs of 3 and 2 dimensions" in said


@pytest.mark.parametrize("name", ["drawn", "stored"])
def test_a_resumed_run_is_the_same_to_the_bit(work: Path, name: str, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(work / name, half)
    shutil.rmtree(half / "checkpoints" / "step-000020")
    assert "resuming from" in done("train", work / f"{name}.yaml", "--out", half, "--resume").err
    for file in ("model.safetensors", "optimiser.safetensors"):
        one, other = (root / "checkpoints" / "step-000020" / file for root in (work / name, half))
        assert one.read_bytes() == other.read_bytes()

    def losses(root: Path) -> list[tuple[int, str, float]]:
        lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
        return [(line["step"], line["split"], line["loss"]) for line in lines]

    assert losses(half) == losses(work / name)


def test_the_record_has_the_rate_of_the_player(work: Path) -> None:
    lines = [json.loads(line) for line in (work / "drawn" / "metrics.jsonl").read_text().splitlines()]
    assert {line["learning_rate"] for line in lines if line["split"] == "train"} == {5e-3}


def test_an_evaluation_of_drawn_pairs(work: Path) -> None:
    found = done("eval", work / "drawn", "--json").json()
    assert (found["pairs"], found["batch_size"], found["known_information"]) == (80, 8, 2.0)
    assert found["information_cap"] == pytest.approx(math.log(8))
    assert 0 < found["information"] < math.log(8)
    assert found["information_95"] > 0
    assert len(found["examples"]["information"]) == 10
    lines = done("eval", work / "drawn").out.splitlines()
    assert lines[0].startswith("80 pairs in 10 batches of 8, checkpoint step-0000")
    assert lines[1].startswith("information ")
    assert lines[1].endswith(" nats, at most 2.079 (ln K, K = 8 pairs of a batch)")
    assert "known information 2.000 nats" in lines
    other = done("eval", work / "drawn", "--seed", 1, "--examples", 24, "--json").json()
    assert other["pairs"] == 24
    assert other["information"] != found["information"]


def test_an_estimate_that_leans_on_its_cap_is_marked(work: Path) -> None:
    """Eight pairs a batch can tell of 2.08 nats only, of forty."""
    options = ("task.gaussian.information=40", "train.steps=300", "networks.critic.hidden=64")
    done("train", work / "drawn.yaml", "--out", work / "cap", "--set", *options, "networks.critic.embedding=8")
    warning = "warning: information leans on its cap of 2.079: what is there may be more"
    assert done("eval", work / "cap").out.splitlines()[-1] == warning
    assert done("eval", work / "cap", "--json").json()["warnings"] == [warning]
    assert "warning" not in done("eval", work / "drawn").out


def test_a_bound_without_cap_has_no_warning(work: Path) -> None:
    done("train", work / "drawn.yaml", "--out", work / "nwj", "--set", "objective.bound.name=nwj")
    found = done("eval", work / "nwj", "--json").json()
    assert "information_cap" not in found
    assert "warnings" not in found
    assert "at most" not in done("eval", work / "nwj").out


def test_an_evaluation_of_stored_pairs(work: Path) -> None:
    found = done("eval", work / "stored", "--json").json()
    assert (found["pairs"], found["known_information"]) == (40, None)
    np.savez(work / "more.npz", x=vectors(100, seed=1)[0], y=vectors(100, seed=1)[1])
    more = done("eval", work / "stored", "--data", work / "more.npz", "--json").json()
    assert (more["pairs"], more["data"]) == (96, str(work / "more.npz"))
    np.savez(work / "others.npz", x=vectors(100)[1], y=vectors(100)[0])
    said = refused("eval", work / "stored", "--data", work / "others.npz")
    assert "others.npz: pairs of 2 and 3 dimensions, the run has 3 and 2; evaluate on pairs as" in said


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        ("drawn", "networks.critic.x_dim=4", "scores vectors of 4 and 3 dimensions, the pairs have 3 and 3; set x_dim"),
        ("drawn", "task.x=x.npy", "pairs need one origin; give both files, x and y, or gaussian"),
        ("stored", "task.y=''", "pairs need one origin; give both files"),
        ("stored", "task.split=[0.5, 0.5]", r"'split' is \[0.5, 0.5\]; give two shares above 0"),
        ("stored", "task.y=none.npy", "cannot read none.npy: No such file or directory; give a readable"),
        ("stored", "train.batch_size=64", "40 pairs are there, fewer than a batch of 64; lower train.batch_size"),
        ("drawn", "train.accumulate=2", "'train.accumulate' is 2, but Information compares the rows of a batch"),
        ("drawn", "networks.critic.layers=-1", "a perceptron from 3 to 4 numbers with -1 layers of 16; give 1 or more"),
        ("drawn", "networks.critic.hidden=0", "a perceptron from 3 to 4 numbers with 1 layers of 0; give 1 or more"),
    ],
)
def test_a_run_that_does_not_fit_is_one_line(work: Path, tmp_path: Path, name: str, option: str, said: str) -> None:
    quiet = "accumulate" not in option  # which is refused when the run has been announced
    error = refused("train", work / f"{name}.yaml", "--out", tmp_path / "x", "--set", option, quiet=quiet)
    assert re.search(said, error), error
    assert not (tmp_path / "x").exists()


def test_pairs_have_no_samples_and_no_bundle(work: Path, tmp_path: Path) -> None:
    assert "the task 'pairs' has nothing to sample" in refused("sample", work / "drawn", "--out", tmp_path / "x")
    assert "the task 'pairs' cannot be exported" in refused("export", work / "drawn", "--out", tmp_path / "x")
