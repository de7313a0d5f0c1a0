"""Owner of a folder: the one process that may write in it, named in a lock file that tells when it is left behind."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from seqgen.errors import SeqgenError

LOCK = ".lock"
_PATIENCE = 10.0  # seconds for the children of an owner that was killed to end, too


@dataclass(frozen=True)
class Owner:
    """Owner of a folder: process, host, and when the process began (of its host's start), which no later one shares."""

    pid: int
    host: str
    began: str
    since: str
    command: str

    @staticmethod
    def here() -> Owner:
        """This process."""
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        return Owner(os.getpid(), socket.gethostname(), _began(os.getpid()), since, " ".join(sys.argv)[:200])

    @property
    def elsewhere(self) -> bool:
        """Test for an owner on another host, whose processes cannot be seen."""
        return self.host != socket.gethostname()

    @property
    def alive(self) -> bool:
        """Life of the owner: that very process still runs here; another with its number does not count."""
        began = _began(self.pid)
        return began != "" and began == self.began

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


def _began(pid: int) -> str:
    """Start of a process in ticks, and of which start of the machine; "" where it is none, or one that has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if state in "ZX" else f"{machine} {fields[18]}"


@contextmanager
def owned(folder: Path) -> Iterator[str]:
    """Own a folder for the block, made where it is missing; removed again where nothing was put into it.

    Gives a line on an owner that ended without giving it back, or "".

    Raises:
        SeqgenError: where another process owns it, or one on another host did and may still; where it cannot be
            written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, note = _locked(folder)
    except OSError as error:
        _remove(made)
        raise SeqgenError(
            f"cannot write in {folder}: {error.strerror or error}", remedy="choose a writable place with free space"
        ) from None
    except SeqgenError:
        _remove(made)
        raise
    try:
        yield note
    finally:
        with suppress(OSError):
            (folder / LOCK).unlink()
        os.close(handle)
        _remove(made)


def _remove(made: list[Path]) -> None:
    for path in made:
        with suppress(OSError):
            path.rmdir()


def _locked(folder: Path) -> tuple[int, str]:
    """Descriptor that holds the lock, and what is to be told of an earlier owner."""
    path, end = folder / LOCK, time.monotonic() + _PATIENCE
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        sys.audit("seqgen.files.made")
        try:
            free = _take(handle)
            found = _read(handle)
            if not free and (found is None or not (found.elsewhere or found.alive)) and time.monotonic() < end:
                os.close(handle)  # its owner is just writing, or was killed a moment ago
                time.sleep(0.05)
                continue
            _require_left(folder, path, found, free)
            if not _same(handle, path):  # given back in between
                os.close(handle)
                continue
            _write(handle, Owner.here())
        except BaseException:
            with suppress(OSError):
                os.close(handle)
            raise
        return handle, f"taking over {folder} from {found}, which has ended" if found is not None else ""


def _take(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks: what is written in the file has to do
    return True


def _require_left(folder: Path, path: Path, found: Owner | None, free: bool) -> None:
    if found is not None and found.elsewhere:
        raise SeqgenError(
            f"{folder} is owned by {found}, another host, whose processes cannot be seen from here",
            remedy=f"wait for it; if it has ended, remove {path}",
        )
    if not free or (found is not None and found.alive):
        who = found or "another process"
        raise SeqgenError(f"{folder} is owned by {who}", remedy="wait for it, end it, or choose another directory")


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _read(handle: int) -> Owner | None:
    """The owner that a lock names; ``None`` where it was never written whole."""
    try:
        return Owner(**json.loads(os.pread(handle, 1 << 16, 0)))
    except (ValueError, TypeError):
        return None


def _write(handle: int, owner: Owner) -> None:
    text = json.dumps(asdict(owner)).encode()
    os.ftruncate(handle, 0)
    os.pwrite(handle, text, 0)
    os.fsync(handle)
