"""Texts as they come: files and folders of them, packed or not, read in blocks and cut into documents."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast, get_args

from seqgen.errors import SeqgenError

Documents = Literal["whole", "lines", "blank-lines", "files"]
DOCUMENTS: tuple[Documents, ...] = get_args(Documents)
BLOCK = 1 << 20
_PACKED = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zst"}
_ODD = re.compile("[\0-\x20%\x7f-\x9f\ud800-\udfff]")


class Part(NamedTuple):
    """Part of a document: its bytes, the document's name, and whether it begins there."""

    data: bytes
    name: str
    first: bool


def files(path: Path) -> list[Path]:
    """The files of a corpus: itself, or all in a folder at any depth in the order of their names, hidden ones left out.

    Raises:
        SeqgenError: where there is none.
    """
    if path.is_file():
        return [path]
    if not path.exists():
        raise SeqgenError(f"no text at {path}", remedy="give --corpus a file, or a folder of files")
    found = sorted(one for one in path.rglob("*") if one.is_file() and not _hidden(one.relative_to(path)))
    if not found:
        raise SeqgenError(f"{path}: no file in this folder", remedy="give --corpus a file, or a folder of files")
    return found


def _hidden(path: Path) -> bool:
    return any(name.startswith(".") for name in path.parts)


def blocks(path: Path) -> Iterator[bytes]:
    """The bytes of all files of a corpus, unpacked, in blocks of about a megabyte."""
    for file in files(path):
        with unpacked(file) as stream:
            while block := _read(stream, file):
                yield block


def parts(path: Path, kind: Documents) -> Iterator[Part]:
    """The documents of a corpus, part by part; all bytes are in one of them.

    ``whole``: one document. ``files``: one for each file. ``lines``: each line with its end. ``blank-lines``: lines up
    to and with the blank ones that follow them; a file's end ends a document too.
    """
    number = 0
    for file in files(path):
        name = _name(file.relative_to(path).as_posix() if file != path else file.name)
        first, blank = kind != "whole" or number == 0, False
        with unpacked(file) as stream:
            for data in _lines(stream, file) if kind in ("lines", "blank-lines") else iter_blocks(stream, file):
                written = not data.isspace()
                if kind == "blank-lines" and blank and written:
                    first = True
                number += first
                yield Part(data, {"whole": "text", "files": name}.get(kind, f"{number:09d}"), first)
                first = kind == "lines" and data.endswith(b"\n")
                blank = not written


def iter_blocks(stream: IO[bytes], file: Path) -> Iterator[bytes]:
    """Blocks of an open file."""
    while block := _read(stream, file):
        yield block


def _lines(stream: IO[bytes], file: Path) -> Iterator[bytes]:
    """Lines of an open file, those of more than a block in pieces."""
    try:
        while line := stream.readline(BLOCK):
            yield line
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise _unreadable(file, error) from None


def _read(stream: IO[bytes], file: Path) -> bytes:
    try:
        return stream.read(BLOCK)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise _unreadable(file, error) from None


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """A file as it was before it was packed; what it begins with says by what.

    Raises:
        SeqgenError: where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.peek(8)[:8]
            kind = next((name for magic, name in _PACKED.items() if head.startswith(magic)), "")
            with _opened(file, kind, path) as stream:
                yield stream
    except OSError as error:
        raise _unreadable(path, error) from None


def _opened(file: IO[bytes], kind: str, path: Path) -> IO[bytes]:
    if kind == "gz":
        return cast(IO[bytes], gzip.open(file, "rb"))
    if kind == "bz2":
        return cast(IO[bytes], bz2.open(file, "rb"))
    if kind == "xz":
        return cast(IO[bytes], lzma.open(file, "rb"))
    if kind == "zst":
        raise SeqgenError(f"{path} is packed by zstd", remedy=f"unpack it first: zstd -d {path}")
    return file


def _unreadable(path: Path, error: Exception) -> SeqgenError:
    reason = getattr(error, "strerror", None) or str(error)
    return SeqgenError(f"{path}: cannot be read ({reason})", remedy="give a readable file that is whole")


def _name(text: str) -> str:
    """A file's name as an id: what would break a line of a table is written as %XX."""
    return _ODD.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape")), text)


def size(path: Path) -> int:
    """Bytes of a corpus, unpacked."""
    return sum(map(len, blocks(path)))


def cut(stream: Iterable[Part], places: list[int]) -> Iterator[tuple[int, Part]]:
    """Parts of one document that is cut at some places of its bytes, each behind a whole character: the number of the
    piece, and a part of it."""
    piece, at = 0, 0
    for part in stream:
        data, first = part.data, part.first
        while piece < len(places):
            inside = max(0, places[piece] - at)
            while inside < min(len(data), max(0, places[piece] - at) + 3) and data[inside] & 0xC0 == 0x80:
                inside += 1
            if inside >= len(data):
                break
            if inside:
                yield piece, part._replace(data=data[:inside], first=first)
            data, at, first, piece = data[inside:], at + inside, True, piece + 1
        if data:
            yield piece, part._replace(data=data, first=first)
        at += len(data)
