"""FLAC: frames that are numbered and prove themselves, so that the last one tells how long the recording is."""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

from seqgen.audio.containers.layout import Layout

_LONGEST = 1 << 21  # bytes in which the last frame is looked for where the header does not say how long frames are
_PROVEN = 1 << 20  # bytes that are checked in all to find it: what only looks like a frame must not cost without end
_TAG = 128


class _Header(NamedTuple):
    """Header of a frame: its first sample, and how many there are."""

    start: int
    samples: int


def _remainders(bits: int, polynomial: int) -> tuple[int, ...]:
    """A cyclic redundancy check's table."""
    made, top = [], 1 << bits - 1
    for value in range(256):
        crc = value << bits - 8
        for _ in range(8):
            crc = (crc << 1 ^ polynomial if crc & top else crc << 1) & (1 << bits) - 1
        made.append(crc)
    return tuple(made)


_CRC8, _CRC16 = _remainders(8, 0x07), _remainders(16, 0x8005)


def _proves(frame: bytes) -> bool:
    """Check of a frame by its last two bytes, a CRC-16 of the others."""
    crc = 0
    for byte in frame:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc == 0


def _header(raw: bytes, block: int) -> _Header | None:
    """The header that ``raw`` begins with; ``block`` is the size of all frames but the last where that is fixed."""
    ones = f"{raw[4]:08b}".find("0")
    length = 5 + max(0, ones - 1)
    if ones in (1, -1) or len(raw) < length + 5:
        return None
    number = raw[4] & (0xFF >> ones + 1)
    for byte in raw[5:length]:
        number = number << 6 | byte & 0x3F
    code, rate = raw[2] >> 4, raw[2] & 15
    samples = 192 if code == 1 else 576 << code - 2 if 2 <= code <= 5 else 256 << code - 8 if code >= 8 else 0
    if code in (6, 7):
        samples = int.from_bytes(raw[length : length + code - 5], "big") + 1
        length += code - 5
    length += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    crc = 0
    for byte in raw[: length + 1]:
        crc = _CRC8[crc ^ byte]
    return None if crc or not samples else _Header(number if raw[1] & 1 else number * block, samples)


def _end(file: BinaryIO, first: int, size: int, head: bytes) -> int | None:
    """Samples up to the end of the last frame; ``None`` where no frame ends with the file."""
    block, longest = struct.unpack(">H", head[8:10])[0], int.from_bytes(head[15:18], "big") or _LONGEST
    longest = min(longest, _LONGEST)
    file.seek(max(first, size - longest - _TAG))
    window = file.read()
    if window[-_TAG:].startswith(b"TAG"):
        window = window[:-_TAG]
    place, left = len(window), _PROVEN
    while left > 0 and (place := window.rfind(b"\xff", 0, place)) >= 0:
        raw = window[place : place + 20]
        left -= 64  # about what looking at it costs
        if len(raw) > 9 and raw[1] & 0xFE == 0xF8:
            found = _header(raw, block)
            if found is not None:
                left -= len(window) - place
                if _proves(window[place:]):
                    return found.start + found.samples
    return None


def flac(file: BinaryIO, size: int, _: bytes, start: int = 0) -> Layout:
    """Layout of a FLAC file: ``STREAMINFO`` counts the samples unless that is 0, and the last frame ends the file.

    ``start``: place of the file's name, behind tags.
    """
    file.seek(start)
    head = file.read(26)
    if len(head) < 26 or size < start + 42:
        return Layout("truncated: its header is cut")
    total = int.from_bytes(head[21:26], "big") & (1 << 36) - 1
    end = _end(file, start + 42, size, head)
    if end is None:
        return Layout("truncated or corrupt: its last frame is not whole")
    if total == 0:
        counted = (head[21] & 0xF0) << 32 | end
        return Layout(patches=((start + 21, counted.to_bytes(5, "big")),))
    if end > total:
        return Layout(f"its header counts {total} samples, its last frame {end}")
    return Layout(f"truncated: {end} of {total} samples are there" if end < total else "")
