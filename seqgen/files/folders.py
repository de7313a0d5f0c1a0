"""Output folders: made beside their place, and moved there when they are whole."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seqgen.errors import SeqgenError
from seqgen.files.outputs import sync_folder

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@contextmanager
def replacing_folder(path: Path, *, kind: str, may_replace: Callable[[Path], bool]) -> Iterator[Path]:
    """An empty folder that takes the place of ``path`` when the block ends well, and vanishes otherwise.

    A folder that is there keeps its owner and rights; what lies behind a link is replaced, not the link.

    Args:
        path: where the folder goes. kind: what it is called in messages, with its article.
        may_replace: whether a folder that holds something is such a one; any other is refused.

    Raises:
        SeqgenError: where something else is there, the place cannot be written, or the disk is full.
    """
    place = Path(os.path.realpath(path))
    _require_free(path, place, kind, may_replace)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{place.name[:32]}.", dir=place.parent))
    except OSError as error:
        raise _refusal(path, error, "choose a writable place") from None
    try:
        yield work
        _require_free(path, place, kind, may_replace)
        _dress(work, place)
        _move(work, place)
        sync_folder(place.parent)
    except OSError as error:
        raise _refusal(path, error, "free some space or choose another place") from None
    except SeqgenError as error:
        raise SeqgenError(error.problem.replace(str(work), str(path)), remedy=error.remedy) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _refusal(path: Path, error: OSError, remedy: str) -> SeqgenError:
    return SeqgenError(f"cannot write {path}: {error.strerror or error}", remedy=remedy)


def _require_free(path: Path, place: Path, kind: str, may_replace: Callable[[Path], bool]) -> None:
    occupied = any(place.iterdir()) if place.is_dir() else os.path.lexists(place)
    if occupied and not (place.is_dir() and may_replace(place)):
        raise SeqgenError(f"{path} exists and is not {kind}", remedy="choose another place")


def _dress(work: Path, place: Path) -> None:
    """Give a folder the owner and rights of the one whose place it takes, or those of any new one."""
    mask = os.umask(0)
    os.umask(mask)
    if not place.is_dir():
        work.chmod(0o777 & ~mask)
        return
    old = place.stat()
    work.chmod(stat.S_IMODE(old.st_mode))
    made = work.stat()
    if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
        os.chown(work, old.st_uid, old.st_gid)


def _move(work: Path, place: Path) -> None:
    old = Path(tempfile.mkdtemp(prefix=f".{place.name[:32]}.old.", dir=place.parent))
    try:
        take_place(work, place, aside=old / "folder")
    finally:
        shutil.rmtree(old, ignore_errors=True)


def take_place(work: Path, place: Path, *, aside: Path) -> None:
    """A whole folder takes its place, in one step where the system has one.

    What stood there then lies at ``work``, or at ``aside`` where two folders cannot change places.

    Raises:
        OSError: where it cannot; ``place`` is then as it was.
    """
    if not place.exists():
        os.replace(work, place)
    elif not exchanged(work, place):
        os.replace(place, aside)
        try:
            os.replace(work, place)
        except OSError:
            os.replace(aside, place)
            raise


def exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; ``False`` where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    done: int = rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)
    return done == 0
