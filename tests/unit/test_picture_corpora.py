"""Pictures as they come: archives, PNG files and digits; their sizes, their levels, and how they are split."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seqgen.errors import SeqgenError
from seqgen.pictures import corpus, prepare
from seqgen.pictures.directory import PictureData, PictureFacts, PictureSet
from seqgen.pictures.prepare import Preparation, averaged, static
from tests.unit.picture_files import archive, noise, pngs, same


def test_an_archive_keeps_its_own_test_pictures(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz")
    facts = prepare.prepare(path, tmp_path / "data", Preparation(train=7, valid=4, test=5))
    data = PictureData.open(tmp_path / "data")
    assert facts == data.facts == PictureFacts((1, 4, 4), 256, classes=("0", "1", "2"), corpus="a.npz")
    train, valid, test = (data.split(name) for name in ("train", "valid", "test"))
    assert np.array_equal(train.x[:, 0], noise(24, 4, 4)[:7])
    assert np.array_equal(valid.x[:, 0], noise(24, 4, 4)[-4:])
    assert np.array_equal(test.x[:, 0], noise(6, 4, 4, seed=1)[:5])
    assert train.ids[:2] == ("train-00", "train-01")
    assert valid.ids[-1] == "train-23"
    assert test.ids[0] == "test-0"
    assert valid.y.tolist() == [20 % 3, 21 % 3, 22 % 3, 23 % 3]
    prepare.prepare(path, tmp_path / "data")
    assert [len(data.split(name)) for name in ("train", "valid", "test")] == [22, 2, 6]


def test_pictures_that_nobody_split_are_split_by_lot(tmp_path: Path) -> None:
    x, factors = noise(40, 4, 4), np.arange(80).reshape(40, 2)
    np.savez(tmp_path / "a.npz", x=x, y=100 - np.arange(40) % 2, factors=factors)
    facts = prepare.prepare(tmp_path / "a.npz", tmp_path / "a", Preparation(valid=6, factors=("left", "right")))
    data = PictureData.open(tmp_path / "a")
    splits = [data.split(name) for name in ("train", "valid", "test")]
    assert [len(one) for one in splits] == [30, 6, 4]
    assert facts.classes == ("99", "100")
    assert facts.factors == ("left", "right")
    rows = [int(name.removeprefix("picture-")) for one in splits for name in one.ids]
    assert sorted(rows) == list(range(40))
    assert rows != list(range(40))
    for one in splits:
        rows = [int(name.removeprefix("picture-")) for name in one.ids]
        assert rows == sorted(rows)
        assert np.array_equal(one.x[:, 0], x[rows])
        assert one.y.tolist() == [1 - row % 2 for row in rows]
        assert np.array_equal(one.factors, factors[rows])
    prepare.prepare(tmp_path / "a.npz", tmp_path / "b", Preparation(valid=6, train=9, factors=("left", "right")))
    fewer = PictureData.open(tmp_path / "b")
    assert same(fewer.split("test"), splits[2])
    assert set(fewer.split("train").ids) < set(splits[0].ids)


def test_the_digits_of_scikit_learn() -> None:
    found = corpus.read(Path("digits"))
    assert found.pictures.x.shape == (1797, 1, 8, 8)
    assert (found.levels, found.held, found.pictures.x.max()) == (17, 0, 16)
    assert found.classes == tuple("0123456789")
    assert found.pictures.y is not None
    assert found.pictures.y[:4].tolist() == [0, 1, 2, 3]


def test_colours_and_bits(tmp_path: Path) -> None:
    colours = noise(20, 4, 5, 3)
    np.savez(tmp_path / "behind.npz", x=colours)
    np.savez(tmp_path / "before.npz", x=colours.transpose(0, 3, 1, 2))
    behind, before = (corpus.read(tmp_path / f"{name}.npz").pictures.x for name in ("behind", "before"))
    assert behind.shape == (20, 3, 4, 5)
    assert np.array_equal(behind, before)
    np.savez(tmp_path / "bits.npz", x=colours[..., 0] > 99)
    bits = corpus.read(tmp_path / "bits.npz")
    assert bits.levels == 2
    assert np.array_equal(bits.pictures.x[:, 0], colours[..., 0] > 99)


def test_png_files_in_folders_and_zipped(tmp_path: Path) -> None:
    folder = pngs(tmp_path / "in")
    (folder / "a/.hidden.png").write_text("no picture")
    (folder / "a/notes.txt").write_text("no picture")
    found = corpus.read(folder)
    assert found.classes == ("a", "b/c")
    assert found.pictures.ids[:2] == ("a/0", "a/1")
    assert found.pictures.y is not None
    assert found.pictures.y.tolist() == [0] * 10 + [1] * 10
    assert np.array_equal(found.pictures.x[10:, 0], noise(10, 4, 4, seed=1))
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as packed:
        for path in folder.rglob("*.png"):
            packed.write(path, Path("shared") / path.relative_to(folder))
        packed.writestr("__MACOSX/shared/a/0.png", "no picture")
    again = corpus.read(tmp_path / "in.zip")
    assert again.classes == found.classes
    assert same(again.pictures, found.pictures)
    one = corpus.read(pngs(tmp_path / "one", classes=("only",)))
    assert one.classes == ()
    assert one.pictures.y is None
    Image.fromarray(noise(1, 4, 4, 3)[0]).save(tmp_path / "one/only/0.png")
    for number in range(1, 10):
        (tmp_path / f"one/only/{number}.png").unlink()
    assert np.array_equal(corpus.read(tmp_path / "one").pictures.x, noise(1, 4, 4, 3).transpose(0, 3, 1, 2))
    Image.fromarray(noise(1, 4, 4)[0] > 99).save(tmp_path / "one/only/0.png")
    assert np.array_equal(corpus.read(tmp_path / "one").pictures.x, 255 * (noise(1, 1, 4, 4) > 99))


def test_sides_are_means_of_blocks() -> None:
    x = np.array([[[[0, 1, 10, 20], [1, 1, 30, 41], [255, 255, 7, 8], [255, 255, 7, 7]]]], np.uint8)
    assert averaged(x, 2).tolist() == [[[[1, 25], [255, 7]]]]
    assert averaged(x, 1).tolist() == [[[[round(x.mean())]]]]
    assert np.array_equal(averaged(x, 4), x)
    many = noise(1003, 2, 6, 6)
    expected = many.reshape(1003, 2, 3, 2, 3, 2).mean(axis=(3, 5))
    assert np.array_equal(averaged(many, 3), np.floor(expected + 0.5))


def made(x: Any, **how: Any) -> Any:
    pictures = PictureSet(np.array(x, np.uint8).reshape(1, 1, 1, -1), ("one",))
    return prepare.pixels(pictures, 256, Preparation(**how)).ravel().tolist()


def test_levels_thresholds_and_inversion() -> None:
    assert made([0, 127, 128, 255]) == [0, 127, 128, 255]
    assert made([0, 127, 128, 255], binarise="threshold") == [0, 0, 1, 1]
    assert made([0, 63, 64, 127, 128, 255], levels=4) == [0, 0, 1, 1, 2, 3]
    assert made([0, 1, 255], invert=True) == [255, 254, 0]
    assert made([0, 100, 255], invert=True, levels=2) == [1, 1, 0]
    eight = PictureSet(np.full((1, 1, 1, 1), 8, np.uint8), ("one",))
    assert prepare.pixels(eight, 17, Preparation(binarise="threshold")).item() == 1


def test_static_pictures_are_drawn_once_and_for_all() -> None:
    x = (np.arange(300 * 64) * 89 % 256).astype(np.uint8).reshape(300, 1, 8, 8)
    ids = tuple(f"train-{number}" for number in range(300))
    drawn = static(x, ids, 256)
    digest = hashlib.sha256(drawn.tobytes()).hexdigest()
    assert digest[:16] == "b25f59c13382b813"
    assert np.array_equal(static(x[7:9], ids[7:9], 256), drawn[7:9])
    assert not np.array_equal(static(x[7:8], ids[8:9], 256), drawn[7:8])
    p = x / 255
    off = float((drawn - p).sum()) / math.sqrt(float((p * (1 - p)).sum()))
    assert abs(off) < 3
    for low, high in ((0, 0.2), (0.4, 0.6), (0.8, 1)):
        among = (p >= low) & (p <= high)
        spread = math.sqrt(float((p * (1 - p))[among].sum()))
        assert abs(float((drawn - p)[among].sum())) < 3 * spread
    sure = np.array([[[[0, 16]]]], np.uint8).repeat(500, axis=0)
    assert (static(sure, tuple(map(str, range(500))), 17) == [0, 1]).all()
    assert abs(static(sure, tuple(map(str, range(500))), 33)[..., 1].mean() - 0.5) < 3 * 0.5 / math.sqrt(500)


PREPARED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "floats": ({"x_train": np.zeros((9, 4, 4))}, {}, "'x_train' holds float64, expected uint8"),
    "flat": ({"x_test": np.zeros((9, 16), np.uint8)}, {}, r"'x_test' has shape \[9, 16\]; save it as"),
    "channels": ({"x_train": np.zeros((9, 4, 4, 2), np.uint8)}, {}, r"'x_train' has shape \[9, 4, 4, 2\]"),
    "sizes": ({"x_test": noise(6, 4, 5)}, {}, r"pictures of shapes \[1, 4, 4\] and \[1, 4, 5\]; give pictures of one"),
    "no-test": ({"x_test": None}, {}, r"no array 'x_test' \(there are x_train, y_train, y_test\)"),
    "no-x": ({"x_train": None, "x_test": None}, {}, r"no array 'x' \(there are y_train, y_test\)"),
    "empty": ({"x_train": noise(0, 4, 4)}, {}, "there is no picture"),
    "labels": ({"y_train": np.zeros(23, int)}, {}, "'y_train' has 23 rows for 24 pictures; save a row for each"),
    "half": ({"y_test": None}, {}, "'y_train' without that of the other pictures; save both"),
    "real-labels": ({"y_test": np.zeros(6)}, {}, r"'y_test' holds float64 of shape \[6\], expected integers"),
    "deep-labels": (
        {"y_test": np.zeros((6, 1), int)},
        {},
        r"'y_test' holds int64 of shape \[6, 1\], expected integers",
    ),
    "side": ({}, {"side": 3}, "--side 3 for pictures of 4x4; give one of 1, 2, 4"),
    "large-side": ({}, {"side": 8}, "--side 8 for pictures of 4x4; give one of 1, 2, 4"),
    "oblong": ({"x_train": noise(24, 4, 2), "x_test": noise(6, 4, 2)}, {"side": 2}, "--side 2 for pictures of 4x2"),
    "levels": (
        {"x_train": noise(24, 4, 4) > 9, "x_test": noise(6, 4, 4) > 9},
        {"levels": 3},
        "--levels 3, the pictures have 2; give no more than these",
    ),
    "dark": ({"x_train": noise(24, 4, 4, levels=2)}, {"levels": 2}, "every pixel of train is 0 of 256 levels"),
    "train": ({}, {"train": 23, "valid": 2}, "23 pictures for train, of 22; give more pictures, or hold out fewer"),
    "valid": ({}, {"valid": 24}, "0 pictures for train, of 0"),
    "much-valid": ({}, {"valid": 25}, "25 pictures for valid, of 24"),
    "test": ({}, {"test": 7}, "7 pictures for test, of 6"),
    "names": ({}, {"factors": ("a",)}, "no factors to be named; give an archive with an array 'factors'"),
    "one-name": (
        {"factors_train": np.zeros((24, 2), int), "factors_test": np.zeros((6, 2), int)},
        {"factors": ("a",)},
        "2 factors, 1 names; name them all",
    ),
    "other-factors": (
        {"factors_train": np.zeros((24, 2), int), "factors_test": np.zeros((6, 3), int)},
        {},
        "'factors' of both parts has other columns",
    ),
}


@pytest.mark.parametrize("name", PREPARED)
def test_an_archive_that_cannot_be_prepared_is_one_line(name: str, tmp_path: Path) -> None:
    arrays, how, said = PREPARED[name]
    path = archive(tmp_path / "a.npz", **arrays)
    with pytest.raises(SeqgenError, match=said) as error:
        prepare.prepare(path, tmp_path / "out", Preparation(**how))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def _other_size(folder: Path) -> None:
    Image.fromarray(noise(1, 4, 5)[0]).save(folder / "a/3.png")


FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no-png": (lambda folder: (folder / "a/3.png").write_text("no"), "in/a/3.png: not a PNG file .*; save it as PNG"),
    "half": (
        lambda folder: (folder / "a/3.png").write_bytes((folder / "a/3.png").read_bytes()[:50]),
        "in/a/3.png: not a PNG file",
    ),
    "size": (_other_size, r"in/a/3.png: channels, height and width \[1, 4, 5\], those of a/0.png are \[1, 4, 4\]"),
    "colour": (
        lambda folder: Image.fromarray(noise(1, 4, 4, 3)[0]).save(folder / "a/3.png"),
        r"a/3.png: channels, height and width \[3, 4, 4\]",
    ),
    "alpha": (
        lambda folder: Image.fromarray(noise(1, 4, 4, 4)[0]).save(folder / "a/3.png"),
        "in/a/3.png: a PNG file of mode RGBA; save it as PNG of 8 bits, grey or RGB",
    ),
    "other": (
        lambda folder: Image.fromarray(noise(1, 4, 4)[0]).save(folder / "a/3.png", "GIF"),
        "in/a/3.png: not a PNG file",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_png_files_that_do_not_fit_are_one_line(name: str, tmp_path: Path) -> None:
    spoil, said = FILES[name]
    folder = pngs(tmp_path / "in")
    spoil(folder)
    with pytest.raises(SeqgenError, match=said) as error:
        prepare.prepare(folder, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_place_without_pictures_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SeqgenError, match="no PNG file in it; give PNG files, in folders"):
        corpus.read(tmp_path)
    archive(tmp_path / "a.npz")
    with pytest.raises(SeqgenError, match=r"no PNG file in it; give one of a\.npz"):
        corpus.read(tmp_path)
    with pytest.raises(SeqgenError, match=r"cannot read .*nowhere"):
        corpus.read(tmp_path / "nowhere")
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(SeqgenError, match="one array, expected an archive with x"):
        corpus.read(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"train": 0}, "0 pictures for train; give 1 or more"),
        ({"valid": 0}, "0 pictures for valid"),
        ({"test": -1}, "-1 pictures for test"),
        ({"side": -1}, "a side of -1"),
        ({"levels": 1}, "1 levels; give a side"),
        ({"levels": 257}, "257 levels"),
        ({"levels": 4, "binarise": "static"}, "4 levels, and a binarisation"),
    ],
)
def test_settings_that_make_no_sense(how: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        Preparation(**how)


def test_a_stratified_split_has_its_share_of_every_class(tmp_path: Path) -> None:
    """Of 20 classes of 10 drawings and one of 5: two and one for the test, as many for validation, whatever the lot."""
    y = np.repeat(np.arange(21), [10] * 20 + [5])
    x = np.random.default_rng(0).integers(0, 256, (len(y), 2, 2), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x=x, y=y)
    prepare.prepare(tmp_path / "x.npz", tmp_path / "data", Preparation(valid=41, test=41, stratify=True))
    data = PictureData.open(tmp_path / "data")
    for split, share in (("train", 0.6), ("valid", 0.2), ("test", 0.2)):
        counts = np.bincount(data.split(split).y, minlength=21)
        assert np.abs(counts - share * np.bincount(y)).max() <= 1
    np.savez(tmp_path / "held.npz", x_train=x, x_test=x[:5], y_train=y, y_test=y[:5])
    np.savez(tmp_path / "none.npz", x=x)
    for name, said in (("held", "are split already"), ("none", "have no classes")):
        with pytest.raises(SeqgenError, match=f"stratified split of pictures that {said}"):
            prepare.prepare(tmp_path / f"{name}.npz", tmp_path / name, Preparation(stratify=True))
