"""Body of a request: a file in memory that is vetted in bounded slices before any decoder sees it."""

from __future__ import annotations

import errno
import io
import logging
import math
import mmap
import os
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from seqgen.audio.containers import sniff as containers
from seqgen.audio.containers.layout import Layout
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec
from serving.sound.source import InputSource, audio_source, features_source, require_short, sniff

log = logging.getLogger("seqgen.serving")
BODY = "the request body"
FEATURES_TYPE = "application/x-safetensors"
SLICE_READS, SLICE_BYTES = 512, 1 << 18
"""Reads, and bytes, between two pauses: whoever walks through a container is interrupted as often as that."""
MOST_HEADER = 1 << 16
"""Bytes of the header of a features file."""
_PIECE = 1 << 20
_READS, _BYTES_PER_READ = 1 << 17, 64  # reads of a body in all: so many, and one for so many bytes
Pause = Callable[[], bool]
"""Called between slices of work; tells whether to go on."""


class NoRoom(SeqgenError):
    """Error for a body that finds no room: neither the caller's fault nor the voice's."""


class BodyPieces:
    """Bytes of a body on their way to a worker, in mappings of their own: what is passed on goes back to the system.

    What is freed on a heap may stay with the process, and then each body would be held twice.

    Example:
        >>> pieces = BodyPieces()
        >>> pieces.add(b"RI"); pieces.add(b"FF"); [bytes(piece) for piece in pieces]
        [b'RIFF']
    """

    def __init__(self) -> None:
        self._pieces: deque[mmap.mmap] = deque()
        self._room = 0  # bytes of the last piece that are free

    def add(self, data: bytes) -> None:
        """More bytes."""
        view = memoryview(data)
        while view:
            if not self._room:
                self._pieces.append(mmap.mmap(-1, _PIECE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
                self._room = _PIECE
            count, at = min(len(view), self._room), _PIECE - self._room
            self._pieces[-1][at : at + count] = view[:count]
            self._room -= count
            view = view[count:]

    def __iter__(self) -> Iterator[memoryview]:
        """Take the pieces out, one after the other."""
        while self._pieces:
            piece = memoryview(self._pieces.popleft())
            yield piece if self._pieces else piece[: _PIECE - self._room]
        self._room = 0


class BodyFile:
    """Bytes of a body in a file of its own without a name, so that decoders read them by themselves, without a copy.

    Example:
        >>> with BodyFile() as file:
        ...     file.append(b"RIFF"); file.size
        4
    """

    def __init__(self) -> None:
        self.size, self._file = 0, io.FileIO(os.memfd_create("seqgen-body"), "r+")

    def __enter__(self) -> BodyFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """Path by which this process can open it."""
        return f"/dev/fd/{self._file.fileno()}"

    def append(self, data: bytes | memoryview) -> None:
        """More bytes.

        Raises:
            NoRoom: where there is no room for them.
        """
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) or 0 :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
                raise
            raise NoRoom("the server has no room for the request body", remedy="try again later") from None
        self.size += len(data)

    def mend(self, layout: Layout) -> None:
        """Put bytes in the place of others, and before them."""
        for place, patch in layout.patches:
            os.pwrite(self._file.fileno(), patch, place)
        if layout.prefix:
            whole = layout.prefix + os.pread(self._file.fileno(), self.size, 0)
            self._file.seek(0)
            self.size = 0
            self.append(whole)

    @contextmanager
    def mapped(self) -> Iterator[mmap.mmap]:
        """Bytes in memory: reading them neither copies nor calls the system, which would cost a turn of all threads."""
        with mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ) as memory:
            yield memory

    def close(self) -> None:
        """Let the bytes go. May be repeated."""
        self._file.close()


