"""Microsoft's containers: RIFF and RIFX WAV, Broadcast WAV, RF64, BW64, and Sony's Wave64."""

from __future__ import annotations

import struct
from typing import BinaryIO

from seqgen.audio.containers.layout import MOST_CHUNKS, Layout, chunks, judged, unknown

_ABSENT = Layout("truncated: the audio is missing")
_WAVE64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")


def wav(file: BinaryIO, size: int, head: bytes) -> Layout:
    """Layout of a RIFF file: the length of its ``data`` chunk, or of RF64's ``ds64`` where that says so."""
    order = ">" if head[:4] == b"RIFX" else "<"
    unit, long = 1, None
    patches: tuple[tuple[int, bytes], ...] = ()
    if head[:4] == b"BW64":
        patches = ((0, b"RF64"),)  # the same but for its name, which libsndfile does not know
    for name, place, length in chunks(file, 12, size, lambda raw: struct.unpack(f"{order}4sI", raw)):
        if name == b"fmt " and place + 14 <= size:
            file.seek(place + 12)
            unit = max(1, struct.unpack(f"{order}H", file.read(2))[0])
        elif name == b"ds64" and place + 16 <= size:
            file.seek(place + 8)
            long = place + 8, struct.unpack("<Q", file.read(8))[0]
        elif name == b"data":
            there = size - place
            if long is not None and length == 0xFFFFFFFF:
                mended = struct.pack("<QQ", size - 8, there)
                found = judged(long[1], there, (long[0] - 8, mended), unit=unit)
            elif length == 0 and _ends_here(file, place, size, order):
                return Layout()
            else:
                mended = struct.pack(f"{order}I", min(there, 0xFFFFFFFF))
                found = judged(length, there, (place - 4, mended), unit=unit)
            true = long[1] if long is not None and length == 0xFFFFFFFF else length
            end = 0 if found.problem or found.patches else place + true + true % 2
            return Layout(found.problem, (*patches, *found.patches), end=end)
    return _ABSENT


def _ends_here(file: BinaryIO, position: int, size: int, order: str) -> bool:
    """Test of what follows a chunk: where it is nothing but chunks, a length of 0 is meant."""
    for name, place, length in chunks(file, position, size, lambda raw: struct.unpack(f"{order}4sI", raw)):
        if not all(32 <= byte < 127 for byte in name) or unknown(length, size - place):
            return False
        position = place + length + length % 2
    return position in (size, size + 1)


def wave64(file: BinaryIO, size: int, _: bytes) -> Layout:
    """Layout of a Wave64 file: names of 16 bytes, lengths of 64 bits that count their own head."""
    position, unit = 40, 1
    for _chunk in range(MOST_CHUNKS):
        if position + 24 > size:
            break
        file.seek(position)
        name, length = struct.unpack("<16sQ", file.read(24))
        if name == b"fmt " + _WAVE64 and position + 38 <= size:
            file.seek(position + 36)
            unit = max(1, struct.unpack("<H", file.read(2))[0])
        if name == b"data" + _WAVE64:
            there = size - position - 24
            sizes = (16, struct.pack("<Q", size)), (position + 16, struct.pack("<Q", there + 24))
            found, end = judged(max(0, length - 24), there, *sizes, unit=unit), position + length
            return found if found.problem or found.patches else Layout(end=end, closed=end < size)
        position += max(24, length + -length % 8)
    return _ABSENT
