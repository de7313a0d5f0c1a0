"""Inputs of commands: a file, or what standard input or a pipe gives, which can be read once only and not sought in."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from seqgen.errors import SeqgenError

STANDARD = "-"
LARGEST = 1 << 32
"""Bytes that are taken from a pipe at most."""
_BLOCK = 1 << 16


@contextmanager
def regular(path: str | os.PathLike[str], *, suffix: Callable[[bytes], str] = lambda head: "") -> Iterator[Path]:
    """A regular file that holds what ``path`` gives: itself, or a copy of what came through a pipe, for the block.

    Args:
        path: a file, a pipe such as ``<(…)``, or ``-`` for standard input.
        suffix: ending of the copy's name, from its first bytes.

    Raises:
        SeqgenError: where a pipe cannot be read, gives more than ``LARGEST`` bytes, or finds no room on the disk;
            errors inside the block that name the copy name ``path``.
    """
    name = os.fspath(path)
    if name != STANDARD and not _is_pipe(name):
        yield Path(name)
        return
    shown = "standard input" if name == STANDARD else name
    with tempfile.TemporaryDirectory(prefix="seqgen-") as folder:
        try:
            copy = _copied(name, Path(folder), shown, suffix)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SeqgenError(f"{shown}: cannot be read ({reason})", remedy="give a file, or free space") from None
        try:
            yield copy
        except SeqgenError as error:
            raise SeqgenError(error.problem.replace(str(copy), shown), remedy=error.remedy) from None


def _is_pipe(name: str) -> bool:
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):
        return False  # whoever opens it says why not
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _copied(name: str, folder: Path, shown: str, suffix: Callable[[bytes], str]) -> Path:
    if name == STANDARD:
        return _spooled(sys.stdin.buffer, folder, shown, suffix)
    with open(name, "rb") as source:
        return _spooled(source, folder, shown, suffix)


def _spooled(source: BinaryIO, folder: Path, shown: str, suffix: Callable[[bytes], str]) -> Path:
    block = source.read(_BLOCK)
    copy, size = folder / f"input{suffix(block)}", 0
    with copy.open("wb") as target:
        while block:
            size += len(block)
            if size > LARGEST:
                raise SeqgenError(f"{shown}: gives more than {LARGEST >> 30} GiB", remedy="write it to a file first")
            target.write(block)
            block = source.read(_BLOCK)
    return copy


@contextmanager
def in_utf8(path: Path) -> Iterator[str]:
    """A name of a file or folder for libraries that take UTF-8 alone: its own, or that of an open descriptor."""
    name = os.fspath(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
    else:
        yield name
