"""Outputs of commands: written whole or not at all, into whatever the path names, which stays what it is.

A regular file is replaced at once by one of the same owner and rights; what lies behind a link is replaced, not the
link; a device, a pipe or a descriptor (``/dev/null``, a FIFO, ``/dev/stdout``) is written through. Where replacing
would change more than the content (hard links, another's file, a folder that takes no new file) it is written in
place, once all is made.
"""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqgen.errors import SeqgenError

_DESCRIPTOR = re.compile(r"/proc/(self|thread-self|\d+)/(?:task/\d+/)?fd/(\d+)|/dev/fd/(\d+)")
_LINKS = 40  # one after the other, as many as the kernel follows
_BLOCK = 1 << 20
_NO_NEIGHBOURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)  # why a folder takes no new file


@contextmanager
def replacing(path: str | os.PathLike[str], *, rights: int = 0o666, streaming: bool = False) -> Iterator[io.FileIO]:
    """A binary file whose content becomes that of ``path`` when the block ends well; otherwise ``path`` is as it was.

    Args:
        path: file, link, device, pipe or descriptor. rights: of a new file, less the umask; an old one keeps its own.
        streaming: pass on what is written at once where ``path`` is no regular file; it can then not be sought in.

    Raises:
        SeqgenError: for a folder, a file that may not be written, an absent or read-only folder, a full disk.
        BrokenPipeError: when the reader of a pipe went away.
    """
    sink = None
    try:
        place = _Place(Path(path))
        with place.opened(rights, streaming) as sink:
            yield sink
            if sink.failure is not None:
                raise sink.failure
    except BaseException as error:
        cause = sink.failure if sink is not None and sink.failure is not None else error
        if isinstance(cause, BrokenPipeError):
            raise BrokenPipeError(cause.errno, cause.strerror, os.fspath(path)) from None
        if isinstance(cause, OSError):
            raise _refusal(Path(path), cause) from None
        raise


