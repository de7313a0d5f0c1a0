"""Pictures: data directories, what is refused of them, and batches by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqgen import config
from seqgen.errors import SeqgenError
from seqgen.pictures.directory import FACTS, PICTURES, PictureData, PictureFacts, PictureSet, write
from seqgen.tasks.pictures.batches import StoredPictures
from tests.unit.picture_files import directory, noise, same


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("known", [False, True])
def test_what_is_written_is_read(tmp_path: Path, channels: int, known: bool) -> None:
    names = (("dark", "bright"), ("row", "column")) if known else ((), ())
    facts = PictureFacts((channels, 3, 2), 5, "none", names[0], names[1], "a test")
    splits = {}
    for seed, split in enumerate(("train", "valid", "test")):
        x, ids = noise(4, channels, 3, 2, levels=5, seed=seed), tuple(f"{split} å{n}" for n in range(4))
        more = (np.arange(4) % 2, np.stack([np.arange(4), np.arange(4) + 7], axis=1)) if known else (None, None)
        splits[split] = PictureSet(x, ids, *more)
    write(tmp_path / "data", facts, splits)
    data = PictureData.open(tmp_path / "data")
    assert data.facts == facts
    assert all(same(data.split(name), one) for name, one in splits.items())
    with np.load(tmp_path / "data/train" / PICTURES) as arrays:
        assert arrays["x"].shape == ((4, 3, 2) if channels == 1 else (4, channels, 3, 2))
    write(tmp_path / "data", facts, splits)  # takes the place of one that is there
    (tmp_path / "data/notes").write_text("mine")
    with pytest.raises(SeqgenError, match="exists and is not a picture data directory"):
        write(tmp_path / "data", facts, splits)
    with pytest.raises(SeqgenError, match="splits train; give train, valid, test"):
        write(tmp_path / "other", facts, {"train": splits["train"]})


def changed(**arrays: Any) -> Callable[[Path], None]:
    """Spoil a file of pictures: other arrays, or none of a name."""

    def spoil(path: Path) -> None:
        with np.load(path) as found:
            kept = {name: found[name] for name in found.files} | arrays
        with path.open("wb") as file:
            np.savez(file, **{name: one for name, one in kept.items() if one is not None})

    return spoil


def _with(count: int, place: tuple[int, ...], value: int) -> Any:
    x = np.zeros((count, 4, 4), np.uint8)
    x[place] = value
    return x


def _array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


READ: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text": (lambda path: path.write_text("1 2 3"), "not an array .*; write it with"),
    "half": (lambda path: path.write_bytes(path.read_bytes()[:400]), "not an array"),
    "missing": (lambda path: path.unlink(), "cannot read .*No such file"),
    "one-array": (_array, "one array, expected an archive"),
    "no-x": (changed(x=None), r"no array 'x' \(there are y, ids, factors\)"),
    "no-ids": (changed(ids=None), "no array 'ids'"),
    "floats": (changed(x=np.zeros((5, 4, 4), np.float32)), "'x' holds float32, expected uint8"),
    "shape": (changed(x=np.zeros((5, 4, 3), np.uint8)), r"'x' has shape \[5, 4, 3\], expected \[pictures, 1, 4, 4\]"),
    "flat": (changed(x=np.zeros((5, 16), np.uint8)), r"'x' has shape \[5, 16\]"),
    "none": (changed(x=np.zeros((0, 4, 4), np.uint8)), "there is no picture"),
    "levels": (changed(x=_with(5, (3, 1, 2), 3)), r"row 3 \(from 0\): pixel 1, 2 of channel 0 is 3, with 3 levels"),
    "few-ids": (changed(ids=np.array(["a", "b"])), r"'ids' holds <U1 of shape \[2\], expected strings \[5\]"),
    "number-ids": (changed(ids=np.arange(5)), "'ids' holds int64 of shape"),
    "same-ids": (changed(ids=np.array(["a", "b", "c", "b", "d"])), r"row 3 \(from 0\): id 'b' is that of row 1"),
    "few-labels": (changed(y=np.zeros(4, np.int64)), r"'y' holds int64 of shape \[4\], expected int64 \[5\]"),
    "small-labels": (changed(y=np.zeros(5, np.int32)), "'y' holds int32 of shape"),
    "class": (changed(y=np.array([0, 1, 2, 0, 0])), r"row 2 \(from 0\): class 2 of 2; give classes from 0 to 1"),
    "below": (changed(y=np.array([0, 1, 1, 0, -1])), r"row 4 \(from 0\): class -1 of 2"),
    "no-labels": (changed(y=None), "no array 'y'"),
    "no-factors": (changed(factors=None), "no array 'factors'"),
    "columns": (changed(factors=np.zeros((5, 3), np.int64)), r"'factors' holds int64 of shape \[5, 3\], expected"),
    "factor": (changed(factors=np.eye(5, 2, dtype=np.int64) - 1), r"row 0 \(from 0\): factor 1 is -1; give factors"),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_that_does_not_fit_is_one_line(name: str, tmp_path: Path) -> None:
    spoil, said = READ[name]
    path = directory(tmp_path / "data") / "test" / PICTURES
    spoil(path)
    with pytest.raises(SeqgenError, match=said) as error:
        PictureData.open(tmp_path / "data").split("test")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("levels: 1", "1 levels; give channels, height"),
        ("levels: 257", "257 levels"),
        ("shape: [1, 4]", "shape"),
        ("shape: [1, 0, 4]", r"shape \[1, 0, 4\]"),
        ("colour: true", "colour"),
        ("classes: []", "'y', of which pictures.yaml says nothing"),
        ("factors: []", "'factors', of which pictures.yaml says nothing"),
    ],
)
def test_facts_that_do_not_fit_are_one_line(tmp_path: Path, change: str, said: str) -> None:
    data = directory(tmp_path / "data")
    key = change.partition(":")[0]
    facts = config.plain(PictureData.open(data).facts)
    facts.pop(key, None)
    lines = "".join(f"{name}: {list(one) if isinstance(one, tuple) else one}\n" for name, one in facts.items() if one)
    (data / FACTS).write_text(f"{lines}{change}\n")
    with pytest.raises(SeqgenError, match=said) as error:
        PictureData.open(data).split("train")
    assert "\n" not in str(error.value)
    with pytest.raises(SeqgenError, match=r"no picture data at .*: there is no pictures\.yaml; make it with"):
        PictureData.open(tmp_path)


def source(tmp_path: Path, split: str = "train", **how: Any) -> StoredPictures:
    data = PictureData.open(directory(tmp_path / "data", shape=(2, 3, 4)))
    return StoredPictures(data.split(split), 3, **({"rows": 4, "seed": 5} | how))


def test_every_pass_has_each_picture_once(tmp_path: Path) -> None:
    stored = source(tmp_path)  # ten pictures, four a batch: five batches are two passes
    ids = [name for batch in stored.batches(0, 10, 0, 1) for name in batch.ids]
    passes = [ids[at : at + 10] for at in range(0, 40, 10)]
    assert all(set(one) == set(stored.pictures.ids) for one in passes)
    assert len({tuple(one) for one in passes}) == 4
    assert [name for batch in stored.batches(3, 6, 0, 1) for name in batch.ids] == ids[12:24]
    parts = [list(stored.batches(0, 10, rank, 3)) for rank in range(3)]
    assert Counter(name for part in parts for batch in part for name in batch.ids) == Counter(ids)
    assert [name for batch in parts[1] for name in batch.ids] == [
        name for at in range(0, 40, 4) for name in ids[at : at + 4][1::3]
    ]
    large = source(tmp_path, rows=23)
    assert Counter(Counter(next(large.batches(0, 1, 0, 1)).ids).values()) == Counter({2: 7, 3: 3})
    other = source(tmp_path, seed=6)
    assert [name for batch in other.batches(0, 10, 0, 1) for name in batch.ids] != ids


def test_batches_hold_what_is_known(tmp_path: Path) -> None:
    stored = source(tmp_path, learnt=True)
    batch = next(stored.batches(1, 2, 0, 1))
    pictures = stored.pictures
    assert batch.x.dtype == batch.index.dtype == batch.label.dtype == batch.factors.dtype == torch.int64
    assert batch.x.shape == (4, 24)
    assert batch.lengths.tolist() == [24] * 4
    for row, number in enumerate(batch.index.tolist()):
        assert batch.ids[row] == pictures.ids[number]
        assert batch.x[row].tolist() == pictures.x[number].ravel().tolist()
        assert batch.label[row] == pictures.y[number]
        assert batch.factors[row].tolist() == pictures.factors[number].tolist()
    real = next(source(tmp_path, real=True).batches(1, 2, 0, 1))
    assert real.x.dtype == torch.float32
    assert torch.equal(real.x[..., 0], batch.x.float() - 1)
    assert real.index.tolist() == [-1] * 4
    held = source(tmp_path, "test")
    assert [len(one.ids) for one in held.whole()] == [4, 1]
    assert [name for one in held.whole(3) for name in one.ids] == list(held.pictures.ids[:3])
    assert held.first(9).ids == held.pictures.ids
    bare = StoredPictures(PictureSet(pictures.x, pictures.ids), 3, rows=4, seed=0)
    assert next(bare.whole()).label is next(bare.whole()).factors is None
