"""Kaldi's text tables: one file, one `key value` line per entry, read with every problem kept by file and line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_GAP = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem in a data directory; ``str()`` gives ``file:line: message`` (line 0: the file as a whole)."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Row:
    """The value of one key and the line it stands on."""

    line: int
    value: str


@dataclass(slots=True)
class Table:
    """One table as read: the first row of every key, and what was wrong with the file."""

    file: Path
    rows: dict[str, Row] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    present: bool = True

    def report(self, line: int, message: str) -> None:
        """Keep one problem of this file."""
        self.problems.append(Problem(self.file, line, message))


def _lines(table: Table, raw: bytes) -> list[str | None]:
    """Decoded lines without their ends; ``None`` for a line that cannot be used (its problem is kept)."""
    pieces = raw.split(b"\n")
    if pieces[-1]:
        table.report(len(pieces), "the last line does not end with a newline (was the file cut off?)")
    else:
        pieces.pop()
    carriage = [number for number, piece in enumerate(pieces, 1) if piece.endswith(b"\r")]
    if carriage:  # one message for the file: an editor turns all lines at once
        others = f", as on {len(carriage) - 1} more line(s)" if len(carriage) > 1 else ""
        table.report(carriage[0], f"CRLF line ending{others}; Kaldi tables end lines with LF alone")
    decoded: list[str | None] = []
    for number, piece in enumerate(pieces, 1):
        try:
            decoded.append(piece.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            table.report(number, f"not UTF-8 (byte 0x{piece[error.start]:02x} at column {error.start + 1})")
            decoded.append(None)
    return decoded


def read(file: Path) -> Table:
    """Read one table; nothing is raised for its content, the problems are in the result.

    An entry is ``key``, blanks, ``value`` (which may hold blanks and may be empty). Keys must be unique and sorted by
    byte value (the C locale), which Kaldi's tools rely on when they walk two tables side by side.

    Example:
        >>> read(Path("data/train/utt2spk")).rows["jackson-3-07"].value  # doctest: +SKIP
        'jackson'
    """
    table = Table(file)
    try:
        raw = file.read_bytes()
    except OSError as error:
        table.present = False
        table.report(0, f"cannot be read ({error.strerror})")
        return table
    if not raw.strip():
        table.report(1, "the file is empty")
        return table
    last = b""
    for number, line in enumerate(_lines(table, raw), 1):
        if line is None:
            continue
        key, *rest = _GAP.split(line.strip(" \t"), maxsplit=1)
        if not key:
            table.report(number, "blank line")
            continue
        if key in table.rows:
            table.report(number, f"duplicate id '{key}', first on line {table.rows[key].line}")
            continue
        code = key.encode()
        if code < last:
            table.report(number, f"not sorted: '{key}' comes after '{last.decode()}' (sort with LC_ALL=C)")
        last = max(last, code)
        table.rows[key] = Row(number, rest[0] if rest else "")
    return table


def render(values: Mapping[str, str]) -> str:
    """A table as text, sorted by the byte value of its keys.

    Example:
        >>> render({"b": "2", "a": "1"})
        'a 1\\nb 2\\n'
    """
    return "".join(f"{key} {values[key]}".rstrip(" ") + "\n" for key in sorted(values, key=str.encode))
