"""Small pictures for tests: archives, PNG files, and data directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from seqgen.pictures.directory import SPLITS, PictureFacts, PictureSet, write

Pixels = npt.NDArray[np.uint8]


def noise(count: int, *shape: int, levels: int = 256, seed: int = 0) -> Pixels:
    """Pixels drawn evenly, ``[count, *shape]``."""
    made = np.random.Generator(np.random.Philox(seed)).integers(0, levels, (count, *shape))
    return made.astype(np.uint8)


def archive(path: Path, **changed: Any) -> Path:
    """An archive like mnist.npz: 24 training and 6 test pictures of 4x4 pixels; ``None`` leaves an array out."""
    arrays = {
        "x_train": noise(24, 4, 4),
        "y_train": np.arange(24, dtype=np.uint8) % 3,
        "x_test": noise(6, 4, 4, seed=1),
        "y_test": np.arange(6, dtype=np.uint8) % 3,
        **changed,
    }
    np.savez(path, **{name: one for name, one in arrays.items() if one is not None})
    return path


def pngs(folder: Path, *, classes: tuple[str, ...] = ("a", "b/c"), each: int = 10) -> Path:
    """Grey PNG files of 4x4 pixels under folders that are their classes."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index, pixels in enumerate(noise(each, 4, 4, seed=number)):
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def directory(path: Path, *, shape: tuple[int, int, int] = (1, 4, 4), levels: int = 3) -> Path:
    """A data directory of 10, 4 and 5 pictures of two classes and two factors."""
    facts = PictureFacts(shape, levels, classes=("dark", "bright"), factors=("row", "column"))
    splits = {}
    for seed, (name, count) in enumerate(zip(SPLITS, (10, 4, 5), strict=True)):
        numbers = np.arange(count)
        ids = tuple(f"{name}-{number}" for number in numbers)
        factors = np.stack([numbers // 2, numbers % 2], axis=1)
        splits[name] = PictureSet(noise(count, *shape, levels=levels, seed=seed), ids, numbers % 2, factors)
    write(path, facts, splits)
    return path


def same(one: PictureSet, other: PictureSet) -> bool:
    """Whether two sets hold the same pictures, and know the same of them."""
    arrays = zip((one.x, one.y, one.factors), (other.x, other.y, other.factors), strict=True)
    return one.ids == other.ids and all(a is b is None or np.array_equal(a, b) for a, b in arrays)
