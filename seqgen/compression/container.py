"""The container of compressed files: what is needed to read them, blocks of code, and proof that nothing changed.

    magic and version    "SGC", 1
    sizes                of the original, lanes, elements of a piece, records or not: numbers as in `varint`
    model                the first 8 bytes of its digest, the first 4 of the tokenizer's signature
    identity             runtime, version, instructions, threads, precision, label: text, deflated with a dictionary
    original             the first 8 bytes of its SHA-256
    blocks               length of the side information, length of the code, and both
    check                CRC-32 of all before: any flipped bit, a missing end and appended bytes are found by it

No original is larger than the container says, and none is given out whose SHA-256 is another.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from seqgen.compression import identity, varint
from seqgen.compression.identity import NumericIdentity
from seqgen.errors import SeqgenError

MAGIC = b"SGC\x01"
MODEL, TOKENIZER, ORIGINAL, CHECK = 8, 4, 8, 4  # bytes
_READ = 1 << 16
_LARGEST_BLOCK = 1 << 28


@dataclass(frozen=True)
class Header:
    """Header of a compressed file: how it was made, and of what.

    Attributes:
        size: bytes of the original. lanes: stretches coded side by side. piece: bytes of a lane that a block holds.
        records: whether each piece is a record of its own, before which the model has seen nothing.
        model: the digest's beginning, 16 hexadecimal digits. tokenizer: that of its signature, 8. label: where the
            weights are from. identity: what executed the model. original: the beginning of the SHA-256, 16.
    """

    size: int
    lanes: int
    piece: int
    records: bool
    model: str
    tokenizer: str
    label: str
    identity: NumericIdentity
    original: str

    def written(self) -> bytes:
        """The container's beginning."""
        return b"".join((
            MAGIC,
            varint.written(self.size, self.lanes, 2 * self.piece + self.records),
            bytes.fromhex(self.model[: 2 * MODEL]),
            bytes.fromhex(self.tokenizer[: 2 * TOKENIZER]),
            identity.written(self.identity, self.label),
            bytes.fromhex(self.original[: 2 * ORIGINAL]),
        ))  # fmt: skip

    @staticmethod
    def read(reader: varint.Reader) -> Header:
        """The header of a container, whose magic is read already.

        Raises:
            SeqgenError: where it is none.
        """
        size, lanes, (piece, records) = reader.number(), reader.number(), divmod(reader.number(), 2)
        if not (1 <= lanes <= max(1, size) and piece >= 1):
            raise varint.damaged(f"{lanes} lanes of {size} bytes, in pieces of {piece}")
        model, tokenizer = reader.take(MODEL).hex(), reader.take(TOKENIZER).hex()
        executed, label = identity.read(reader)
        original = reader.take(ORIGINAL).hex()
        return Header(size, lanes, piece, bool(records), model, tokenizer, label, executed, original)


class Container:
    """A compressed file that was opened and found whole; iterating gives the side information and code of its blocks.

    Raises:
        SeqgenError: for what cannot be read, is no container, or was changed or cut since it was written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: BinaryIO = path.open("rb")
            size = os.fstat(self._file.fileno()).st_size
            start = self._file.read(len(MAGIC))
            if start[:3] != MAGIC[:3]:
                raise SeqgenError(f"{path}: not a compressed file", remedy="give what `seqgen compress` wrote")
            self._check(size)
            if start != MAGIC:
                raise SeqgenError(f"{path}: format {start[3]}", remedy=f"this version reads format {MAGIC[3]}")
            self._file.seek(len(MAGIC))
            beginning = self._file.read(min(identity.LARGEST, size - CHECK - len(MAGIC)))
            reader = varint.Reader(beginning)
            self.header = Header.read(reader)
        except OSError as error:
            raise SeqgenError(f"cannot read {path}: {error.strerror}", remedy="give a readable file") from None
        self._end = size - CHECK
        self._file.seek(len(MAGIC) + len(beginning) - reader.rest)

    def _check(self, size: int) -> None:
        """Compare the check at the end with what all before gives."""
        self._file.seek(0)
        found, left = 0, size - CHECK
        while left > 0 and (data := self._file.read(min(_READ, left))):
            found, left = zlib.crc32(data, found), left - len(data)
        if left or self._file.read() != found.to_bytes(CHECK, "little"):
            raise varint.damaged("its CRC-32 does not match")

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        while (at := self._file.tell()) < self._end:
            reader = varint.Reader(self._file.read(min(20, self._end - at)))
            before = reader.rest
            side, code = reader.number(), reader.number()
            self._file.seek(at + before - reader.rest)
            if max(side, code) > _LARGEST_BLOCK or side + code > self._end - self._file.tell():
                raise varint.damaged("a block is longer than the file")
            yield self._file.read(side), self._file.read(code)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()


class Writer:
    """Writer of a container into a file that is open."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file, self._sum, self.size = file, 0, 0
        self._write(header.written())

    def block(self, side: bytes, code: bytes) -> None:
        """Write a block."""
        self._write(varint.written(len(side), len(code)) + side + code)

    def finish(self) -> None:
        """Write the check."""
        self._write(self._sum.to_bytes(CHECK, "little"))

    def _write(self, data: bytes) -> None:
        self._sum = zlib.crc32(data, self._sum)
        self.size += len(data)
        self._file.write(data)
