"""Text data directories: documents one after the other, and the symbols that they are learnt from as."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError
from seqgen.text.tokenizer import Tokenizer, read

TEXT, DOCUMENTS, SYMBOLS, BOUNDS = "text", "documents", "symbols.npy", "bounds.npy"
TOKENIZER, MARKER = "tokenizer.json", "corpus.json"
SPLITS = ("train", "valid", "test")
_REMEDY = "make one with `seqgen data prepare text`"


class Document(NamedTuple):
    """Document of a split: its id and its bytes."""

    id: str
    data: bytes


@dataclass(frozen=True)
class Split:
    """Documents of one split on disk, read one at a time: a directory with ``text`` and ``documents`` (lines
    ``id<TAB>start<TAB>end``, bytes), or a plain file, which is one document."""

    path: Path

    @staticmethod
    def open(path: Path) -> Split:
        """Look for a split.

        Raises:
            SeqgenError: where there is none.
        """
        if path.is_dir() and not (path / DOCUMENTS).is_file():
            inside = [name for name in SPLITS if (path / name / DOCUMENTS).is_file()]
            remedy = f"give {path / inside[-1]}" if inside else _REMEDY
            raise SeqgenError(f"{path}: no text data, there is no file `{DOCUMENTS}`", remedy=remedy)
        if not path.exists():
            raise SeqgenError(f"no text data at {path}", remedy=_REMEDY)
        return Split(path)

    @property
    def text(self) -> Path:
        """The file of all bytes."""
        return self.path / TEXT if self.path.is_dir() else self.path

    def __iter__(self) -> Iterator[Document]:
        """Every document, in order.

        Raises:
            SeqgenError: by file and line, where the table is damaged or does not fit the text.
        """
        for row in self.rows():
            yield self.document(row)

    def document(self, row: Row) -> Document:
        """The document of a row of the table."""
        with self.text.open("rb") as file:
            file.seek(row.start)
            return Document(row.id, file.read(row.end - row.start))

    def rows(self) -> Iterator[Row]:
        """Every document's place.

        Raises:
            SeqgenError: as when the documents themselves are read.
        """
        try:
            size = self.text.stat().st_size
            if not self.path.is_dir():
                yield Row(self.path.name, 0, size)
                return
            with (self.path / DOCUMENTS).open(encoding="utf-8") as table:
                for number, line in enumerate(table, 1):
                    row = parse(line)
                    if row is None or row.end > size:
                        raise SeqgenError(
                            f"{self.path / DOCUMENTS}:{number}: "
                            + ("no `id<TAB>start<TAB>end`" if row is None else f"the text ends at byte {size}"),
                            remedy="prepare the text again",
                        )
                    yield row
        except (OSError, UnicodeDecodeError) as error:
            raise SeqgenError(f"{self.path}: cannot be read ({error})", remedy=_REMEDY) from None


class Row(NamedTuple):
    """Row of the table of documents: an id, and where its bytes begin and end."""

    id: str
    start: int
    end: int


def parse(line: str) -> Row | None:
    """The row that a line is, ``None`` where it is none."""
    name, *places = line.rstrip("\n").split("\t")
    if len(places) != 2 or not all(place.isascii() and place.isdigit() for place in places) or not name:
        return None
    row = Row(name, int(places[0]), int(places[1]))
    return row if row.start < row.end else None


class Encoded(NamedTuple):
    """Encoded split: symbols of all documents, memory-mapped, and where each document's begin and end, ``[D + 1]``."""

    symbols: npt.NDArray[Any]
    bounds: npt.NDArray[np.int64]


def ending(tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """Symbols that stand behind those of a document: the one that ends a sequence, where the tokenizer has one."""
    return np.array([] if tokenizer.stop is None else [tokenizer.stop], np.int64)


@dataclass(frozen=True)
class TextData:
    """Text data directory: a tokenizer, and train, valid and test below it."""

    path: Path
    tokenizer: Tokenizer

    @staticmethod
    def open(path: Path) -> TextData:
        """Look for a text data directory.

        Raises:
            SeqgenError: where there is none, or its symbols were made by another tokenizer than the one there.
        """
        if not path.is_dir() or not (path / TOKENIZER).is_file():
            raise SeqgenError(f"{path}: no text data directory, there is no {TOKENIZER}", remedy=_REMEDY)
        made = TextData(path, read(path / TOKENIZER))
        signature = marker(path).get("tokenizer")
        if signature != made.tokenizer.signature:
            raise SeqgenError(
                f"{path}: the symbols were made by tokenizer {signature}, {TOKENIZER} is {made.tokenizer.signature}",
                remedy="prepare the text again",
            )
        return made

    def split(self, name: str) -> Split:
        """Documents of a split.

        Raises:
            SeqgenError: where it is not there.
        """
        return Split.open(self.path / name)

    def encoded(self, name: str) -> Encoded:
        """Symbols of a split.

        Raises:
            SeqgenError: where they are not there, or not whole.
        """
        folder = self.path / name
        try:
            symbols = np.load(folder / SYMBOLS, mmap_mode="r", allow_pickle=False)
            bounds = np.load(folder / BOUNDS, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise SeqgenError(f"{folder}: no symbols ({error})", remedy="prepare the text again") from None
        whole = symbols.ndim == bounds.ndim == 1 and len(bounds) > 1 and int(bounds[-1]) == len(symbols)
        if not whole or bounds.dtype != np.int64 or symbols.dtype.kind != "u":
            raise SeqgenError(f"{folder}: {SYMBOLS} and {BOUNDS} do not fit", remedy="prepare the text again")
        return Encoded(symbols, bounds)


def marker(path: Path) -> dict[str, Any]:
    """Record written beside a directory's tokenizer when it was prepared; empty where it cannot be read."""
    try:
        found = json.loads((path / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("corpus") == "text" else {}


def is_text(path: Path) -> bool:
    """Test for a text data directory or a split of one."""
    return (path / TOKENIZER).is_file() or (path / DOCUMENTS).is_file()
