"""The corpus that any folder of recordings is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from seqgen.data.corpus import Corpus, RawUtterance, position
from seqgen.data.folder.metadata import Entry, entries
from seqgen.data.folder.names import name_of
from seqgen.data.folder.scan import METADATA, scan
from seqgen.errors import SeqgenError


def _said(file: Path, recordings: list[Path], columns: Sequence[str]) -> dict[Path, Entry]:
    """Entries of the table, by recording.

    Raises:
        SeqgenError: for a line that names no recording, several, or one that has a line already, and for a recording
            without a line.
    """
    named: dict[str, list[Path]] = {}
    for path in recordings:
        for name in {path.as_posix(), path.with_suffix("").as_posix(), path.name, path.stem}:
            named.setdefault(name, []).append(path)
    found: dict[Path, Entry] = {}
    for entry in entries(file, columns):
        paths = named.get(entry.name.replace("\\", "/").removeprefix("./"), [])
        if len(paths) != 1:
            problem = "names no recording" if not paths else f"fits {paths[0]} and {paths[1]}"
            raise SeqgenError(
                f"{file}:{entry.line}: '{entry.name}' {problem}", remedy="write the path below the folder"
            )
        if paths[0] in found:
            raise SeqgenError(f"{file}:{entry.line}: a second line for {paths[0]}", remedy="remove one of them")
        found[paths[0]] = entry
    for path in recordings:
        if path not in found:
            raise SeqgenError(f"{file}: no line for {path}", remedy=f"add its transcript or remove {METADATA}")
    return found


@final
@dataclass(frozen=True)
class Folder(Corpus):
    """A tree of recordings at any rate, in any format of ``SUFFIXES``.

    The speaker of a recording is the first sub-folder on its path, or the folder's own name for files that lie
    directly in it. ``metadata.csv`` (optional) has lines ``id|text``, ``path|text`` or other ``columns``, which may
    name the speaker instead.

    Ids and splits are functions of a recording's own path (its sentence, where there are transcripts): none changes
    when others come or go.

    Attributes:
        valid, test: shares held out.
        hold_out: ``sentence`` keeps each sentence (or, without transcripts, each recording) in one split;
            ``speaker`` keeps each speaker in one, for models that must serve voices never heard in training.
        columns: of ``metadata.csv``, where neither headings nor their contents say what they are.

    Example:
        >>> [one.id for one in Folder().utterances(Path("my-recordings"))]  # doctest: +SKIP
        ['anna-greeting_1', 'anna-greeting_2', 'ben-greeting_1']
    """

    name = "folder"
    licence = "the owner's"
    own = True
    valid: float = 0.05
    test: float = 0.05
    hold_out: Literal["sentence", "speaker"] = "sentence"
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.valid >= 0 and self.test >= 0 and self.valid + self.test < 1):
            raise SeqgenError(
                f"held-out shares valid {self.valid:g} and test {self.test:g} leave nothing to train on",
                remedy="choose shares of at least 0 that add up to less than 1",
            )

    def utterances(self, root: Path) -> Iterator[RawUtterance]:
        """Every recording, with ids made safe for Kaldi: ``speaker-rest_of_the_path``."""
        recordings, metadata, home = scan(root).recordings, root / METADATA, root.resolve().name
        said = _said(metadata, recordings, self.columns) if metadata.is_file() else {}
        if self.columns and not said:
            raise SeqgenError(f"{metadata}: --columns without a table", remedy=f"add {METADATA}, or leave it out")
        for path in recordings:
            entry, below = said.get(path), path.as_posix()
            if entry is not None and entry.speaker:
                name = name_of(below, entry.speaker, below)
            elif len(path.parts) > 1:
                name = name_of(below, path.parts[0], path.relative_to(path.parts[0]).as_posix(), clashing=home)
            else:
                name = name_of(below, home, below)
            yield RawUtterance(name.id, root / path, name.speaker, entry.text if entry is not None else "", name.key)

    def left_out(self, root: Path, utterances: Sequence[RawUtterance]) -> list[str]:
        return scan(root).lines()

    def group(self, utterance: RawUtterance) -> str:
        """The speaker, or the sentence."""
        return utterance.speaker if self.hold_out == "speaker" else super().group(utterance)

    def splits(self, utterances: Sequence[RawUtterance]) -> list[str]:
        """The split of each utterance: of its group's :func:`position` alone, so that one may be empty.

        Raises:
            SeqgenError: where nothing is left to train on.
        """
        chosen = [self._split(position(self.group(one))) for one in utterances]
        if "train" not in chosen:
            raise SeqgenError(
                f"{len(utterances)} recording(s) leave nothing to train on by {self._asked()}",
                remedy="hold out less, or nothing with --valid 0 --test 0",
            )
        return chosen

    def advice(self, utterances: Sequence[RawUtterance]) -> list[str]:
        """A line where a wanted split is empty. To fill it with another group would move that one later."""
        places = sorted({position(self.group(one)) for one in utterances})
        lacking = {name for name, share in (("test", self.test), ("valid", self.valid)) if share > 0}
        lacking -= {self._split(place) for place in places}
        if not lacking:
            return []
        names = " or ".join(sorted(lacking))
        none = f"none of {len(places)} different recordings falls into {names} by {self._asked()}"
        return [f"{none}: {self._shares(places)}"]

    def _asked(self) -> str:
        return f"--valid {self.valid:g} --test {self.test:g}"

    def _split(self, place: float) -> str:
        return "test" if place < self.test else "valid" if place < self.test + self.valid else "train"

    def _shares(self, places: list[float]) -> str:
        """Shares that fill every wanted split, nearest to those that were asked for."""
        wanted = (self.test > 0) + (self.valid > 0)
        if len(places) <= wanted:
            return "cut long ones with --max-seconds 10"
        test, valid = self.test, self.valid
        if test and (places[0] >= test or sum(place >= test for place in places) < wanted):
            test = _above(places[0], places[1])
        rest = [place - test for place in places if place >= test]
        if valid and (rest[0] >= valid or rest[-1] < valid):
            valid = _above(rest[0], rest[1])
        return f"give --valid {valid:g} --test {test:g}, and keep these when recordings are added"


def _above(place: float, most: float) -> float:
    """The shortest number above one and not above another."""
    return next(
        (number for digits in range(1, 6) if (number := (math.floor(place * 10**digits) + 1) / 10**digits) <= most),
        most,
    )
