"""Ogg pages and the two head packets of an Opus stream.

Source: RFC 3533 (Ogg), RFC 7845 (Opus in Ogg).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

FIRST_PAGE, LAST_PAGE = 2, 4
_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def checksum(data: bytes) -> int:
    """CRC-32 of Ogg: polynomial 0x04c11db7, most significant bit first, starting from 0.

    It is zlib's with every bit order turned round, and without zlib's inversions.
    """
    turned = zlib.crc32(data.translate(_MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(turned.to_bytes(4, "little").translate(_MIRROR), "big")


class OggPageWriter:
    """Writer of the numbered Ogg pages of one logical stream.

    Example:
        >>> OggPageWriter(7).page(b"packet", position=0, flags=FIRST_PAGE)[:4]
        b'OggS'
    """

    def __init__(self, serial: int) -> None:
        self._serial, self._number = serial & 0xFFFFFFFF, 0

    def page(self, packet: bytes, *, position: int, flags: int = 0) -> bytes:
        """One packet as a page of its own; ``position``: samples at 48 kHz up to its end."""
        sizes = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
        if len(sizes) > 255:
            raise ValueError(f"a packet of {len(packet)} bytes does not fit a page")
        fields = (b"OggS", 0, flags, position, self._serial, self._number, 0, len(sizes))
        head = struct.pack("<4sBBqIIIB", *fields) + sizes
        self._number += 1
        return head[:22] + struct.pack("<I", checksum(head + packet)) + head[26:] + packet


def opus_head(rate: int, skip: int) -> bytes:
    """Identification header of an Opus stream: mono, the rate of the source, samples at 48 kHz to drop at the start."""
    return struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, skip, rate, 0, 0)


def opus_tags(vendor: str, tags: Mapping[str, str]) -> bytes:
    """Comment header of an Opus stream."""
    told = [f"{key}={value}".encode() for key, value in tags.items()]
    parts = [vendor.encode(), *told]
    packed = [struct.pack("<I", len(part)) + part for part in parts]
    return b"OpusTags" + packed[0] + struct.pack("<I", len(told)) + b"".join(packed[1:])