class SlicedReader(io.RawIOBase, BinaryIO):
    """Reader of bytes that pauses after every slice, and comes to an end where its caller is to stop.

    Attributes:
        exhausted: more reads were made than any recording needs: it is cut into a great many parts.
    """

    name = BODY

    def __init__(self, memory: mmap.mmap | bytes, pause: Pause) -> None:
        self._memory, self._pause, self._position = memory, pause, 0
        self._reads_left = _READS + len(memory) // _BYTES_PER_READ
        self._slice_reads = self._slice_bytes = 0
        self._stopped = False

    @property
    def exhausted(self) -> bool:
        return not self._reads_left

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._memory)}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        left = len(self._memory) if size is None or size < 0 else size
        parts = []
        while left > 0 and (part := self._part(min(left, SLICE_BYTES))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _part(self, size: int) -> bytes:
        """Bytes of one slice at most."""
        if self._stopped or self.exhausted:
            return b""
        data = self._memory[self._position : self._position + size]
        self._position += len(data)
        self._reads_left -= 1
        self._slice_reads += 1
        self._slice_bytes += len(data)
        if self._slice_reads >= SLICE_READS or self._slice_bytes >= SLICE_BYTES:
            self._slice_reads = self._slice_bytes = 0
            self._stopped = not self._pause()
        return data


@dataclass
class Body:
    """Whole body of a request, which is first vetted, in slices, and then opened, by decoders that hold no lock.

    Attributes:
        file: its bytes. content_type: what it claims to be; its first bytes decide. spec: of the voice's features.
        longest: seconds that are taken.
    """

    file: BodyFile
    content_type: str
    spec: FeatureSpec
    longest: float
    _kind: str = ""

    def vet(self, pause: Pause = lambda: True) -> None:
        """Find out what it is and walk through its container; ``pause`` is called between slices of that.

        Raises:
            SeqgenError: when it is neither audio nor features, or its container is damaged or cut into too many parts.
        """
        if not self.file.size:
            raise SeqgenError(f"{BODY} is empty", remedy="send a WAV, FLAC or OGG file, or features as safetensors")
        with self.file.mapped() as memory:
            self._kind = sniff(memory[:12])
            if not self._kind:
                what = f"{self.file.size} bytes, content type '{self.content_type[:80]}'"
                raise SeqgenError(
                    f"{BODY} ({what}) is neither audio nor features",
                    remedy=f"send a WAV, FLAC or OGG file, or features as {FEATURES_TYPE}",
                )
            if self._kind == "features":
                return _require_modest(int.from_bytes(memory[:8], "little"))
            reader = SlicedReader(memory, pause)
            with _untrusted(reader):
                layout = containers.layout(reader)
            if reader.exhausted:
                raise _too_many_parts()
        if layout.problem:
            raise SeqgenError(f"{BODY}: {layout.problem}", remedy="copy or record the file again")
        self.file.mend(layout)

    def open(self) -> InputSource:
        """Open what has been vetted.

        Raises:
            SeqgenError: when it cannot be decoded, is too long, or its features have another signature.
        """
        path = self.file.path
        try:
            with _untrusted():
                if self._kind == "features":
                    return features_source(path, self.spec, BODY, self.longest)
                source = audio_source(path, BODY, self.longest, layout=Layout())
        except SeqgenError as error:
            raise SeqgenError(error.problem.replace(path, BODY), remedy=error.remedy) from None
        return InputSource(source.rate, source.seconds, self._blocks(source))

    def _blocks(self, source: InputSource) -> Iterator[npt.NDArray[Any]]:
        """Blocks of a recording, no more of them than are taken at once, whatever its header said."""
        left = self.longest * (source.rate or 0)
        try:
            with _untrusted():
                for block in source.blocks:
                    left -= len(block)
                    if left < 0:
                        require_short(BODY, math.inf, self.longest)
                    yield np.asarray(block)
        except SeqgenError as error:
            raise SeqgenError(error.problem.replace(self.file.path, BODY), remedy=error.remedy) from None

    def close(self) -> None:
        """Let its bytes go. May be repeated."""
        self.file.close()


def _require_modest(header: int) -> None:
    if header > MOST_HEADER:
        raise SeqgenError(
            f"{BODY}: not a features file (a header of {header} bytes, at most {MOST_HEADER} are read)",
            remedy="make it again from the recording",
        )


def _too_many_parts() -> SeqgenError:
    return SeqgenError(f"{BODY}: its container has too many small parts", remedy="convert it to WAV, FLAC or OGG")


@contextmanager
def _untrusted(reader: SlicedReader | None = None) -> Iterator[None]:
    """Guard around a body: whatever it brings about that is no fault of this machine becomes a refusal of it."""
    try:
        yield
    except (OSError, MemoryError, SeqgenError):
        raise
    except Exception as error:
        if reader is not None and reader.exhausted:
            raise _too_many_parts() from None
        # Where, and not the error's own words, which may quote what was sent.
        where = traceback.extract_tb(error.__traceback__)[-1]
        log.warning("a body could not be read: %s at %s:%d", type(error).__name__, where.filename, where.lineno or 0)
        problem = f"{BODY}: not readable ({type(error).__name__})"
        raise SeqgenError(problem, remedy="convert it to WAV, FLAC or OGG") from None