def write_text(path: str | os.PathLike[str] | None, text: str) -> None:
    """Write a text in UTF-8; ``None`` is standard output.

    Raises:
        SeqgenError: as :func:`replacing`.
    """
    if path is None:
        sys.stdout.write(text)
        return
    with replacing(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


@contextmanager
def passing_on(path: str | os.PathLike[str] | None) -> Iterator[Callable[[str], None]]:
    """A function that writes text as it comes, in UTF-8; to standard output (``None``), a device or a pipe at once.

    Raises:
        SeqgenError, BrokenPipeError: as :func:`replacing`.
    """
    if path is None:

        def show(text: str) -> None:
            sys.stdout.write(text)
            sys.stdout.flush()

        yield show
        return
    with replacing(path, streaming=True) as file:

        def write(text: str) -> None:
            file.write(text.encode("utf-8", "surrogateescape"))

        yield write


def require_writable(path: str | os.PathLike[str]) -> None:
    """Refuse an output now that would be refused when it has been made; nothing is written.

    Raises:
        SeqgenError: as :func:`replacing`, as far as it can be known.
    """
    try:
        _Place(Path(path)).require_writable()
    except OSError as error:
        raise _refusal(Path(path), error) from None


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Test of a path for what is written through and never replaced: a device, a pipe, an open descriptor.

    Raises:
        SeqgenError: where links lead in a circle.
    """
    try:
        return _Place(Path(path)).stream
    except OSError as error:
        raise _refusal(Path(path), error) from None


def sync_folder(path: Path) -> None:
    """Have a folder's entries on the disk, where its file system can."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return  # a folder that may be written but not read
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _refusal(path: Path, error: OSError) -> SeqgenError:
    reason = error.strerror or str(error)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "free space or choose another place" if full else "choose a writable place"
    return SeqgenError(f"{path}: cannot be written ({reason})", remedy=remedy)


class _Sink(io.FileIO):
    """A raw file that writes all it is given and remembers why that failed: libsndfile's callbacks would swallow the
    exception."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view):
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.failure = error
        return done


class _Stream(_Sink):
    """A raw file that is written through: a failure ends what makes its content at once."""

    def write(self, data: Any) -> int:
        done = super().write(data)
        if self.failure is not None:
            raise self.failure
        return done


class _Place:
    """Place of an output behind all links: a path, or a descriptor of this process; and what is there."""

    def __init__(self, path: Path) -> None:
        self.path, self.descriptor = _followed(path)
        self.status: os.stat_result | None = None
        if self.descriptor is not None:
            self.status = os.fstat(self.descriptor)
        else:
            try:
                self.status = os.stat(self.path)
            except FileNotFoundError:
                if not self.path.parent.is_dir():
                    raise
        if self.status is not None and stat.S_ISDIR(self.status.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))

    @property
    def stream(self) -> bool:
        if self.status is None:
            return False
        return self.descriptor is not None or not stat.S_ISREG(self.status.st_mode)

    def require_writable(self) -> None:
        if self.descriptor is None:
            there = self.path.parent if self.status is None else self.path
            if not os.access(there, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    @contextmanager
    def opened(self, rights: int, streaming: bool) -> Iterator[_Sink]:
        self.require_writable()
        if not self.stream and (made := self._sibling(rights)) is not None:
            handle, temporary = made
            with self._moved(handle, temporary) as sink:
                yield sink
        elif self.stream and streaming:
            with _Stream(self._through(), "w") as sink:
                yield sink
        else:
            with self._copied() as sink:
                yield sink

    def _sibling(self, rights: int) -> tuple[int, Path] | None:
        """A new file beside the old one with its owner and rights; ``None`` where that cannot take its place."""
        old = self.status
        if old is not None and old.st_nlink > 1:
            return None
        temporary = self.path.with_name(f".{self.path.name[:32]}.{secrets.token_hex(8)}.tmp")
        try:
            handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, rights)
        except OSError as error:
            if old is not None and error.errno in _NO_NEIGHBOURS:
                return None
            raise
        sys.audit("seqgen.files.made")
        try:
            made = os.fstat(handle)
            if old is not None and (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
                os.fchown(handle, old.st_uid, old.st_gid)
            if old is not None:
                os.fchmod(handle, stat.S_IMODE(old.st_mode))
        except PermissionError:
            os.close(handle)
            temporary.unlink()
            return None
        return handle, temporary

    @contextmanager
    def _moved(self, handle: int, temporary: Path) -> Iterator[_Sink]:
        try:
            with _Sink(handle, "r+") as sink:
                yield sink
                if sink.failure is not None:
                    return
                os.fsync(sink.fileno())
                try:
                    os.replace(temporary, self.path)
                except OSError as error:
                    if error.errno != errno.EBUSY:  # a file that is mounted where it is
                        raise
                    self._overwrite(sink)
            sync_folder(self.path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _copied(self) -> Iterator[_Sink]:
        """A file of no name, whose content goes into what is there at the end."""
        with tempfile.TemporaryFile(buffering=0) as spool, _Sink(os.dup(spool.fileno()), "r+") as sink:
            yield sink
            if sink.failure is None:
                self._overwrite(sink)

    def _overwrite(self, source: _Sink) -> None:
        with open(self._through(), "wb", buffering=0) as target:
            if not self.stream:
                _reserve(target.fileno(), source.seek(0, os.SEEK_END))
            source.seek(0)
            shutil.copyfileobj(source, target, _BLOCK)
            if not self.stream:
                target.truncate()
                os.fsync(target.fileno())

    def _through(self) -> int:
        """Descriptor that writes into what is there; what was printed before comes first."""
        if self.descriptor is None:
            return os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        for printed in (sys.stdout, sys.stderr):
            if printed is not None:
                printed.flush()
        return os.dup(self.descriptor)


def _reserve(handle: int, size: int) -> None:
    """Have room for all before the first old byte is overwritten."""
    before = os.fstat(handle).st_size
    if size > before:
        try:
            os.posix_fallocate(handle, before, size - before)
        except OSError as error:
            os.ftruncate(handle, before)
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise


def _followed(path: Path) -> tuple[Path, int | None]:
    """Path behind all links; where one is an open descriptor of this process, that."""
    for _ in range(_LINKS):
        name = os.path.join(os.path.realpath(path.parent), path.name)
        if found := _DESCRIPTOR.fullmatch(name):
            process, number, plain = found.groups()
            if process in (None, "self", "thread-self", str(os.getpid())):
                return path, int(number or plain)
        if not os.path.islink(name):
            return Path(name), None
        path = Path(name).parent / os.readlink(name)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
