"""The task of ratings: files that are refused, the division of a matrix, and runs through the command line."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqgen import config
from seqgen.errors import SeqgenError
from seqgen.models.matrix_factorisation import MatrixFactorisation
from seqgen.models.observed_matrix import ObservedMatrix
from seqgen.noise import Key
from seqgen.tasks.ratings.division import Division, drawn, ordered, stored
from seqgen.tasks.ratings.process import LowRankRatings
from seqgen.tasks.ratings.task import Ratings
from seqgen.tasks.ratings.triples import read
from seqgen.tasks.run import RunConfig
from tests.unit.cli_workspace import done, refused

KEY = Key(0, 0)
CONFIG = """\
name: ratings
task: {{name: ratings, {origin}, split: [0.1, 0.2], new_users: [2, 3], given: [1, 3]}}
networks: {{network: {network}}}
objective: {{name: completion, weight_decay: {decay}}}
players: {{network: {{optimiser: {{name: adam}}, learning_rate: 1e-2}}}}
train: {{steps: 20, batch_size: 16, validate_every: 10, checkpoint_every: 10, log_every: 5}}
"""
DRAWN = "process: {users: 30, items: 20, rank: 2, observed: 0.3}"
CHAINS = "{name: evidence-chains, dim: 4, prototypes: [5, 5], hidden: 8, layers: 1, evidence: [4, 3, 3], draws: 2}"
FACTORS = "{{name: matrix-factorisation, users: {users}, items: {items}, factors: 3}}"


def lines(users: int = 20, items: int = 12) -> list[str]:
    """Two thirds of a matrix, a line each; a rating is the sum of what a user and an item bring."""
    return [
        f"anna-{i}\tbook {j}\t{1 + i % 3 + (j % 5) / 4}"
        for i in range(users)
        for j in range(items)
        if (7 * i + 5 * j) % 6 < 4
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ratings.tsv"
    path.write_text("\n".join(lines()) + "\n", encoding="utf-8")
    return path


def test_a_table_and_an_archive_are_the_same_ratings(file: Path, tmp_path: Path) -> None:
    found = read(file)
    assert (len(found.users), len(found.items), len(found.triples.user)) == (20, 12, len(lines()))
    assert found.users[found.triples.user[0]] == "anna-0"
    assert found.triples.rating[:2].tolist() == [1.0, 1.75]
    user, item, rating = zip(*(line.split("\t") for line in lines()), strict=True)
    np.savez(tmp_path / "ratings.npz", user=np.array(user), item=np.array(item), rating=np.array(rating, float))
    again = read(tmp_path / "ratings.npz")
    assert again.users == found.users
    assert all(np.array_equal(one, other) for one, other in zip(again.triples, found.triples, strict=True))
    numbers = np.arange(3)
    np.savez(tmp_path / "numbers.npz", user=numbers, item=numbers + 7, rating=numbers)
    assert read(tmp_path / "numbers.npz").items == ("7", "8", "9")
    file.write_bytes(b"\r\n".join(line.encode() for line in lines()))  # of Windows, without a last line end
    assert read(file).users == found.users


def _line(number: int, text: str | bytes) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        every: list[bytes] = path.read_bytes().split(b"\n")
        every[number - 1] = text.encode() if isinstance(text, str) else text
        path.write_bytes(b"\n".join(every))

    return spoil


def _arrays(**arrays: Any) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        with path.open("wb") as stream:
            np.savez(stream, **arrays)

    return spoil


THREE = {"user": np.arange(3), "item": np.arange(3), "rating": np.ones(3)}
SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), r"ratings.tsv: no ratings; give a line user <tab> item <tab> rating"),
    "nan": (_line(7, "anna\tbook\tnan"), r"ratings.tsv:7: the rating is nan, which is not finite; give a line"),
    "infinite": (_line(7, "anna\tbook\t-inf"), "ratings.tsv:7: the rating is -inf, which is not finite"),
    "word": (_line(3, "anna\tbook\tgood"), "ratings.tsv:3: the rating is 'good', which is no number"),
    "header": (_line(1, "user\titem\trating"), "ratings.tsv:1: the rating is 'rating', which is no number"),
    "four": (_line(2, "1\t2\t3\t4"), r"ratings.tsv:2: 4 columns, expected user, item and rating; .*cut -f1-3"),
    "commas": (_line(2, "1,2,3"), "ratings.tsv:2: 1 columns, expected user, item and rating"),
    "gap": (_line(5, ""), "ratings.tsv:5: an empty line"),
    "nobody": (_line(5, "\tbook\t1"), "ratings.tsv:5: no user"),
    "nothing": (_line(5, "anna\t \t1"), "ratings.tsv:5: no item"),
    "latin": (_line(4, b"ann\xe4\tbook\t1"), "ratings.tsv:4: not UTF-8 at byte 3"),
    "several": (
        lambda path: path.write_text("a\tb\n" * 3),
        r"ratings.tsv:1: 2 columns, .* \(and 2 more\); give a line",
    ),
    "twice": (_line(9, "anna-0\tbook 3\t5"), "tsv:9: user anna-0 has rated item book 3 before, at line 2; give each"),
    "missing": (lambda path: path.unlink(), "cannot read .*ratings.tsv: No such file or directory; give a readable"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "cannot read .*ratings.tsv: Is a directory"),
    "damaged": (
        lambda path: path.write_bytes(b"PK\x03\x04 and so on"),
        "ratings.tsv: not an archive .*; write it with",
    ),
    "columns": (_arrays(**THREE, time=np.ones(3)), "arrays item, rating, time, user, expected user, item and rating; "),
    "without": (_arrays(user=np.ones(3)), "arrays user, expected user, item and rating; write it with numpy.savez"),
    "shapes": (_arrays(**THREE | {"item": np.arange(4)}), r"shapes user \[3\], item \[4\], rating \[3\]; give three"),
    "flat": (_arrays(**{name: one[None] for name, one in THREE.items()}), r"shapes user \[1, 3\]"),
    "fractions": (_arrays(**THREE | {"user": np.ones(3)}), "user float64, item int64, rating float64; give users and"),
    "npz-nan": (_arrays(**THREE | {"rating": np.array([1, math.nan, 2])}), r"the rating at 1 \(from 0\) is nan; leave"),
    "npz-twice": (_arrays(**THREE | {"item": np.zeros(3, int), "user": np.zeros(3, int)}), "at 1 .* before, at 0"),
    "npz-none": (_arrays(user=np.zeros(0, int), item=np.zeros(0, int), rating=np.zeros(0)), "no ratings"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_file_that_cannot_be_used_is_one_line(name: str, file: Path) -> None:
    spoil, said = SPOILT[name]
    spoil(file)
    with pytest.raises(SeqgenError, match=said) as error:
        read(file)
    assert "\n" not in str(error.value)


def test_damaged_archives_are_no_traceback(tmp_path: Path) -> None:
    random, path = np.random.default_rng(0), tmp_path / "ratings.npz"
    np.savez_compressed(path, **THREE)
    whole = path.read_bytes()
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[random.integers(2, len(damaged))] = random.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(SeqgenError):
            read(path)


PROCESS = LowRankRatings(users=300, items=100, observed=0.1)


def test_a_drawn_matrix_is_of_its_rank_and_noise() -> None:
    numbers = np.arange(PROCESS.users)
    clean = LowRankRatings(users=300, items=100, noise=0).ratings(numbers)
    inside = (clean > 1).all(axis=0) & (clean < 5).all(axis=0)
    assert inside.sum() > 20
    values = np.linalg.svd(clean[:, inside] - 3, compute_uv=False)
    assert values[4] > 1e-3 * values[0]
    assert values[5] < 1e-9 * values[0]
    apart = (PROCESS.ratings(numbers) - clean)[(clean > 2) & (clean < 4)]
    assert apart.std() == pytest.approx(0.25, rel=0.02)
    assert clean.std() == pytest.approx(1, abs=0.25)
    assert (PROCESS.ratings(numbers).min(), PROCESS.ratings(numbers).max()) == (1, 5)


def test_a_user_is_a_function_of_its_number() -> None:
    more = LowRankRatings(users=900, items=100, observed=0.1)
    assert np.array_equal(more.ratings(np.array([7, 250])), PROCESS.ratings(np.array([7, 250])))
    few, many = (drawn(one, (0.02, 0.05), (2, 3)) for one in (PROCESS, more))
    assert np.array_equal(many.train.rating[many.train.user < 300], few.train.rating)
    for one, other in ((few.new_valid, many.new_valid), (few.new_test, many.new_test)):
        assert np.array_equal(one.ratings.rating, other.ratings.rating)
    assert not np.array_equal(few.new_valid.ratings.rating[:100], few.new_test.ratings.rating[:100])


def test_parts_of_a_drawn_matrix_have_nothing_in_common() -> None:
    parts = drawn(PROCESS, (0.02, 0.05), (2, 3))
    sets = [set(zip(part.user.tolist(), part.item.tolist(), strict=True)) for part in parts[:3]]
    assert len(set.union(*sets)) == sum(map(len, sets))
    for part, share in zip(sets, (0.1, 0.02, 0.05), strict=True):
        assert len(part) == pytest.approx(share * 30_000, rel=0.1)
    new = parts.new_test
    assert len(new.ratings.user) == 3 * 100
    assert sorted(new.ratings.item[new.ratings.user == 1].tolist()) == list(range(100))
    assert sorted(new.place[new.ratings.user == 1].tolist()) == list(range(100))
    assert len(new.given(3).user) == 9
    assert set(new.given(3).item[new.given(3).user == 0]) > set(new.given(1).item[new.given(1).user == 0])
    assert len(new.held_out(20).user) == 240
    with pytest.raises(SeqgenError, match=r"'observed' is 0.1, 'split' \[0.5, 0.45\]; give shares whose sum is 1"):
        drawn(PROCESS, (0.5, 0.45), (0, 0))


def test_parts_of_a_file_are_by_lot_and_whole(file: Path) -> None:
    found = read(file)
    parts = stored(found, (0.1, 0.2), (2, 3), 3)
    count = len(found.triples.user)
    new = [parts.new_valid, parts.new_test]
    known = [len(part.user) for part in parts[:3]]
    assert sum(known) + sum(len(one.ratings.user) for one in new) == count
    assert known[1:] == [int(0.1 * sum(known)), int(0.3 * sum(known)) - int(0.1 * sum(known))]
    assert len(parts.users) == 15
    assert not {*parts.users} & {*new[0].names, *new[1].names}
    ratings = {(found.users[i], found.items[j]): rating for i, j, rating in zip(*found.triples, strict=True)}
    for part, names in ((parts.test, parts.users), (new[1].ratings, new[1].names)):
        for i, j, rating in zip(*part, strict=True):
            assert ratings[names[i], parts.items[j]] == rating
    assert stored(found, (0.1, 0.2), (2, 3), 3).users == parts.users
    with pytest.raises(
        SeqgenError, match="2 new users are to be held out, but of 20 users 0 have more than 12 ratings"
    ):
        stored(found, (0.1, 0.2), (1, 1), 12)
    with pytest.raises(SeqgenError, match="20 new users are to be held out, but of 20 users 20 have more than 3"):
        stored(found, (0.1, 0.2), (10, 10), 3)
    with pytest.raises(SeqgenError, match="160 ratings leave none to valid; give more ratings, or larger shares"):
        stored(found, (0.001, 0.2), (0, 0), 3)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_most_rated_come_first_but_for_a_share(share: float, file: Path) -> None:
    before = drawn(PROCESS, (0.02, 0.05), (2, 3))
    parts = ordered(before, share)
    counts = np.bincount(parts.train.user, minlength=300)
    popular = np.array([place for place in range(300) if int((place + 1) * share) == int(place * share)], int)
    if share < 1:
        assert (np.diff(counts[popular[:20]]) <= 0).all()
    assert ((np.diff(counts) <= 0).all()) == (share == 0)
    assert sorted(parts.users, key=int) == [str(number) for number in range(300)]

    def named(division: Division) -> list[set[tuple[str, str, float]]]:
        known = [
            {(division.users[i], division.items[j], rating) for i, j, rating in zip(*part, strict=True)}
            for part in division[:3]
        ]
        new = division.new_test
        return [*known, {(new.names[i], division.items[j], rating) for i, j, rating in zip(*new.ratings, strict=True)}]

    assert named(parts) == named(before)


def test_rows_without_ratings_come_last() -> None:
    few = LowRankRatings(users=40, items=30, observed=0.03)
    for share in (0.0, 0.3):
        parts = ordered(drawn(few, (0.02, 0.05), (0, 0)), share)
        rated = np.bincount(parts.train.user, minlength=40) > 0
        assert 0 < rated.sum() < 40
        assert (np.diff(rated.astype(int)) <= 0).all()


def test_new_users_are_known_by_their_own_ratings_alone() -> None:
    """Those of the others stand in no item's list."""
    observed = ObservedMatrix.of(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([1.0, 2.0]), (2, 2))
    more = observed.with_users(torch.tensor([1, 0]), torch.tensor([0, 1]), torch.tensor([3.0, 4.0]), count=2)
    assert more.shape == (4, 2)
    assert more.by_user.partners.tolist() == [1, 0, 1, 0]
    assert more.by_user.values.tolist() == [1.0, 2.0, 4.0, 3.0]
    assert more.by_item is observed.by_item
    assert more.contains(torch.tensor([2, 2, 3]), torch.tensor([0, 1, 0])).tolist() == [False, True, True]


