"""Ratings as triples of a user, an item and a number: read from a file, or drawn; each problem with its place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
_COLUMNS = ("user", "item", "rating")


class Triples(NamedTuple):
    """N ratings, each of a user for an item: numbers of users and items, int64 ``[N]``, and ratings ``[N]``."""

    user: Integers
    item: Integers
    rating: Reals

    def chosen(self, which: npt.NDArray[Any]) -> Triples:
        """Those of a mask, or of these places."""
        return Triples(self.user[which], self.item[which], self.rating[which])


class NamedTriples(NamedTuple):
    """Ratings whose users and items have names, in the order in which these are first met."""

    triples: Triples
    users: tuple[str, ...]
    items: tuple[str, ...]


def read(path: Path) -> NamedTriples:
    """Ratings of a file: a line ``user <tab> item <tab> rating`` for each, or an ``.npz`` archive of arrays so called.

    Raises:
        SeqgenError: naming the file and the line (or the place) of the first thing that is no rating, or is rated
            twice, and how many more there are.
    """
    try:
        with path.open("rb") as stream:
            archive = stream.read(2) == b"PK"
        found = _archive(path) if archive else _table(path.read_bytes(), path)
    except OSError as error:
        raise SeqgenError(
            f"cannot read {path}: {error.strerror or error}", remedy="give a readable file of ratings"
        ) from None
    if not len(found.triples.user):
        raise SeqgenError(f"{path}: no ratings", remedy="give a line user <tab> item <tab> rating for each")
    return found


def _table(data: bytes, path: Path) -> NamedTriples:
    columns: tuple[list[str], list[str], list[float]] = ([], [], [])
    numbers, problems = [], []
    for number, raw in enumerate(data.removesuffix(b"\n").split(b"\n") if data else (), 1):
        try:
            row = _row(raw)
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        numbers.append(number)
        for column, value in zip(columns, row, strict=True):
            column.append(value)  # type: ignore[arg-type]  # each of its kind
    _refuse(problems, "give a line user <tab> item <tab> rating for each (cut -f1-3 takes the first three columns)")
    found = _named(np.array(columns[0], object), np.array(columns[1], object), np.array(columns[2], np.float64))
    _require_single(found, lambda place: f"{path}:{numbers[place]}", lambda place: f"line {numbers[place]}")
    return found


def _row(raw: bytes) -> tuple[str, str, float]:
    """One line.

    Raises:
        ValueError: saying what is wrong with it.
    """
    try:
        fields = raw.removesuffix(b"\r").decode("utf-8").split("\t")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    if len(fields) != len(_COLUMNS):
        raise ValueError(
            f"{len(fields)} columns, expected user, item and rating" if fields != [""] else "an empty line"
        )
    user, item, text = (one.strip() for one in fields)
    if not user or not item:
        raise ValueError(f"no {'item' if user else 'user'}")
    try:
        rating = float(text)
    except ValueError:
        raise ValueError(f"the rating is '{text}', which is no number") from None
    if not math.isfinite(rating):
        raise ValueError(f"the rating is {text}, which is not finite")
    return user, item, rating


def _archive(path: Path) -> NamedTriples:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except OSError:
        raise
    except Exception as error:  # of numpy's, zipfile's, zlib's and tokenize's, whatever damaged bytes lead to
        reason = str(error).splitlines()[0] if str(error) else "it is empty"
        raise SeqgenError(f"{path}: not an archive ({reason})", remedy="write it with numpy.savez") from None
    if set(arrays) != set(_COLUMNS):
        raise SeqgenError(
            f"{path}: arrays {', '.join(sorted(arrays)) or 'none'}, expected user, item and rating",
            remedy="write it with numpy.savez(path, user=…, item=…, rating=…)",
        )
    shapes = {name: arrays[name].shape for name in _COLUMNS}
    if len(set(shapes.values())) != 1 or len(shapes["user"]) != 1:
        said = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise SeqgenError(f"{path}: shapes {said}", remedy="give three arrays of one dimension and length")
    if arrays["rating"].dtype.kind not in "biuf" or any(arrays[name].dtype.kind not in "iuSU" for name in _COLUMNS[:2]):
        said = ", ".join(f"{name} {arrays[name].dtype}" for name in _COLUMNS)
        raise SeqgenError(f"{path}: {said}", remedy="give users and items as integers or words, ratings as numbers")
    ratings = arrays["rating"].astype(np.float64)
    odd = np.flatnonzero(~np.isfinite(ratings))
    _refuse([f"{path}: the rating at {place} (from 0) is {ratings[place]}" for place in odd], "leave such ratings out")
    found = _named(*(arrays[name].astype(str).astype(object) for name in _COLUMNS[:2]), ratings)
    _require_single(found, lambda place: f"{path}: at {place} (from 0)", str)
    return found


def _named(user: npt.NDArray[Any], item: npt.NDArray[Any], rating: Reals) -> NamedTriples:
    """Names as numbers, in the order in which they are met."""
    users, items = (tuple(dict.fromkeys(column.tolist())) for column in (user, item))
    numbers = [
        np.array([index[name] for name in column], np.int64)
        for index, column in zip(map(_indexed, (users, items)), (user.tolist(), item.tolist()), strict=True)
    ]
    return NamedTriples(Triples(numbers[0], numbers[1], rating), users, items)


def _indexed(names: tuple[str, ...]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def _require_single(found: NamedTriples, where: Any, other: Any) -> None:
    """Refuse an item that a user has rated twice."""
    user, item, _ = found.triples
    order = np.lexsort((np.arange(len(user)), item, user))
    twice = np.flatnonzero((np.diff(user[order]) == 0) & (np.diff(item[order]) == 0))
    second = np.sort(order[twice + 1])
    first = dict(zip(order[twice + 1].tolist(), order[twice].tolist(), strict=True))
    said = (
        f"{where(place)}: user {found.users[user[place]]} has rated item {found.items[item[place]]} before, at "
        f"{other(first[place])}"
        for place in second.tolist()
    )
    _refuse(list(said), "give each pair of a user and an item once")


def _refuse(problems: list[str], remedy: str) -> None:
    if problems:
        more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
        raise SeqgenError(problems[0] + more, remedy=remedy)
