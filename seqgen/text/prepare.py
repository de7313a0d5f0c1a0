"""Preparation of a text: its documents in train, valid and test, and a tokenizer that is learnt from the first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from seqgen import registry
from seqgen.errors import SeqgenError
from seqgen.files.folders import replacing_folder
from seqgen.files.outputs import replacing
from seqgen.text import corpus
from seqgen.text.corpus import Documents, Part
from seqgen.text.directory import BOUNDS, DOCUMENTS, MARKER, SPLITS, SYMBOLS, TEXT, TOKENIZER, Split, ending, marker
from seqgen.text.tokenizer import Tokenizer, written


@dataclass(frozen=True)
class Preparation:
    """Settings of a preparation.

    Attributes:
        tokenizer: registered name. vocabulary: symbols that are wanted, where one can choose (0: the tokenizer's own
            number). stop: whether a symbol ends a sequence. documents: what is one.
        valid_share, test_share: of the bytes, at the end of the corpus. valid, test: corpora that are held out instead.

    Raises:
        SeqgenError: for shares that leave nothing, or one corpus that is held out without the other.
    """

    tokenizer: str = "bytes"
    vocabulary: int = 0
    stop: bool = False
    documents: Documents = "whole"
    valid_share: float = 0.05
    test_share: float = 0.05
    valid: Path | None = None
    test: Path | None = None

    def __post_init__(self) -> None:
        if not (0 < self.valid_share < 1 and 0 < self.test_share < 1 and self.valid_share + self.test_share < 1):
            raise SeqgenError(
                f"shares of {self.valid_share:g} and {self.test_share:g} are held out",
                remedy="give two above 0 whose sum is below 1",
            )
        if (self.valid is None) != (self.test is None):
            raise SeqgenError("one of the texts to hold out is given", remedy="give both --valid and --test, or none")
        if self.vocabulary < 0:
            raise SeqgenError(f"a vocabulary of {self.vocabulary}", remedy="give a number of symbols")


def prepare(source: Path, out: Path, settings: Preparation = Preparation()) -> dict[str, dict[str, int]]:
    """Write a text data directory; memory does not grow with the text.

    All is made beside ``out`` and takes its place when it is whole.

    Returns: bytes, documents and symbols of each split.
    Raises:
        SeqgenError: for a text that cannot be read, or a split that nothing is left for; ``out`` is as it was then.

    Example:
        >>> prepare(Path("text.txt"), Path("data"), Preparation("characters"))  # doctest: +SKIP
    """
    kind = registry.TOKENIZERS.load(settings.tokenizer)
    with replacing_folder(out, kind="a text data directory", may_replace=_is_ours) as work:
        _write_documents(source, work, settings)

        def text() -> Iterator[bytes]:
            return corpus.blocks(work / "train" / TEXT)

        made: Tokenizer = kind.learn(text, vocabulary=settings.vocabulary, stop=settings.stop)
        (work / TOKENIZER).write_text(written(made), encoding="utf-8")
        counts = {name: _encode(work / name, made) for name in SPLITS}
        about = {"corpus": "text", "documents": settings.documents, "tokenizer": made.signature, "splits": counts}
        (work / MARKER).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return counts


def _is_ours(place: Path) -> bool:
    """Test for a folder that is a text data directory and has nothing else in it."""
    own = {*SPLITS, TOKENIZER, MARKER}
    return bool(marker(place)) and all(entry.name in own for entry in place.iterdir())


def _write_documents(source: Path, work: Path, settings: Preparation) -> None:
    with ExitStack() as stack:
        writers = [stack.enter_context(_Writer(work / name)) for name in SPLITS]
        for index, part in _assigned(source, settings):
            writers[index].add(part)
    for writer, name in zip(writers, SPLITS, strict=True):
        if not writer.size:
            raise SeqgenError(
                f"{source}: nothing is left for {name}", remedy="give a longer text, other shares or other documents"
            )


def _assigned(source: Path, settings: Preparation) -> Iterator[tuple[int, Part]]:
    """Every part of a document with the number of its split."""
    kind = settings.documents
    if settings.valid is not None and settings.test is not None:
        for index, path in enumerate((source, settings.valid, settings.test)):
            yield from ((index, part) for part in corpus.parts(path, kind))
        return
    total = corpus.size(source)
    shares = (1 - settings.valid_share - settings.test_share, 1 - settings.test_share)
    places = [round(total * share) for share in shares]
    if kind == "whole":
        yield from corpus.cut(corpus.parts(source, kind), places)
        return
    index, at = 0, 0
    for part in corpus.parts(source, kind):
        if part.first:
            index = sum(at >= place for place in places)
        yield index, part
        at += len(part.data)


class _Writer:
    """Writer of one split's documents."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, ExitStack()
        self.size, self._start, self._name = 0, 0, ""

    def __enter__(self) -> _Writer:
        self._folder.mkdir()
        self._text: IO[bytes] = self._stack.enter_context((self._folder / TEXT).open("wb"))
        self._table = self._stack.enter_context((self._folder / DOCUMENTS).open("w", encoding="utf-8"))
        return self

    def add(self, part: Part) -> None:
        """One more part of a document."""
        if part.first:
            self._end()
            self._name = part.name
        self._text.write(part.data)
        self.size += len(part.data)

    def _end(self) -> None:
        if self.size > self._start:
            self._table.write(f"{self._name}\t{self._start}\t{self.size}\n")
        self._start = self.size

    def __exit__(self, *error: object) -> None:
        self._end()
        self._stack.close()


def _encode(folder: Path, made: Tokenizer) -> dict[str, int]:
    """Write a split's symbols; its counts."""
    kind = next(kind for kind in (np.uint8, np.uint16, np.uint32) if made.vocab_size <= np.iinfo(kind).max + 1)
    split, unknown = Split.open(folder), 0
    with replacing(folder / SYMBOLS) as symbols, replacing(folder / BOUNDS) as bounds:
        begun, ends = _Array(symbols, np.dtype(kind)), _Array(bounds, np.dtype(np.int64))
        ends.add(np.zeros(1, np.int64))
        for row in split.rows():
            for part in made.encode_blocks(_blocks(split.text, row.start, row.end)):
                begun.add(part.symbols)
                unknown += len(part.literals)
            begun.add(ending(made))
            ends.add(np.array([begun.count], np.int64))
        begun.finish()
        ends.finish()
    size = split.text.stat().st_size
    return {"bytes": size, "documents": ends.count - 1, "symbols": begun.count, "unknown": unknown}


def _blocks(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        for at in range(start, end, corpus.BLOCK):
            yield file.read(min(corpus.BLOCK, end - at))


class _Array:
    """Array on disk that grows: numpy leaves room in a header for an axis of any length."""

    def __init__(self, file: IO[bytes], kind: np.dtype[np.generic]) -> None:
        self._file, self._kind, self.count = file, kind, 0
        self._header()

    def _header(self) -> None:
        about = {"descr": np.lib.format.dtype_to_descr(self._kind), "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self._file, about)

    def add(self, values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        """More values at the end."""
        self._file.write(values.astype(self._kind).tobytes())
        self.count += len(values)

    def finish(self) -> None:
        """The length is known."""
        self._file.seek(0)
        self._header()
