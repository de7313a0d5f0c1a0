"""Picture data directories: pictures of one size in three splits, with what is known of each, and the facts of all.

A directory has ``pictures.yaml``, the facts, and ``train/``, ``valid/`` and ``test/``, each with a ``pictures.npz`` of
these arrays:

    x        uint8 [N, H, W], or [N, C, H, W] where there are several channels; each value below ``levels``
    y        int64 [N], the number of each picture's class; where classes are known
    ids      strings [N], no two alike
    factors  int64 [N, F], further known properties of each picture, from 0; where there are such
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen import config
from seqgen.errors import SeqgenError
from seqgen.files import arrays
from seqgen.files.folders import replacing_folder
from seqgen.files.outputs import replacing, write_text

FACTS, PICTURES = "pictures.yaml", "pictures.npz"
SPLITS = ("train", "valid", "test")
_REMEDY = "make it with `seqgen data prepare pictures`"
_MEMBERS = ("x", "y", "ids", "factors")

Pixels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PictureFacts:
    """Facts that all pictures of a data directory share.

    Attributes:
        shape: channels, height and width. levels: values that a pixel can take, 0 to ``levels - 1``.
        binarisation: how pixels of two levels were made of more: ``threshold``, ``static`` (drawn once) or ``none``.
        classes: names of the classes by their number. factors: names of the factors by their column.
        corpus: what the pictures were made from.

    Raises:
        SeqgenError: for sizes of no picture, and levels that a byte does not hold.
    """

    shape: tuple[int, int, int]
    levels: int
    binarisation: str = "none"
    classes: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    corpus: str = ""

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not 2 <= self.levels <= 256:
            raise SeqgenError(
                f"pictures of shape {list(self.shape)} with {self.levels} levels",
                remedy="give channels, height and width of 1 or more, and 2 to 256 levels",
            )

    @property
    def pixels(self) -> int:
        """Values of one picture, those of all channels together."""
        channels, height, width = self.shape
        return channels * height * width


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Pictures of one split: ``x [N, C, H, W]``, ``ids``, and where known classes ``y [N]`` and ``factors [N, F]``."""

    x: Pixels
    ids: tuple[str, ...]
    y: Numbers | None = None
    factors: Numbers | None = None

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, chosen: Any) -> PictureSet:
        """The pictures of some rows, a slice or numbers of them."""
        y, factors = (None if one is None else one[chosen] for one in (self.y, self.factors))
        return PictureSet(self.x[chosen], tuple(np.array(self.ids, object)[chosen]), y, factors)


@dataclass(frozen=True)
class PictureData:
    """A picture data directory: its place and its facts; splits are read when they are asked for."""

    path: Path
    facts: PictureFacts

    @staticmethod
    def open(path: Path) -> PictureData:
        """Read the facts of a directory.

        Raises:
            SeqgenError: where there is none, or its facts cannot be read.
        """
        if not (path / FACTS).is_file():
            raise SeqgenError(f"no picture data at {path}: there is no {FACTS}", remedy=_REMEDY)
        return PictureData(path, config.load(path / FACTS, PictureFacts))

    def split(self, name: str) -> PictureSet:
        """Pictures of a split.

        Raises:
            SeqgenError: as :func:`read`.
        """
        return read(self.path / name / PICTURES, self.facts)

    def digest(self) -> str:
        """Digest of the pictures that are learnt from and chosen by, and of what is known of them."""
        found = hashlib.sha256(repr(self.facts).encode())
        for split in ("train", "valid"):
            pictures = self.split(split)
            found.update("\n".join(pictures.ids).encode())
            for part in (pictures.x, pictures.y, pictures.factors):
                found.update(b"-" if part is None else np.ascontiguousarray(part).tobytes())
        return found.hexdigest()[:16]

    @staticmethod
    def split_at(path: Path) -> tuple[PictureSet, PictureFacts]:
        """Pictures of a split where it lies, or of the test split of a whole directory, with their facts.

        Raises:
            SeqgenError: as :meth:`open` and :func:`read`.
        """
        place = path / "test" if (path / FACTS).is_file() else path
        facts = PictureData.open(place.absolute().parent).facts
        return read(place / PICTURES, facts), facts


def read(path: Path, facts: PictureFacts) -> PictureSet:
    """Pictures of a file, looked through.

    Raises:
        SeqgenError: naming the file and the row of the first problem: for what is no archive of such arrays, of other
            types or shapes, without a picture, and for values that the facts do not allow.
    """
    with arrays.opened(path) as archive:
        if isinstance(archive, np.ndarray):
            raise SeqgenError(f"{path}: one array, expected an archive of x, ids, …", remedy=_REMEDY)
        members = {name: archive[name] for name in _MEMBERS if name in archive.files}
    for name in ("x", "ids"):
        if name not in members:
            raise SeqgenError(f"{path}: no array '{name}' (there are {', '.join(members) or 'none'})", remedy=_REMEDY)
    x = _pixels(path, members["x"], facts)
    ids = _ids(path, members["ids"], len(x))
    known = (("y", bool(facts.classes)), ("factors", bool(facts.factors)))
    for name, expected in known:
        if (name in members) != expected:
            problem = f"no array '{name}'" if expected else f"'{name}', of which {FACTS} says nothing"
            raise SeqgenError(f"{path}: {problem}", remedy=_REMEDY)
    return PictureSet(
        x,
        ids,
        _classes(path, members["y"], len(x), len(facts.classes)) if "y" in members else None,
        _factors(path, members["factors"], len(x), len(facts.factors)) if "factors" in members else None,
    )


