"""Ogg: pages that prove themselves, of which the last one says so."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from seqgen.audio.containers.layout import Layout

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FIRST_PAGE, _LAST_PAGE = 2, 4


def ogg(file: BinaryIO, _: int, __: bytes) -> Layout:
    """Layout of an Ogg file: each page begins where the one before ended."""
    file.seek(0)
    flags = 0
    while head := file.read(27):
        if len(head) < 27 or head[:4] != b"OggS":
            return Layout("truncated or corrupt between two Ogg pages")
        table = file.read(head[26])
        body = file.read(sum(table))
        if len(table) < head[26] or len(body) < sum(table):
            return Layout("truncated: its last Ogg page is cut")
        if _checksum(head[:22] + bytes(4) + head[26:] + table + body) != head[22:26]:
            return Layout("corrupt: the checksum of an Ogg page fails")
        if flags & _LAST_PAGE and head[5] & _FIRST_PAGE:
            return Layout("a second recording follows the first, which is all that would be read")
        flags = head[5]
    return Layout("" if flags & _LAST_PAGE else "truncated: its last Ogg page is missing")


def _checksum(page: bytes) -> bytes:
    # RFC 3533's CRC is zlib's polynomial with the bits of every byte mirrored, and without the two inversions.
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return mirrored.to_bytes(4, "big").translate(_MIRRORED)
