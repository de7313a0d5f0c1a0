"""Preparation of pictures: their size, their levels, and which are learnt from and which held out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.pictures import corpus
from seqgen.pictures.corpus import Corpus
from seqgen.pictures.directory import PictureFacts, PictureSet, Pixels, write

Binarisation = Literal["none", "threshold", "static"]
BINARISATIONS: tuple[Binarisation, ...] = ("none", "threshold", "static")
_SEED = 0  # of static binarisation: one for all, so that everybody has the same pictures
_CHUNK = 1000  # pictures that are averaged at once


@dataclass(frozen=True)
class Preparation:
    """Settings of a preparation.

    Attributes:
        side: height and width to average square pictures down to, a whole part of theirs (0: as they are).
        train, valid, test: pictures of each split (``None``: of train all that are left; of valid and test what the
            corpus holds out, or a tenth).
        binarise: how pixels become 0 or 1: ``threshold`` (from half of the highest value on 1), or ``static`` (1 with
            the probability of the value's share of the highest, drawn once, the same for everybody).
        levels: values of a pixel, equal parts of the corpus's (0: as they are).
        invert: whether dark is made bright. factors: names of the columns of the archive's array of factors.
        stratify: whether each split has its share of every class; for a corpus that holds none out.

    Raises:
        SeqgenError: for numbers that make no pictures, and levels beside a binarisation.
    """

    side: int = 0
    train: int | None = None
    valid: int | None = None
    test: int | None = None
    binarise: Binarisation = "none"
    levels: int = 0
    invert: bool = False
    factors: tuple[str, ...] = ()
    stratify: bool = False

    def __post_init__(self) -> None:
        for name in ("train", "valid", "test"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise SeqgenError(f"{count} pictures for {name}", remedy="give 1 or more")
        if self.side < 0 or not (self.levels == 0 or 2 <= self.levels <= 256):
            raise SeqgenError(
                f"a side of {self.side} and {self.levels} levels", remedy="give a side of 1 or more, 2 to 256 levels"
            )
        if self.binarise != "none" and self.levels not in (0, 2):
            raise SeqgenError(
                f"{self.levels} levels, and a binarisation, which leaves two", remedy="give one or the other"
            )


def prepare(source: Path, out: Path, settings: Preparation = Preparation()) -> PictureFacts:
    """Write a picture data directory.

    Returns: the facts that were written.
    Raises:
        SeqgenError: for a corpus that cannot be read, a side that does not divide, and splits that find no pictures;
            ``out`` is as it was then.

    Example:
        >>> prepare(Path("mnist.npz"), Path("data/mnist"), Preparation(binarise="static"))  # doctest: +SKIP
    """
    found = corpus.read(source)
    parts = split(found, settings)
    if settings.factors and found.pictures.factors is None:
        raise SeqgenError(f"{source}: no factors to be named", remedy="give an archive with an array 'factors'")
    columns = 0 if found.pictures.factors is None else found.pictures.factors.shape[1]
    if len(settings.factors) != columns:
        raise SeqgenError(
            f"{source}: {columns} factors, {len(settings.factors)} names", remedy="name them all: --factors NAME,NAME"
        )
    made = {name: replace(one, x=pixels(one, found.levels, settings)) for name, one in parts.items()}
    x = made["train"].x
    if x.min() == x.max():
        raise SeqgenError(
            f"{source}: every pixel of train is {x.min()} of {found.levels} levels", remedy="give other --levels"
        )
    channels, height, width = x.shape[1:]
    facts = PictureFacts(
        shape=(channels, height, width),
        levels=2 if settings.binarise != "none" else settings.levels or found.levels,
        binarisation=settings.binarise,
        classes=found.classes,
        factors=settings.factors,
        corpus=source.name,
    )
    write(out, facts, made)
    return facts


def split(found: Corpus, settings: Preparation) -> dict[str, PictureSet]:
    """Pictures of train, valid and test.

    Of a corpus that holds pictures out the first of these are the test, and the last of the others for validation. Of
    any other the lot decides, which depends on each picture's id alone, or within each class where splits are
    stratified.

    Raises:
        SeqgenError: where there are too few, and for a stratified split of what has no classes, or is split already.
    """
    rows = np.arange(len(found.pictures))
    if settings.stratify and (found.held or found.pictures.y is None):
        why = "are split already" if found.held else "have no classes"
        raise SeqgenError(f"a stratified split of pictures that {why}", remedy="leave --stratify out")
    if found.held:
        learnt, held = rows[: -found.held], rows[-found.held :]
        test, valid = settings.test or len(held), settings.valid or max(1, len(learnt) // 12)
    else:
        lots = [noise.name_to_stream(f"seqgen.pictures.split.{name}") for name in found.pictures.ids]
        test, valid = (given or max(1, len(rows) // 10) for given in (settings.test, settings.valid))
        order = np.argsort(np.array(lots), kind="stable")
        order = _class_by_class(order, found.pictures.y) if settings.stratify else order
        held, learnt = order[:test], order[test:]
    left = max(0, len(learnt) - valid)
    train = settings.train or left
    for name, wanted, there in (("test", test, len(held)), ("valid", valid, len(learnt)), ("train", train, left)):
        if not 0 < wanted <= there:
            raise SeqgenError(
                f"{wanted:,} pictures for {name}, of {there:,}", remedy="give more pictures, or hold out fewer"
            )
    chosen = {"train": learnt[:train], "valid": learnt[left:], "test": held[:test]}
    return {name: found.pictures.rows(np.sort(one)) for name, one in chosen.items()}


def _class_by_class(order: npt.NDArray[np.intp], classes: npt.NDArray[np.int64] | None) -> npt.NDArray[np.intp]:
    """The same rows so that every stretch of them has its share of each class."""
    assert classes is not None
    share = np.empty(len(order))
    for number in np.unique(classes):
        own = classes[order] == number
        share[own] = (np.arange(own.sum()) + 0.5) / own.sum()
    return order[np.argsort(share, kind="stable")]


def pixels(pictures: PictureSet, levels: int, settings: Preparation) -> Pixels:
    """Pixels as the settings want them, ``[N, C, side, side]``.

    Raises:
        SeqgenError: for a side that does not divide, and more levels than there are.
    """
    x = pictures.x if not settings.invert else (levels - 1 - pictures.x.astype(np.int64)).astype(np.uint8)
    x = averaged(x, settings.side) if settings.side else x
    if settings.binarise == "static":
        return static(x, pictures.ids, levels)
    if settings.binarise == "threshold":
        return (2 * x.astype(np.int64) >= levels - 1).astype(np.uint8)
    if settings.levels > levels:
        raise SeqgenError(f"--levels {settings.levels}, the pictures have {levels}", remedy="give no more than these")
    return x if not settings.levels else (x.astype(np.int64) * settings.levels // levels).astype(np.uint8)


def averaged(x: Pixels, side: int) -> Pixels:
    """Square pictures made smaller by a whole factor, each pixel the rounded mean of those that it covers.

    Raises:
        SeqgenError: for pictures that are not square, and a side that does not divide theirs.
    """
    count, channels, height, width = x.shape
    if height != width or height % side:
        whole = [str(part) for part in range(1, height + 1) if height % part == 0]
        fits = f"give one of {', '.join(whole)}" if height == width else "leave it out: square pictures have one"
        raise SeqgenError(f"--side {side} for pictures of {height}x{width}", remedy=fits)
    factor = height // side
    area = factor * factor
    made = np.empty((count, channels, side, side), np.uint8)
    for start in range(0, count, _CHUNK):
        blocks = x[start : start + _CHUNK].reshape(-1, channels, side, factor, side, factor)
        made[start : start + _CHUNK] = (2 * blocks.sum(axis=(3, 5), dtype=np.int64) + area) // (2 * area)
    return made


def static(x: Pixels, ids: tuple[str, ...], levels: int) -> Pixels:
    """Binary pictures that are drawn once: a pixel is 1 with probability ``value / (levels - 1)``.

    What is drawn follows from a picture's id and its pixels, whatever other pictures there are.
    """
    made = np.empty(x.shape, np.uint8)
    for row, (picture, name) in enumerate(zip(x, ids, strict=True)):
        u = noise.block(_SEED, noise.name_to_stream(f"seqgen.pictures.static.{name}"), 0, picture.size)
        made[row] = u.reshape(picture.shape) < picture / (levels - 1)
    return made