def write(path: Path, facts: PictureFacts, splits: Mapping[str, PictureSet]) -> None:
    """Write a picture data directory; all is made beside ``path``, read once, and takes its place when it is whole.

    Args:
        splits: pictures of train, valid and test.

    Raises:
        SeqgenError: where a split is missing or does not fit the facts (as :func:`read`), where the place cannot be
            written or holds something else.

    Example:
        >>> facts = PictureFacts((1, 8, 8), 2, factors=("row", "column"))
        >>> write(Path("data/dots"), facts, {"train": train, "valid": valid, "test": test})  # doctest: +SKIP
    """
    if set(splits) != set(SPLITS):
        raise SeqgenError(f"splits {', '.join(splits) or 'none'}", remedy=f"give {', '.join(SPLITS)}")
    with replacing_folder(path, kind="a picture data directory", may_replace=_is_ours) as work:
        for name, pictures in splits.items():
            (work / name).mkdir()
            _write(work / name / PICTURES, pictures)
            read(work / name / PICTURES, facts)
        write_text(work / FACTS, config.dump(facts))


def is_pictures(path: Path) -> bool:
    """Test for a picture data directory, or a split of one."""
    return (path / FACTS).is_file() or (path / PICTURES).is_file()


def _is_ours(place: Path) -> bool:
    """Test for a folder that is a picture data directory and has nothing else in it."""
    return (place / FACTS).is_file() and {entry.name for entry in place.iterdir()} <= {*SPLITS, FACTS}


def _write(path: Path, pictures: PictureSet) -> None:
    x = pictures.x[:, 0] if pictures.x.ndim == 4 and pictures.x.shape[1] == 1 else pictures.x
    members: dict[str, npt.NDArray[Any]] = {"x": x, "ids": np.array(pictures.ids, np.str_)}
    known = {"y": pictures.y, "factors": pictures.factors}
    members |= {name: one for name, one in known.items() if one is not None}
    with replacing(path) as file:
        np.savez_compressed(file, **members)  # type: ignore[arg-type]  # numpy's stubs know no raw file


def _pixels(path: Path, x: npt.NDArray[Any], facts: PictureFacts) -> Pixels:
    """Pixels of all pictures ``[N, C, H, W]``, whether or not the file names a single channel."""
    if x.dtype != np.uint8:
        raise SeqgenError(f"{path}: 'x' holds {x.dtype}, expected uint8", remedy=_REMEDY)
    full = x[:, None] if x.ndim == 3 else x
    if full.ndim != 4 or full.shape[1:] != facts.shape:
        expected = ", ".join(map(str, facts.shape))
        raise SeqgenError(f"{path}: 'x' has shape {list(x.shape)}, expected [pictures, {expected}]", remedy=_REMEDY)
    if not len(full):
        raise SeqgenError(f"{path}: there is no picture", remedy=_REMEDY)
    if (wrong := np.argwhere(full >= facts.levels)).size:
        row, channel, line, column = wrong[0].tolist()
        raise SeqgenError(
            f"{path}: row {row} (from 0): pixel {line}, {column} of channel {channel} is "
            f"{full[row, channel, line, column]}, with {facts.levels} levels",
            remedy=f"give values below {facts.levels}",
        )
    return full


def _ids(path: Path, ids: npt.NDArray[Any], count: int) -> tuple[str, ...]:
    if ids.dtype.kind != "U" or ids.shape != (count,):
        raise SeqgenError(
            f"{path}: 'ids' holds {ids.dtype} of shape {list(ids.shape)}, expected strings [{count}]", remedy=_REMEDY
        )
    names: tuple[str, ...] = tuple(ids.tolist())
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in seen:
            raise SeqgenError(f"{path}: row {row} (from 0): id '{name}' is that of row {seen[name]}", remedy=_REMEDY)
        seen[name] = row
    return names


def _classes(path: Path, y: npt.NDArray[Any], count: int, classes: int) -> Numbers:
    _require_integers(path, "y", y, (count,))
    if (wrong := np.flatnonzero((y < 0) | (y >= classes))).size:
        row = int(wrong[0])
        raise SeqgenError(
            f"{path}: row {row} (from 0): class {y[row]} of {classes}", remedy=f"give classes from 0 to {classes - 1}"
        )
    return y


def _factors(path: Path, factors: npt.NDArray[Any], count: int, names: int) -> Numbers:
    _require_integers(path, "factors", factors, (count, names))
    if (wrong := np.argwhere(factors < 0)).size:
        row, column = wrong[0].tolist()
        raise SeqgenError(
            f"{path}: row {row} (from 0): factor {column} is {factors[row, column]}", remedy="give factors from 0"
        )
    return factors


def _require_integers(path: Path, name: str, array: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.dtype != np.int64 or array.shape != shape:
        raise SeqgenError(
            f"{path}: '{name}' holds {array.dtype} of shape {list(array.shape)}, expected int64 {list(shape)}",
            remedy=_REMEDY,
        )
