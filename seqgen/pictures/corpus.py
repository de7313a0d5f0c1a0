"""Corpora of pictures as they come: numpy archives, folders and zip files of PNG files, scikit-learn's digits."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError
from seqgen.files import arrays
from seqgen.pictures.directory import Numbers, PictureSet, Pixels

DIGITS = "digits"
_LEVELS = 256  # of a byte
_CHANNELS = (1, 3)
_ARCHIVE = "save uint8 pictures as x, or x_train and x_test, with numpy.savez"
_PNG = "save it as PNG of 8 bits, grey or RGB"
Files = Mapping[str, Callable[[], IO[bytes]]]


@dataclass(frozen=True)
class Corpus:
    """Pictures of a corpus, with their ids and what is known of them.

    Attributes:
        pictures: all of them; those that the corpus itself holds out for a test come last. held: how many these are.
        levels: values that a pixel can take. classes: names, by number.
    """

    pictures: PictureSet
    held: int
    levels: int = _LEVELS
    classes: tuple[str, ...] = ()


def read(source: Path) -> Corpus:
    """Pictures of a numpy archive, of a folder or zip file of PNG files whose folders are their classes, or
    scikit-learn's digits (the word ``digits``).

    Raises:
        SeqgenError: naming the file (and the row) for what cannot be read, and for pictures that do not fit each other.
    """
    if str(source) == DIGITS:
        return _digits()
    if source.is_dir():
        return _of_files(source, _in_folder(source))
    if zipfile.is_zipfile(source) and source.suffix != ".npz":
        with _unpacked(source) as files:
            return _of_files(source, files)
    return _of_archive(source)


def _digits() -> Corpus:
    """The 1,797 handwritten digits of 8x8 pixels and 17 levels that come with scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise SeqgenError("no digits without scikit-learn", remedy="install seqgen with its extra `train`") from None
    found = load_digits()
    x, y = found.images.astype(np.uint8)[:, None], found.target.astype(np.int64)
    return Corpus(PictureSet(x, _numbered("digit", len(x)), y), 0, 17, tuple(map(str, range(10))))


def _of_archive(path: Path) -> Corpus:
    with arrays.opened(path) as archive:
        if isinstance(archive, np.ndarray):
            raise SeqgenError(f"{path}: one array, expected an archive with x or x_train", remedy=_ARCHIVE)
        members = {name: archive[name] for name in archive.files}
    parts = ("_train", "_test") if "x_train" in members else ("",)
    for name in (f"x{part}" for part in parts):
        if name not in members:
            raise SeqgenError(f"{path}: no array '{name}' (there are {', '.join(members) or 'none'})", remedy=_ARCHIVE)
    x = [_pictures(path, f"x{part}", members[f"x{part}"]) for part in parts]
    if len({one.shape[1:] for one in x}) > 1:
        shapes = " and ".join(str(list(one.shape[1:])) for one in x)
        raise SeqgenError(f"{path}: pictures of shapes {shapes}", remedy="give pictures of one size")
    counts = [len(one) for one in x]
    ids = [name for part, count in zip(parts, counts, strict=True) for name in _numbered(part[1:] or "picture", count)]
    y, classes = _ranked(_joined(path, "y", members, parts, counts))
    factors = _joined(path, "factors", members, parts, counts)
    levels = 2 if all(members[f"x{part}"].dtype == np.bool_ for part in parts) else _LEVELS
    pictures = PictureSet(np.concatenate(x), tuple(ids), y, factors)
    return Corpus(pictures, counts[1] if len(parts) > 1 else 0, levels, classes)


def _pictures(path: Path, name: str, x: npt.NDArray[Any]) -> Pixels:
    """Pictures of an archive as ``[N, C, H, W]``."""
    if x.dtype not in (np.uint8, np.bool_):
        raise SeqgenError(f"{path}: '{name}' holds {x.dtype}, expected uint8", remedy=_ARCHIVE)
    if x.ndim == 3:
        full = x[:, None]
    elif x.ndim == 4 and (x.shape[1] in _CHANNELS or x.shape[3] in _CHANNELS):
        full = x if x.shape[1] in _CHANNELS else x.transpose(0, 3, 1, 2)
    else:
        raise SeqgenError(
            f"{path}: '{name}' has shape {list(x.shape)}",
            remedy="save it as [pictures, height, width], or with 1 or 3 channels before or behind these two",
        )
    if not full.size:
        raise SeqgenError(f"{path}: '{name}' has shape {list(x.shape)}: there is no picture", remedy=_ARCHIVE)
    return np.ascontiguousarray(full, np.uint8)


