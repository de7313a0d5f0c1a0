"""Containers told by their first bytes: libsndfile shortens damaged files without a word."""

from __future__ import annotations

import os
from typing import BinaryIO

from seqgen.audio.containers import apple, flac, headers, mp3, ogg, riff
from seqgen.audio.containers.layout import Layout

FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "NIST", "FLAC", "OGG", "MP3"})
"""libsndfile's names of the containers whose declared lengths are checked; no others are read."""
_WAVE64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")


def layout(file: BinaryIO) -> Layout:
    """Layout of a recording's container: what it says of its length, held against what is there.

    The stream's position is put back to the start of the file.

    Args:
        file: a seekable binary stream.

    Returns:
        A layout without a problem where nothing is wrong, or where the file is no container that is known.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    try:
        if size == 0:
            return Layout("the file is empty")
        start = mp3.first(file) if head[:3] == b"ID3" else 0
        if start:
            file.seek(start)
            tagged = file.read(4) == b"fLaC"
            return flac.flac(file, size, head, start) if tagged else mp3.mp3(file, size, head)
        found = _of(head, file, size)
        file.seek(found.end)
        if found.end and file.read(4) == head[:4]:
            return Layout("a second recording follows the first, which is all that would be read")
        return found
    finally:
        file.seek(0)


def _of(head: bytes, file: BinaryIO, size: int) -> Layout:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return riff.wav(file, size, head)
    if head == _WAVE64:
        return riff.wave64(file, size, head)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return apple.aiff(file, size, head)
    readers = {b"caff": apple.caf, b".snd": headers.au, b"dns.": headers.au, b"fLaC": flac.flac, b"OggS": ogg.ogg}
    if head[:4] in readers:
        return readers[head[:4]](file, size, head)
    if head[:7] == b"NIST_1A":
        return headers.sphere(file, size, head)
    if mp3.frame(head[:4]) is not None:
        return mp3.mp3(file, size, head)
    return Layout()
