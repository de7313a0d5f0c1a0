"""Layouts of containers: what a header says of its audio, held against the bytes that are there."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

# Sizes left by writers that could not seek back: sox, arecord, ffmpeg, mplayer, GStreamer, espeak, streaming servers.
# Each subtracts its own headers, hence a few bytes around a round number.
_UNKNOWN = (range(0x7F000000, 0x7F001000), range(0x7FFF0000, 0x80001000), range(0xFFFF0000, 0x100000000))
_BEYOND = 1 << 62  # 64-bit sizes from here on, those of negative numbers among them
MOST_CHUNKS = 4096
"""Chunks that are walked to find the audio: more are no recording."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of a recording's file, as far as it can be wrong.

    Attributes:
        problem: what is wrong, e.g. ``"truncated: 1000 of 32000 bytes of audio are there"``; "" where nothing is.
        patches: place and bytes that have to be read in the stead of a size that means "unknown".
        prefix: bytes that have to be read in the stead of the first ``skipped``.
        end: place behind the last byte of audio where others may follow; 0 where that is not known.
        closed: what lies behind ``end`` must not be read, for libsndfile would take it for audio.
    """

    problem: str = ""
    patches: tuple[tuple[int, bytes], ...] = ()
    prefix: bytes = b""
    skipped: int = 0
    end: int = 0
    closed: bool = False

    @property
    def plain(self) -> bool:
        """Plainness of a file: it can be read as it is."""
        return not (self.patches or self.prefix or self.closed)


def unknown(declared: int, there: int) -> bool:
    """Test of a declared size for those by which writers say that they did not know it."""
    if declared == 0:
        return there > 0
    return declared > there and (declared >= _BEYOND or any(declared in values for values in _UNKNOWN))


def judged(declared: int, there: int, *patches: tuple[int, bytes], unit: int = 1) -> Layout:
    """Layout of audio of ``declared`` bytes of which ``there`` are; ``patches`` where that size means "unknown".

    ``unit``: bytes of a frame, of which only whole ones count.
    """
    if unknown(declared, there):
        return Layout(patches=patches)
    if declared // unit > there // unit:
        return Layout(f"truncated: {there} of {declared} bytes of audio are there")
    return Layout()


def chunks(file: BinaryIO, position: int, size: int, read: Callable[[bytes], tuple[bytes, int]]) -> Iterator[Any]:
    """Name, place of the body and length of each chunk; ``read`` takes the 8 bytes before a body."""
    for _ in range(MOST_CHUNKS):
        if position + 8 > size:
            return
        file.seek(position)
        name, length = read(file.read(8))
        yield name, position + 8, length
        position += 8 + length + length % 2


class Patched(io.RawIOBase):
    """View of a file in which some bytes are others."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file, self._layout, self._position = file, layout, 0
        self._shift = layout.skipped - len(layout.prefix)  # of the file's places against the view's
        self._size = (layout.end if layout.closed else file.seek(0, io.SEEK_END)) - self._shift

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = min(max(0, start + offset), self._size)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: self._size - self._position]
        prefix, first = self._layout.prefix, self._position
        before = prefix[first : first + len(view)]
        self._file.seek(self._layout.skipped + max(0, first - len(prefix)))
        data = bytearray(before + self._file.read(len(view) - len(before)))
        for place, patch in self._layout.patches:
            for index, byte in enumerate(patch, place - self._shift - first):
                if 0 <= index < len(data):
                    data[index] = byte
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