@pytest.mark.parametrize(("factors", "biases"), [(3, True), (3, False), (0, True)])
def test_a_new_user_is_folded_in_by_ridge_regression(factors: int, biases: bool) -> None:
    """Against the normal equations, and beyond the entry that is predicted."""
    network = MatrixFactorisation(MatrixFactorisation.Config(5, 8, factors, biases, ridge=0.7)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    none = torch.zeros(0, dtype=torch.int64)
    rated, value = torch.tensor([1, 4, 6]), torch.randn(3, generator=generator, dtype=torch.float64)
    empty = ObservedMatrix.of(none, none, value[:0], (5, 8))
    observed = empty.with_users(torch.zeros(3, dtype=torch.int64), rated, value, count=1)
    with torch.no_grad():
        ours = network(torch.full((8,), 5), torch.arange(8), observed, KEY)
        features, offsets = (part.numpy() for part in network._items())
        mean = network._users().mean(dim=0).numpy()
    for item in range(8):
        used = [place for place in range(3) if rated[place] != item]
        x = features[rated[used]]
        y = value[used].numpy() - offsets[rated[used]]
        # (xᵀx + λ)⁻¹ (xᵀy + λ w̄), the minimum of Σ (y - x·w)² + λ ‖w - w̄‖²
        w = np.linalg.solve(x.T @ x + 0.7 * np.eye(x.shape[1]), x.T @ y + 0.7 * mean)
        assert ours[item] == pytest.approx(offsets[item] + features[item] @ w)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of ratings, ``drawn.yaml`` of chains and ``stored.yaml`` of factors, and what both trained."""
    root = tmp_path_factory.mktemp("ratings")
    (root / "ratings.tsv").write_text("\n".join(lines()) + "\n", encoding="utf-8")
    (root / "drawn.yaml").write_text(CONFIG.format(origin=DRAWN, network=CHAINS, decay=0))
    factors = FACTORS.format(users=15, items=12)
    (root / "stored.yaml").write_text(CONFIG.format(origin=f"ratings: {root}/ratings.tsv", network=factors, decay=0.5))
    for name in ("drawn", "stored"):
        assert "finished at step 20" in done("train", root / f"{name}.yaml", "--out", root / name).err
    return root


def test_training_says_what_it_learns_from(work: Path) -> None:
    said = done("train", work / "stored.yaml", "--out", work / "again", "--set", "train.seed=1").err
    assert re.search(r"84 ratings of 15 users for 12 items", said), said


@pytest.mark.parametrize("name", ["drawn", "stored"])
def test_a_resumed_run_is_the_same_to_the_bit(work: Path, name: str, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(work / name, half)
    shutil.rmtree(half / "checkpoints" / "step-000020")
    assert "resuming from" in done("train", work / f"{name}.yaml", "--out", half, "--resume").err
    for file in ("model.safetensors", "optimiser.safetensors"):
        one, other = (root / "checkpoints" / "step-000020" / file for root in (work / name, half))
        assert one.read_bytes() == other.read_bytes()


def test_other_ratings_are_another_run(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "stored", tmp_path / "run")
    (tmp_path / "other.tsv").write_text("\n".join(["anna-0\tbook 0\t5", *lines()[1:]]) + "\n")
    said = refused(
        "train",
        work / "stored.yaml",
        "--out",
        tmp_path / "run",
        "--resume",
        "--set",
        f"task.ratings={tmp_path}/other.tsv",
    )
    assert "task.ratings" in said


@pytest.mark.parametrize("name", ["drawn", "stored"])
def test_an_evaluation(work: Path, name: str) -> None:
    found = done("eval", work / name, "--json").json()
    figures = ["rmse", "rmse_given_1", "rmse_given_3"]
    assert all(0 < found[figure] < 3 and found[f"{figure}_95"] > 0 for figure in figures)
    assert all(0 < found["validation"][figure] < 3 for figure in figures)
    assert found["validation"]["rmse"] != found["rmse"]
    errors = np.array(list(found["examples"]["rmse"].values()))
    assert found["rmse"] == pytest.approx(math.sqrt(errors[:, 0].sum() / errors[:, 1].sum()))
    assert found["ratings"] == len(errors)
    assert len(found["examples"]["rmse_given_1"]) == 3
    again = done("eval", work / name, "--seed", 1, "--json").json()
    assert (again["rmse"] == found["rmse"]) == (name == "stored")  # where evidence is by lot, there is some
    text = done("eval", work / name).out.splitlines()
    assert re.match(r"\d+ held-out ratings of \d+ users and of 3 new ones, checkpoint step-0000", text[0])
    assert text[2].startswith("rmse given 1 ")
    assert done("eval", work / name, "--examples", 5, "--json").json()["ratings"] == 5


def test_a_weight_decay_is_of_all_ratings_together(work: Path) -> None:
    """Logged losses are squared errors and λ/N ‖θ‖²."""
    lines = [json.loads(line) for line in (work / "stored" / "metrics.jsonl").read_text().splitlines()]
    assert all(line["loss"] > line["squared_error"] for line in lines if line["split"] == "train")
    lines = [json.loads(line) for line in (work / "drawn" / "metrics.jsonl").read_text().splitlines()]
    assert all(line["loss"] == line["squared_error"] for line in lines if line["split"] == "train")


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        ("stored", "networks.network.users=16", "networks.network: vectors of 16 users and 12 items, the data have 15"),
        (
            "drawn",
            "networks.network.prototypes=[31, 5]",
            "networks.network: 31 user prototypes, but 30 users have a tra",
        ),
        ("stored", "task.process.users=5", "ratings need one origin; give the file ratings, or else process"),
        ("drawn", "task.split=[0.5, 0.5]", r"'split' is \[0.5, 0.5\]; give two shares above 0"),
        ("drawn", "task.new_users=[-1, 2]", r"'new_users' is \[-1, 2\], 'given' \[1, 3\]; give numbers from 0"),
        ("drawn", "task.given=[3, 3]", r"'given' \[3, 3\]; give numbers from 0, at least one .* each of them once"),
        ("drawn", "task.given=[]", r"'given' \[\]; give numbers from 0, at least one"),
        ("drawn", "task.given=[20]", "20 ratings are given of 20 items; leave some to predict"),
        ("drawn", "task.random_share=2", "'random_share' is 2.0; give a share from 0 to 1"),
        ("drawn", "task.process.groups=1", "a matrix of 30 users and 20 items, rank 2, 1 groups; give 1 or more"),
        ("drawn", "task.process.observed=0", "'observed' 0.0; give deviations from 0, and a share between 0 and 1"),
        ("stored", "task.ratings=none.tsv", "cannot read none.tsv: No such file or directory"),
        ("stored", "task.given=[15]", "5 new users are to be held out, but of 20 users 0 have more than 15 ratings"),
        ("stored", "train.batch_size=500", "84 training ratings, fewer than a batch of 500; lower train.batch_size or"),
        ("stored", "objective.weight_decay=-1", "'weight_decay' is -1.0; give 0 or more"),
        ("stored", "networks.network.ridge=0", "'ridge' is 0.0, 'deviation' 0.1; give numbers above 0"),
        ("stored", "networks.network.factors=-1", "-1 factors of 15 users and 12 items; give 1 user and item or more"),
    ],
)
def test_a_run_that_does_not_fit_is_one_line(work: Path, tmp_path: Path, name: str, option: str, said: str) -> None:
    quiet = "batch_size" not in option  # which is refused when the run has been announced
    error = refused("train", work / f"{name}.yaml", "--out", tmp_path / "x", "--set", option, quiet=quiet)
    assert re.search(said, error), error


def test_ratings_that_are_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "same.tsv"
    path.write_text("".join(f"{i}\t{j}\t3\n" for i in range(5) for j in range(5)))
    options = {"name": "ratings", "ratings": str(path)}
    plain = {"name": "x", "task": options, "networks": {}, "train": {"steps": 1}}
    task = Ratings(config.from_plain(plain, RunConfig, source="x"), Ratings.Config(ratings=str(path)))
    with pytest.raises(SeqgenError, match="all 20 training ratings are 3; give ratings that differ"):
        task.source("train", {})


def test_a_chain_that_ends_at_once_is_warned_of(work: Path, tmp_path: Path) -> None:
    options = ("networks.network.depth=0", "networks.network.evidence=[0]", "networks.network.prototypes=[2, 2]")
    said = done("train", work / "drawn.yaml", "--out", tmp_path / "flat", "--set", *options).err
    assert "warning: networks.network: at depth 0 the" in said


def test_ratings_have_no_samples_and_no_bundle(work: Path, tmp_path: Path) -> None:
    assert "the task 'ratings' has nothing to sample" in refused("sample", work / "drawn", "--out", tmp_path / "x")
    assert "the task 'ratings' cannot be exported" in refused("export", work / "drawn", "--out", tmp_path / "x")
