"""Checks of picture data directories, and numbers that describe them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seqgen.data.tables import Problem
from seqgen.errors import SeqgenError
from seqgen.pictures.directory import FACTS, PICTURES, SPLITS, PictureData, PictureFacts, PictureSet, read
from seqgen.text.checks import Examined


def examine(path: Path) -> Examined:
    """Problems of a picture data directory, or of one split: the first of each file, and pictures that lie in two
    splits; noted are classes of which the training pictures have none, and pictures that are the same."""
    found = Examined()
    try:
        facts = _facts(path)
    except SeqgenError as error:
        found.problems.append(Problem(path, 0, str(error)))
        return found
    seen: dict[str, str] = {}
    looks: dict[bytes, str] = {}
    for file in _files(path):
        try:
            pictures = read(file, facts)
        except SeqgenError as error:
            found.problems.append(Problem(file, 0, str(error)))
            continue
        split = file.parent.name
        twice = [name for name in pictures.ids if name in seen]
        if twice:
            message = f"{len(twice):,} pictures are in {seen[twice[0]]} too, '{twice[0]}' among them"
            found.problems.append(Problem(file, 0, message))
        seen |= dict.fromkeys(pictures.ids, split)
        found.notes += [Problem(file, 0, note) for note in _notes(pictures, facts, looks, split)]
    return found


def statistics(path: Path) -> dict[str, object]:
    """Plain numbers that describe a picture data directory, or one split of it, ready for JSON.

    Raises:
        SeqgenError: where it cannot be read.
    """
    facts = _facts(path)
    made: dict[str, object] = {
        "path": str(path),
        "corpus": facts.corpus,
        "shape": list(facts.shape),
        "levels": facts.levels,
        "binarisation": facts.binarisation,
        "classes": len(facts.classes),
        "factors": ", ".join(facts.factors),
    }
    for file in _files(path):
        pictures = read(file, facts)
        mean = pictures.x.mean() / (facts.levels - 1)
        made[file.parent.name] = f"{len(pictures):,} pictures, mean {mean:.4f} of the highest value"
    return made


def _files(path: Path) -> list[Path]:
    whole = (path / FACTS).is_file()
    return [path / name / PICTURES for name in SPLITS] if whole else [path / PICTURES]


def _facts(path: Path) -> PictureFacts:
    return PictureData.open(path if (path / FACTS).is_file() else path.absolute().parent).facts


def _notes(pictures: PictureSet, facts: PictureFacts, looks: dict[bytes, str], split: str) -> Iterator[str]:
    """What is odd about a split; ``looks`` says in which one each picture was seen first."""
    if pictures.y is not None and split == SPLITS[0]:
        counts = np.bincount(pictures.y, minlength=len(facts.classes))
        if absent := [name for name, count in zip(facts.classes, counts.tolist(), strict=True) if not count]:
            yield f"no picture of class {', '.join(absent)}"
    same = 0
    for picture in pictures.x:
        same += looks.setdefault(picture.tobytes(), split) != split
    if same:
        yield f"{same:,} pictures look the same as one of another split"
