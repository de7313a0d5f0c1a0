"""Checks of text data directories, whose problems are told by file and line, and numbers that describe them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from seqgen.data.tables import Problem
from seqgen.errors import SeqgenError
from seqgen.text import utf8
from seqgen.text.corpus import BLOCK
from seqgen.text.directory import DOCUMENTS, SPLITS, TOKENIZER, Row, Split, TextData, marker, parse

_LONG_LINE = 1 << 16  # bytes: what a line's encoding may hold in memory
_MOST_LINES = 10  # that are named, of each kind
_BOM = b"\xef\xbb\xbf"


@dataclass
class Examined:
    """Findings of a check: problems, and notes, which are none."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)


def examine(path: Path) -> Examined:
    """Every problem of a text data directory, or of one split: tables that do not fit their text, symbols that do not
    fit the tokenizer; and what is noted of the text: bytes that are no UTF-8, NUL bytes, byte order marks, carriage
    returns, very long lines, symbols that the tokenizer does not have.
    """
    found = Examined()
    splits = [path] if (path / DOCUMENTS).is_file() else [path / name for name in SPLITS]
    for folder in splits:
        try:
            split = Split.open(folder)
        except SeqgenError as error:
            found.problems.append(Problem(folder, 0, str(error)))
            continue
        found.problems += _table(split)
        found.notes += _text(split.text)
    if (path / TOKENIZER).is_file():
        _symbols(path, found)
    return found


def _table(split: Split) -> Iterator[Problem]:
    """Problems of the table of documents."""
    file, size = split.path / DOCUMENTS, split.text.stat().st_size
    end, seen = 0, set[str]()
    with file.open("rb") as table:
        for number, line in enumerate(table, 1):
            try:
                row = parse(line.decode())
            except UnicodeDecodeError:
                row = None
            if row is None:
                yield Problem(file, number, "no `id<TAB>start<TAB>end` in which start lies before end")
                continue
            wrong = _misplaced(row, end, size, seen)
            if wrong:
                yield Problem(file, number, wrong)
            seen.add(row.id)
            end = row.end
    if not seen:
        yield Problem(file, 0, "there is no document")
    elif end < size:
        yield Problem(file, 0, f"the last document ends at byte {end}, the text has {size}")


def _misplaced(row: Row, before: int, size: int, seen: set[str]) -> str:
    if row.id in seen:
        return f"the id {row.id} comes twice"
    if row.start != before:
        return f"the document begins at byte {row.start}, the one before it ends at {before}"
    return f"the document ends at byte {row.end}, the text has {size}" if row.end > size else ""


def _text(file: Path) -> list[Problem]:
    """Notes of a text, the first lines of each kind and how many there are."""
    kinds: dict[str, list[int]] = {}
    with file.open("rb") as text:
        number, length = 1, 0
        for line in iter(lambda: text.readline(BLOCK), b""):
            length += len(line)
            for message in _oddities(line, first=number == 1 and length == len(line)):
                kinds.setdefault(message, []).append(number)
            if line.endswith(b"\n") or len(line) < BLOCK:
                if length > _LONG_LINE:
                    kinds.setdefault(f"longer than {_LONG_LINE:,} bytes", []).append(number)
                number, length = number + 1, 0
    found = []
    for message, lines in kinds.items():
        found += [Problem(file, number, message) for number in lines[:_MOST_LINES]]
        if len(lines) > _MOST_LINES:
            found.append(Problem(file, 0, f"{message}: {len(lines):,} lines in all"))
    return found


def _oddities(line: bytes, *, first: bool) -> Iterator[str]:
    if line.isascii():  # nearly every line
        odd = b"\0" in line or line.endswith(b"\r\n")
        if not odd:
            return
    if b"\0" in line:
        yield "has NUL bytes"
    if line.endswith(b"\r\n"):
        yield "ends with CR LF"
    if _BOM in line:
        yield "begins with a byte order mark" if first and line.startswith(_BOM) else "has a byte order mark inside"
    rest = utf8.unfinished(line) if len(line) == BLOCK else 0
    if utf8.count(line[: len(line) - rest])[1]:
        yield "has bytes that are no UTF-8"


def _symbols(path: Path, found: Examined) -> None:
    try:
        data = TextData.open(path)
        for name in SPLITS:
            encoded = data.encoded(name)
            documents = sum(1 for _ in data.split(name).rows())
            if len(encoded.bounds) != documents + 1:
                message = f"symbols of {len(encoded.bounds) - 1} documents, the table has {documents}"
                found.problems.append(Problem(path / name, 0, message))
            unknown = marker(path).get("splits", {}).get(name, {}).get("unknown", 0)
            if unknown:
                share = unknown / len(encoded.symbols)
                message = f"{unknown:,} symbols ({share:.2%}) are unknown to the tokenizer"
                found.notes.append(Problem(path / name, 0, message))
    except SeqgenError as error:
        found.problems.append(Problem(path, 0, str(error)))


def statistics(path: Path) -> dict[str, object]:
    """Plain numbers that describe a text data directory, or one split of it, ready for JSON.

    Raises:
        SeqgenError: where it cannot be read.
    """
    if (path / TOKENIZER).is_file():
        data = TextData.open(path)
        made: dict[str, object] = {
            "path": str(path),
            "tokenizer": data.tokenizer.plain().name,
            "signature": data.tokenizer.signature,
            "vocabulary": data.tokenizer.vocab_size,
            "documents are": marker(path).get("documents", ""),
        }
        for name in SPLITS:
            counts = _counts(data.split(name)) | {f"{data.tokenizer.unit}s": len(data.encoded(name).symbols)}
            made[name] = ", ".join(f"{value:,} {key}" for key, value in counts.items())
        return made
    return {"path": str(path), **_counts(Split.open(path))}


def _counts(split: Split) -> dict[str, int]:
    characters = invalid = lines = 0
    with split.text.open("rb") as text:
        for block in utf8.whole(iter(lambda: text.read(BLOCK), b"")):
            more, wrong = utf8.count(block)
            characters, invalid, lines = characters + more, invalid + wrong, lines + block.count(b"\n")
    sizes = [row.end - row.start for row in split.rows()]
    counts = {"documents": len(sizes), "bytes": sum(sizes), "characters": characters, "lines": lines,
              "longest": max(sizes)}  # fmt: skip
    return counts | ({"invalid bytes": invalid} if invalid else {})
