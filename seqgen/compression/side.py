"""Side information of a block: what the code of its elements does not tell.

For the first block where the lanes begin; for every piece how many elements it has, or that it is kept as it is; the
bytes of unknown elements. Deflated where that is shorter.
"""

from __future__ import annotations

import zlib

from seqgen.compression import varint

_PLAIN, _DEFLATED = 0, 1
_LARGEST = 1 << 26  # bytes of a block's side information


def packed(data: bytes) -> bytes:
    """Bytes with how they are kept before them; nothing for zeros only, of which there are as many as are read."""
    if not any(data):
        return b""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    shorter = deflate.compress(data) + deflate.flush()
    return bytes([_DEFLATED]) + shorter if len(shorter) < len(data) else bytes([_PLAIN]) + data


def unpacked(data: bytes) -> varint.Reader:
    """Reader of what was packed.

    Raises:
        SeqgenError: where it was not.
    """
    if not data:
        return _Zeros(b"")
    if data[0] == _PLAIN:
        return varint.Reader(data[1:])
    inflate = zlib.decompressobj(-15)
    try:
        made = inflate.decompress(data[1:], _LARGEST)
    except zlib.error as error:
        raise varint.damaged(str(error)) from None
    if data[0] != _DEFLATED or not inflate.eof:
        raise varint.damaged("side information of a form that there is not")
    return varint.Reader(made)


class _Zeros(varint.Reader):
    """Reader of zeros without end."""

    def take(self, count: int) -> bytes:
        return bytes(count)


def count_written(count: int | None, expected: int) -> bytes:
    """A piece's number of elements, of which about as many as it has bytes are expected; ``None``: it is kept as it
    is."""
    if count is None:
        return varint.written(1)
    return varint.written(varint.folded(expected - count) + 1 if count != expected else 0)


def count_read(reader: varint.Reader, expected: int) -> int | None:
    """The inverse of :func:`count_written`."""
    code = reader.number()
    return None if code == 1 else expected - varint.unfolded(max(0, code - 1))
