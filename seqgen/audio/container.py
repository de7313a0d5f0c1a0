"""Containers of recordings, read to tell whether a file was cut short: libsndfile shortens such files silently."""

from __future__ import annotations

import os
import struct
import zlib
from typing import BinaryIO

_UNKNOWN = {0, 0xFFFFFFFF}  # sizes left by a writer that could not seek back
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LAST_PAGE = 4


def damage(file: BinaryIO) -> str:
    """Fault of a WAV or Ogg file's container, or "" where nothing is (or it is another container).

    The stream's position is put back to the start of the file. FLAC needs no check here: its header states the length
    and every frame has a checksum that libsndfile verifies.

    Args:
        file: a seekable binary stream.

    Returns:
        A phrase such as ``"truncated: 1000 of 32000 bytes of audio are there"``; ``"the file is empty"`` for 0 bytes.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    try:
        if size == 0:
            return "the file is empty"
        if head[:4] == b"RIFF" and head[8:] == b"WAVE":
            return _riff(file, size)
        if head[:4] == b"OggS":
            return _ogg(file)
        return ""
    finally:
        file.seek(0)


def _riff(file: BinaryIO, size: int) -> str:
    position = 12
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        position += 8
        if name == b"data":
            there = size - position
            if length in _UNKNOWN or there >= length:
                return ""
            return f"truncated: {there} of {length} bytes of audio are there"
        position += length + length % 2
    return "truncated: the audio is missing"


def _ogg(file: BinaryIO) -> str:
    """Walk the pages: each begins where the last one ended, proves itself, and the last one says so."""
    file.seek(0)
    flags = 0
    while head := file.read(27):
        if len(head) < 27 or head[:4] != b"OggS":
            return "truncated or corrupt between two Ogg pages"
        table = file.read(head[26])
        body = file.read(sum(table))
        if len(table) < head[26] or len(body) < sum(table):
            return "truncated: its last Ogg page is cut"
        if _ogg_checksum(head[:22] + bytes(4) + head[26:] + table + body) != head[22:26]:
            return "corrupt: the checksum of an Ogg page fails"
        flags = head[5]
    return "" if flags & _LAST_PAGE else "truncated: its last Ogg page is missing"


def _ogg_checksum(page: bytes) -> bytes:
    # RFC 3533's CRC is zlib's polynomial with the bits of every byte mirrored, and without the two inversions.
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return mirrored.to_bytes(4, "big").translate(_MIRRORED)