def _joined(
    path: Path, name: str, members: Mapping[str, npt.NDArray[Any]], parts: Sequence[str], counts: Sequence[int]
) -> Numbers | None:
    """What is known of the pictures of all parts, a row for each; ``None`` where the archive says nothing."""
    there = [f"{name}{part}" for part in parts if f"{name}{part}" in members]
    if not there:
        return None
    if len(there) < len(parts):
        raise SeqgenError(f"{path}: '{there[0]}' without that of the other pictures", remedy="save both, or none")
    for one, count in zip(there, counts, strict=True):
        array, axes = members[one], 1 if name == "y" else 2
        if array.dtype.kind not in "iu" or array.ndim != axes:
            expected = "[pictures]" if axes == 1 else "[pictures, factors]"
            raise SeqgenError(
                f"{path}: '{one}' holds {array.dtype} of shape {list(array.shape)}, expected integers {expected}",
                remedy="save one integer for each",
            )
        if len(array) != count:
            raise SeqgenError(
                f"{path}: '{one}' has {len(array):,} rows for {count:,} pictures", remedy="save a row for each picture"
            )
    joined = [members[one].astype(np.int64) for one in there]
    if len({one.shape[1:] for one in joined}) > 1:
        raise SeqgenError(f"{path}: '{name}' of both parts has other columns", remedy="save the same factors of both")
    return np.concatenate(joined)


def _ranked(y: Numbers | None) -> tuple[Numbers | None, tuple[str, ...]]:
    """Classes by their rank among the labels that occur, and their names, which are the labels."""
    if y is None:
        return None, ()
    labels, ranks = np.unique(y, return_inverse=True)
    return ranks.astype(np.int64), tuple(map(str, labels.tolist()))


def _in_folder(folder: Path) -> Files:
    """Every PNG file under a folder."""

    def opener(path: Path) -> Callable[[], IO[bytes]]:
        return lambda: path.open("rb")

    found = (path for path in folder.rglob("*") if path.suffix.lower() == ".png" and path.is_file())
    return {path.relative_to(folder).as_posix(): opener(path) for path in found}


@contextmanager
def _unpacked(path: Path) -> Iterator[Files]:
    """Every PNG file in a zip file."""
    with zipfile.ZipFile(path) as archive:

        def opener(name: str) -> Callable[[], IO[bytes]]:
            return lambda: archive.open(name)

        yield {name: opener(name) for name in archive.namelist() if name.lower().endswith(".png")}


def _of_files(source: Path, files: Files) -> Corpus:
    """Pictures of PNG files; the folder that one lies in, below the folder that all lie in, is its class."""
    names = sorted(name for name in files if not _is_hidden(name))
    if not names:
        beside = sorted(path.name for path in source.glob("*") if path.suffix in (".npz", ".zip"))
        one_of = f"give one of {', '.join(beside)}" if source.is_dir() and beside else "give PNG files, in folders"
        raise SeqgenError(f"{source}: no PNG file in it", remedy=one_of)
    pictures = []
    for name in names:
        pictures.append(_decoded(f"{source}/{name}", files[name]))
        if pictures[-1].shape != pictures[0].shape:
            raise SeqgenError(
                f"{source}/{name}: channels, height and width {list(pictures[-1].shape)}, those of {names[0]} are "
                f"{list(pictures[0].shape)}",
                remedy="give pictures of one size, all grey or all in colour",
            )
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    shared = _shared(folders)
    below = ["/".join(parts[shared:]) for parts in folders]
    classes = tuple(sorted(set(below)))
    y = np.searchsorted(np.array(classes), np.array(below)).astype(np.int64) if len(classes) > 1 else None
    ids = tuple("/".join((*PurePosixPath(name).parts[shared:-1], PurePosixPath(name).stem)) for name in names)
    return Corpus(PictureSet(np.stack(pictures), ids, y), 0, classes=classes if y is not None else ())


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _shared(folders: Sequence[tuple[str, ...]]) -> int:
    """Leading folders that all have in common."""
    first, last = min(folders), max(folders)
    same = [one == other for one, other in zip(first, last, strict=False)]
    return same.index(False) if False in same else len(same)


def _decoded(name: str, opener: Callable[[], IO[bytes]]) -> Pixels:
    """Pixels of a PNG file, ``[C, H, W]``."""
    from PIL import Image

    try:
        with opener() as file, Image.open(file, formats=("PNG",)) as image:
            mode = image.mode
            pixels = np.asarray(image.convert("L") if mode == "1" else image, np.uint8)
    except Exception as error:  # of Pillow's, zlib's and struct's, whatever damaged bytes lead to
        raise SeqgenError(f"{name}: not a PNG file ({str(error).splitlines()[0]})", remedy=_PNG) from None
    if mode not in ("1", "L", "RGB"):
        raise SeqgenError(f"{name}: a PNG file of mode {mode}", remedy=_PNG)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _numbered(stem: str, count: int) -> tuple[str, ...]:
    width = len(str(count - 1))
    return tuple(f"{stem}-{number:0{width}d}" for number in range(count))
