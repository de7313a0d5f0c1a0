"""Kaldi's text tables: one file, one `key value` line per entry, read with every problem kept by file and line."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_GAP = re.compile(r"[ \t]+")
_FREE = ("text", "wav.scp")  # tables whose values are words or a path, in which any character may stand
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"))
_ODD = re.compile("[\x0b\x0c\x1c-\x1f\x85\u00a0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]")


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


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: number, key and value, and the line as it stands."""

    number: int
    key: str
    value: str
    text: str


@dataclass(slots=True)
class Table:
    """One table as read: the first row of every key, all lines, and what was wrong with the file."""

    file: Path
    rows: dict[str, Row] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    present: bool = True

    def report(self, line: int, message: str) -> None:
        """Keep one problem of this file."""
        self.problems.append(Problem(self.file, line, message))


def _utf8(table: Table, raw: bytes) -> bytes:
    """The bytes without an order mark and with LF between lines, whatever a Windows or old Macintosh editor made."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            raw = raw.decode("utf-16").encode()
            table.report(1, "UTF-16; Kaldi tables are UTF-8")
        except UnicodeError:
            pass  # said of its first line
    if raw.startswith(codecs.BOM_UTF8):
        table.report(1, "a byte order mark stands before the first id")
        raw = raw.removeprefix(codecs.BOM_UTF8)
    if b"\r" in raw and b"\n" not in raw:
        table.report(1, "CR line endings; Kaldi tables end lines with LF alone")
        raw = raw.replace(b"\r", b"\n")
    return raw


def _lines(table: Table, raw: bytes) -> list[str | None]:
    """Decoded lines without their ends; ``None`` for a line that cannot be used (its problem is kept)."""
    pieces = _utf8(table, raw).split(b"\n")
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


def _parted(table: Table, number: int, text: str) -> Line:
    """Key and value of a line; blanks that are neither space nor tab, and invisible characters, are said and mended."""
    line = text.strip(" \t")
    odd = _ODD.search(line if table.file.name not in _FREE else _GAP.split(line, maxsplit=1)[0])
    if odd:
        table.report(number, f"U+{ord(odd[0]):04X} stands where a space or nothing should")
        count = 1 if table.file.name in _FREE else 0
        line = _ODD.sub(lambda found: found[0].translate(_INVISIBLE) and " ", line, count=count).strip(" \t")
    key, *rest = _GAP.split(line, maxsplit=1)
    return Line(number, key, rest[0] if rest else "", text)


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
    for number, text in enumerate(_lines(table, raw), 1):
        if text is None:
            continue
        line = _parted(table, number, text)
        key = line.key
        if not key:
            table.report(number, "blank line")
            continue
        table.lines.append(line)
        if key in table.rows:
            table.report(number, f"duplicate id '{key}', first on line {table.rows[key].line}")
            continue
        code = key.encode()
        if code < last:
            table.report(number, f"not sorted: '{key}' comes after '{last.decode()}' (sort with LC_ALL=C)")
        last = max(last, code)
        table.rows[key] = Row(number, line.value)
    return table


def render(values: Mapping[str, str]) -> str:
    """A table as text, sorted by the byte value of its keys.

    Example:
        >>> render({"b": "2", "a": "1"})
        'a 1\\nb 2\\n'
    """
    return "".join(f"{key} {values[key]}".rstrip(" ") + "\n" for key in sorted(values, key=str.encode))
