"""UTF-8 that may be invalid: code points, where a character is unfinished, what is no character."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

_ESCAPED = 0xDC00  # a byte that is no part of a character stands as this plus its value (PEP 383)
_LONGEST_TAIL = 3  # bytes of a character that lacks one


def code_points(data: bytes) -> npt.NDArray[np.uint32]:
    """Code points of a text, ``[N]``; a byte b that is no part of a character is U+DC00 + b, which no text has.

    Example:
        >>> [hex(point) for point in code_points("é".encode() + b"\\xff")]
        ['0xe9', '0xdcff']
    """
    text = data.decode("utf-8", "surrogateescape")
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def from_code_points(points: npt.NDArray[np.uint32]) -> bytes:
    """The bytes of :func:`code_points`."""
    text = points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    return text.encode("utf-8", "surrogateescape")


def unfinished(data: bytes) -> int:
    """Bytes at the end that may be the beginning of a character, 0 to 3.

    Example:
        >>> unfinished("a€".encode()[:-1]), unfinished("a€".encode())
        (2, 0)
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    decoder.decode(data[-_LONGEST_TAIL:])
    return len(decoder.getstate()[0])


def count(data: bytes) -> tuple[int, int]:
    """Characters of a text, each byte that is no part of one counted as one, and the number of such bytes."""
    points = code_points(data)
    return len(points), int(np.count_nonzero((points >= _ESCAPED + 0x80) & (points <= _ESCAPED + 0xFF)))


def sizes(data: bytes) -> npt.NDArray[np.int64]:
    """Bytes of each code point of :func:`code_points`, 1 to 4; a byte that is no part of a character is one."""
    points = code_points(data)
    lone = (points >= _ESCAPED) & (points <= _ESCAPED + 0xFF)
    found = 1 + (points > 0x7F).astype(np.int64) + (points > 0x7FF) + (points > 0xFFFF)
    return np.where(lone, 1, found)


def whole(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in blocks that cut no character."""
    pending = b""
    for block in blocks:
        data = pending + block
        cut = len(data) - unfinished(data)
        yield data[:cut]
        pending = data[cut:]
    yield pending
