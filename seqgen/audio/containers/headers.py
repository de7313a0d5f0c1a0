"""Containers of one header before the audio: AU and NIST's Sphere."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from seqgen.audio.containers.layout import Layout, judged, unknown

_SHORT = Layout("truncated: the audio is missing")
_SIZE = re.compile(rb"NIST_1A\s*\n\s*(\d{1,18})\s*\n")  # Python reads no numbers of thousands of digits
_WIDTHS = {2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 1: 1, 27: 1}  # bytes of a sample by AU's encoding


def au(file: BinaryIO, size: int, head: bytes) -> Layout:
    """Layout of Sun's and DEC's AU: place and length of the audio."""
    order = ">" if head[:4] == b".snd" else "<"
    if size < 24:
        return _SHORT
    file.seek(4)
    place, length, encoding, _, channels = struct.unpack(f"{order}IIIII", file.read(20))
    there = size - place
    if there < 0:
        return _SHORT
    unit = _WIDTHS.get(encoding, 1) * max(1, channels)
    found = judged(length, there, (8, struct.pack(f"{order}I", min(there, 0x7FFFFFFE))), unit=unit)
    return found if found.problem or found.patches else Layout(end=place + length)


def sphere(file: BinaryIO, size: int, _: bytes) -> Layout:
    """Layout of a NIST Sphere file: the product of what its text header counts."""
    file.seek(0)
    raw = file.read(1 << 16)
    told = _SIZE.match(raw)
    length = int(told[1]) if told else 0
    if not 0 < length <= size or b"end_head" not in raw[:length]:
        return Layout("truncated: its header is cut")
    counts = {name: int(value) for name, value in re.findall(rb"(\w+) -i (\d{1,18})\b", raw[:length])}
    unit, count = counts.get(b"channel_count", 1) * counts.get(b"sample_n_bytes", 2), counts.get(b"sample_count", 0)
    if unknown(count, (size - length) // max(1, unit)):
        return Layout()  # libsndfile goes by what is there
    found, end = judged(count * unit, size - length), length + count * unit
    return found if found.problem else Layout(end=end, closed=end < size)
