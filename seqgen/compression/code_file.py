"""Files of a speech codec's symbols.

    magic and version    "SGV", 1
    sizes                sample rate, samples, hop, symbols of a position G, classes K: numbers as in `varint`
    model                8 bytes, of the digest of the weights that made the symbols
    symbols              position by position, ⌈log2 K⌉ bits each, the highest first; the last byte is filled with zeros
    check                CRC-32 of all before: a flipped bit, a missing end and appended bytes are found by it

A reader is given nothing of a file before its check was found right.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from seqgen.compression import varint
from seqgen.errors import SeqgenError
from seqgen.manifest import SpeechCodecManifest

Symbols = npt.NDArray[np.int64]
MAGIC = b"SGV\x01"
MODEL, CHECK = 8, 4  # bytes
_HEADER = 64  # bytes that a header has at most
_READ = 1 << 16
_BLOCK = 800  # positions given out at a time: a whole number of bytes, whatever a symbol takes


@dataclass(frozen=True)
class CodeHeader:
    """Header of a file of symbols.

    Attributes:
        sample_rate: Hz. samples: of the recording. hop: samples of a position. groups: symbols of a position.
        classes: how many a symbol may be. model: 16 hexadecimal digits.
    """

    sample_rate: int
    samples: int
    hop: int
    groups: int
    classes: int
    model: str

    @staticmethod
    def of(manifest: SpeechCodecManifest, samples: int) -> CodeHeader:
        """The header of a recording of so many samples, by a codec."""
        return CodeHeader(
            manifest.sample_rate, samples, manifest.hop, manifest.groups, manifest.classes, manifest.model
        )

    @property
    def bits(self) -> int:
        """Bits of a symbol."""
        return (self.classes - 1).bit_length()

    @property
    def positions(self) -> int:
        """Positions of the recording, the last of what is left behind whole hops."""
        return -(-self.samples // self.hop)

    @property
    def payload(self) -> int:
        """Bytes of all symbols."""
        return -(-self.positions * self.groups * self.bits // 8)

    def written(self) -> bytes:
        """The file's beginning."""
        sizes = varint.written(self.sample_rate, self.samples, self.hop, self.groups, self.classes)
        return MAGIC + sizes + bytes.fromhex(self.model)

    def require_made_by(self, manifest: SpeechCodecManifest, name: str) -> None:
        """Refuse a codec that did not make the file.

        Raises:
            SeqgenError: naming both.
        """
        mine = CodeHeader.of(manifest, self.samples)
        if self == mine:
            return
        if self.sample_rate != mine.sample_rate:
            got, have = f"of {self.sample_rate} Hz", f"makes {mine.sample_rate} Hz"
        else:
            got, have = f"made by the model {self.model}", f"is {mine.model} ({manifest.name})"
        raise SeqgenError(f"{name}: {got}, the model that is given {have}", remedy="give the model that encoded it")


def packed(symbols: Symbols, bits: int) -> npt.NDArray[np.uint8]:
    """Bits of symbols, the highest first, ``[M] → [M · bits]``."""
    return (symbols[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8).reshape(-1)


def unpacked(bits_of: npt.NDArray[np.uint8], bits: int) -> Symbols:
    """The inverse of :func:`packed`."""
    weights = np.int64(1) << np.arange(bits, dtype=np.int64)[::-1]
    return bits_of.reshape(-1, bits).astype(np.int64) @ weights


def write(file: BinaryIO | Any, header: CodeHeader, blocks: Iterable[Symbols]) -> int:
    """Write symbols ``[F, G]`` as they come, in constant memory; returns bytes of the file."""
    data = header.written()
    check, size, made = 0, 0, 0
    rest = np.zeros(0, np.uint8)

    def put(more: bytes) -> None:
        nonlocal check, size
        check, size = zlib.crc32(more, check), size + len(more)
        file.write(more)

    put(data)
    for block in blocks:
        made += len(block)
        rest = np.concatenate([rest, packed(block.reshape(-1), header.bits)])
        whole = rest.size // 8 * 8
        put(np.packbits(rest[:whole]).tobytes())
        rest = rest[whole:]
    put(np.packbits(rest).tobytes())
    assert made == header.positions, f"{made} of {header.positions} positions"
    file.write(check.to_bytes(CHECK, "little"))
    return size + CHECK


class CodeFile:
    """A file of symbols that was opened and found whole; iterating gives them, ``[F, G]`` at a time.

    Raises:
        SeqgenError: for what cannot be read, is no such file, or was changed or cut since it was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BinaryIO = path.open("rb")
            self._size = os.fstat(self._file.fileno()).st_size
            start = self._file.read(_HEADER)
            if start[:3] != MAGIC[:3]:
                raise SeqgenError(f"{path}: no file of symbols", remedy="give what `seqgen encode` wrote")
            if start[: len(MAGIC)] != MAGIC:
                raise SeqgenError(f"{path}: format {start[3:4].hex()}", remedy=f"this version reads format {MAGIC[3]}")
            self._check()
            self.header, self._at = self._header(start)
        except OSError as error:
            raise SeqgenError(f"cannot read {path}: {error.strerror}", remedy="give a readable file") from None

    def _check(self) -> None:
        self._file.seek(0)
        found, left = 0, self._size - CHECK
        while left > 0 and (data := self._file.read(min(_READ, left))):
            found, left = zlib.crc32(data, found), left - len(data)
        if left or self._file.read() != found.to_bytes(CHECK, "little"):
            raise self._damaged("its CRC-32 does not match: it was cut or changed")

    def _header(self, start: bytes) -> tuple[CodeHeader, int]:
        reader = varint.Reader(start[len(MAGIC) :])
        rate, samples, hop, groups, classes = (reader.number() for _ in range(5))
        header = CodeHeader(rate, samples, hop, groups, classes, reader.take(MODEL).hex())
        at = len(start) - reader.rest
        sensible = min(header.sample_rate, header.hop, header.groups) >= 1 and header.classes >= 2
        if not sensible or at + header.payload + CHECK != self._size:
            raise self._damaged("its sizes do not fit each other")
        return header, at

    def _damaged(self, how: str) -> SeqgenError:
        return SeqgenError(f"{self.path}: damaged: {how}", remedy="copy it again, or encode the recording anew")

    def __iter__(self) -> Iterator[Symbols]:
        header, at = self.header, self._at
        per = header.groups * header.bits  # bits of a position; 8 positions are whole bytes
        for first in range(0, header.positions, _BLOCK):
            count = min(_BLOCK, header.positions - first)
            self._file.seek(at + first * per // 8)
            data = np.frombuffer(self._file.read(-(-count * per // 8)), np.uint8)
            symbols = unpacked(np.unpackbits(data)[: count * per], header.bits)
            if symbols.max(initial=0) >= header.classes:
                raise self._damaged(f"a symbol {symbols.max()} of {header.classes}")
            yield symbols.reshape(count, header.groups)

    def __enter__(self) -> CodeFile:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()
