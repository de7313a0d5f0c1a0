"""MPEG audio, layer III: frames one after another, counted by a first one that is a table, or by nobody."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from seqgen.audio.containers.layout import Layout

_BITRATES = (  # kbit/s of MPEG 1, and of MPEG 2 and 2.5
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES = (44_100, 48_000, 32_000)
_TAGS = (b"TAG", b"APETAGEX", b"LYRICS", b"ID3")  # what may follow the last frame
_WINDOW, _HEAD = 1 << 20, 8  # bytes read at a time, and those that tell what begins
_PADDING = 4096  # bytes behind the last frame that are no frame, and no loss


class Frame(NamedTuple):
    """Frame of MPEG audio: its bytes, and where a table of the whole stands in the first one."""

    length: int
    table: int


@lru_cache(maxsize=4096)
def frame(head: bytes) -> Frame | None:
    """The frame that four bytes begin; ``None`` where they begin none of layer III."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or head[1] & 0x18 == 0x08:
        return None
    low = head[1] & 0x18 != 0x18
    kilobits, rate = head[2] >> 4, head[2] >> 2 & 3
    if not 0 < kilobits < 15 or rate == 3:
        return None
    hertz = _RATES[rate] >> (low + (head[1] & 0x18 == 0))
    length = (72 if low else 144) * 1000 * _BITRATES[low][kilobits] // hertz + (head[2] >> 1 & 1)
    single = head[3] >> 6 == 3
    return Frame(length, 4 + ((9 if single else 17) if low else (17 if single else 32)))


def first(file: BinaryIO) -> int:
    """Place of the first byte behind ID3 tags."""
    position = 0
    while True:
        file.seek(position)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            return position
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        position += 10 + size + (10 if head[5] & 0x10 else 0)


def mp3(file: BinaryIO, size: int, _: bytes) -> Layout:
    """Layout of an MP3 file: as many frames as its table counts; without a table, one is put before it."""
    start = first(file)
    file.seek(start)
    head = file.read(4)
    opening = frame(head)
    if opening is None:
        return Layout("no MPEG audio of layer III, the only one that is read")
    body = file.read(opening.length - 4)
    mark = body[opening.table - 4 :]
    tabled = mark[:4] in (b"Xing", b"Info") and len(mark) >= 16
    flags, frames, declared = struct.unpack(">III", mark[4:16]) if tabled else (0, 0, 0)
    if flags & 3 == 3 and size - start >= declared:
        file.seek(start + declared)
        more = frame(file.read(4)) is not None
        return Layout("a second recording follows the first, which is all that would be read" if more else "")
    whole, problem = _walk(file, start + (opening.length if tabled else 0), size)
    if problem:
        return Layout(problem)
    if flags & 1:
        return Layout(f"truncated: {whole} of {frames} frames are there" if whole < frames else "")
    table = head + bytes(opening.table - 4) + b"Info" + struct.pack(">II", 1, whole)
    return Layout(prefix=table.ljust(opening.length, b"\0"), skipped=start)


def _walk(file: BinaryIO, position: int, size: int) -> tuple[int, str]:
    """Whole frames from a place on, and what is wrong with the last one."""
    count, window, first = 0, b"", position
    while position < size:
        place = position - first
        if place + _HEAD > len(window):
            file.seek(position)
            window, first, place = file.read(_WINDOW), position, 0
        head = window[place : place + _HEAD]
        found = frame(head[:4])
        if found is None:
            rest = size - position
            if head.startswith(_TAGS) or (rest <= _PADDING and (rest < 4 or head[0] != 0xFF)):
                break
            return count, f"corrupt: no MPEG frame at byte {position}"
        position += found.length
        count += 1
    if position > size:
        return count - 1, f"truncated: the last of its {count} frames is cut"
    return count, "" if count else "truncated: the audio is missing"
