"""Apple's containers: AIFF, AIFF-C and CAF."""

from __future__ import annotations

import struct
from typing import BinaryIO

from seqgen.audio.containers.layout import MOST_CHUNKS, Layout, chunks, judged, unknown

_ABSENT = Layout("truncated: the audio is missing")
_PLAIN = {b"NONE": 0, b"twos": 0, b"sowt": 0, b"raw ": 0, b"in24": 24, b"in32": 32, b"fl32": 32, b"fl64": 64}
_PLAIN |= {b"FL32": 32, b"FL64": 64, b"ulaw": 8, b"alaw": 8, b"ULAW": 8, b"ALAW": 8}


def aiff(file: BinaryIO, size: int, head: bytes) -> Layout:
    """Layout of an AIFF file: the length of ``SSND``, and the frames that ``COMM`` counts where they are not packed."""
    promised, counted, found, there, end = 0, -1, _ABSENT, 0, size
    for name, place, length in chunks(file, 12, size, lambda raw: struct.unpack(">4sI", raw)):
        if name == b"COMM" and length >= 18 and place + 18 <= size:
            file.seek(place)
            counted, unit = _common(file.read(min(length, 22)), head[8:])
            promised = counted * unit
        elif name == b"SSND" and place + 8 <= size:
            end = size - place
            sizes = (4, struct.pack(">I", (size - 8) & 0xFFFFFFFF)), (place - 4, struct.pack(">I", end & 0xFFFFFFFF))
            found, there = judged(max(0, length - 8), end - 8, *sizes), min(length - 8, end - 8)
        if counted >= 0 and found is not _ABSENT:
            break
    if found is not _ABSENT and not found.problem and not found.patches:
        if promised > there and not unknown(counted, there):
            return Layout(f"truncated: {there} of {promised} bytes of audio are there")
        if counted == 0:
            return Layout()
    return found


def _common(raw: bytes, kind: bytes) -> tuple[int, int]:
    """Frames and bytes of a frame (0 where they are packed)."""
    channels, frames, bits = struct.unpack(">HIH", raw[:8])
    width = _PLAIN.get(raw[18:22], -1) if kind == b"AIFC" else 0
    return frames, 0 if width < 0 else channels * -(-(width or bits) // 8)


def caf(file: BinaryIO, size: int, _: bytes) -> Layout:
    """Layout of a CAF file: lengths of 64 bits, of which the audio's may be -1."""
    position = 8
    for _chunk in range(MOST_CHUNKS):
        if position + 12 > size:
            break
        file.seek(position)
        name, length = struct.unpack(">4sQ", file.read(12))
        position += 12
        if name == b"data":
            there = size - position
            found = judged(length, there, (position - 8, struct.pack(">Q", there)))
            return found if found.problem or found.patches else Layout(end=position + length)
        position += length
    return _ABSENT
