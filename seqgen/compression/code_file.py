"""Files of a speech codec's symbols.

    magic and version    "SGV", 1, or 2 where a prior codes the symbols
    sizes                sample rate, samples, hop, symbols of a position G, classes K: numbers as in `varint`
    model                8 bytes, of the digest of the weights that made the symbols
    prior                of version 2: the first 8 bytes of its digest, and what executed it, as in `identity`
    symbols              position by position, ⌈log2 K⌉ bits each, the highest first; the last byte is filled with zeros
                         of version 2: blocks as in `coded_symbols`, each with the length of its code before it
    check                CRC-32 of all before: a flipped bit, a missing end and appended bytes are found by it

A reader is given nothing of a file before its check was found right.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from seqgen.compression import identity, varint
from seqgen.compression.identity import NumericIdentity
from seqgen.errors import SeqgenError
from seqgen.manifest import SpeechCodecManifest

if TYPE_CHECKING:  # the entropy coder is a package of its own, which symbols of a fixed width do without
    from seqgen.compression.contract import Predictor

Symbols = npt.NDArray[np.int64]
MAGIC = b"SGV"
_PACKED, _CODED = 1, 2  # versions
MODEL, CHECK = 8, 4  # bytes
_HEADER = 64 + identity.LARGEST  # bytes that a header has at most
_READ = 1 << 16
_NUMBER = 9  # bytes that a number has at most
_BLOCK = 800  # positions given out at a time: a whole number of bytes, whatever a symbol takes


@dataclass(frozen=True)
class Coding:
    """Prior that a file's symbols are coded by.

    Attributes:
        prior: 16 hexadecimal digits of it. identity: what executed it.
    """

    prior: str
    identity: NumericIdentity

    def require_same(self, predictor: Predictor, name: str) -> None:
        """Refuse to decode with a prior that would not give the encoder's probabilities.

        Raises:
            SeqgenError: saying what differs.
        """
        if predictor.digest != self.prior:
            raise SeqgenError(
                f"{name}: coded by the prior {self.prior}, this is {predictor.digest} ({predictor.label})",
                remedy="give the bundle that encoded it",
            )
        predictor.identity.require_same(self.identity)


@dataclass(frozen=True)
class CodeHeader:
    """Header of a file of symbols.

    Attributes:
        sample_rate: Hz. samples: of the recording. hop: samples of a position. groups: symbols of a position.
        classes: how many a symbol may be. model: 16 hexadecimal digits. coding: ``None`` where every symbol has as many
            bits.
    """

    sample_rate: int
    samples: int
    hop: int
    groups: int
    classes: int
    model: str
    coding: Coding | None = None

    @staticmethod
    def of(manifest: SpeechCodecManifest, samples: int, predictor: Predictor | None = None) -> CodeHeader:
        """The header of a recording of so many samples, by a codec and perhaps by its prior."""
        coding = None if predictor is None else Coding(predictor.digest, predictor.identity)
        sizes = (manifest.sample_rate, samples, manifest.hop, manifest.groups, manifest.classes)
        return CodeHeader(*sizes, manifest.model, coding)

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
        """Bytes of all symbols, where each has as many bits."""
        return -(-self.positions * self.groups * self.bits // 8)

    def written(self) -> bytes:
        """The file's beginning."""
        sizes = varint.written(self.sample_rate, self.samples, self.hop, self.groups, self.classes)
        if self.coding is None:
            return MAGIC + bytes([_PACKED]) + sizes + bytes.fromhex(self.model)
        coding = bytes.fromhex(self.coding.prior) + identity.written(self.coding.identity)
        return MAGIC + bytes([_CODED]) + sizes + bytes.fromhex(self.model) + coding

    def require_made_by(self, manifest: SpeechCodecManifest, name: str) -> None:
        """Refuse a codec that did not make the file.

        Raises:
            SeqgenError: naming both.
        """
        mine = CodeHeader.of(manifest, self.samples)
        if replace(self, coding=None) == mine:
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


@dataclass
class CodeReport:
    """Report of a file that was written.

    Attributes:
        size: its bytes. code: those of its symbols. claimed: bits that the prior gives the symbols; without one, theirs
            in the file.
    """

    size: int = 0
    code: int = 0
    claimed: float = 0.0


class _Checked:
    """A file under the check that ends it."""

    def __init__(self, file: BinaryIO | Any) -> None:
        self._file, self._check, self.size = file, 0, 0

    def put(self, data: bytes) -> None:
        self._check, self.size = zlib.crc32(data, self._check), self.size + len(data)
        self._file.write(data)

    def finish(self) -> None:
        self._file.write(self._check.to_bytes(CHECK, "little"))
        self.size += CHECK


def write(
    file: BinaryIO | Any, header: CodeHeader, blocks: Iterable[Symbols], predictor: Predictor | None = None
) -> CodeReport:
    """Write symbols ``[F, G]`` as they come, in constant memory, coded by the header's prior where it has one."""
    target, report = _Checked(file), CodeReport()
    target.put(header.written())
    counted = _counted(blocks, header.positions)
    if predictor is None:
        _write_packed(target, header.bits, counted)
        report.claimed = float(header.positions * header.groups * header.bits)
    else:
        from seqgen.compression import coded_symbols

        for block in coded_symbols.encoded(predictor, counted):
            target.put(varint.written(len(block.code)) + block.code)
            report.claimed += block.claimed
    report.code = target.size - len(header.written())
    target.finish()
    report.size = target.size
    return report


def _counted(blocks: Iterable[Symbols], positions: int) -> Iterator[Symbols]:
    made = 0
    for block in blocks:
        made += len(block)
        yield block
    assert made == positions, f"{made} of {positions} positions"


def _write_packed(target: _Checked, bits: int, blocks: Iterable[Symbols]) -> None:
    rest = np.zeros(0, np.uint8)
    for block in blocks:
        rest = np.concatenate([rest, packed(block.reshape(-1), bits)])
        whole = rest.size // 8 * 8
        target.put(np.packbits(rest[:whole]).tobytes())
        rest = rest[whole:]
    target.put(np.packbits(rest).tobytes())


class CodeFile:
    """A file of symbols that was opened and found whole.

    Raises:
        SeqgenError: for what cannot be read, is no such file, or was changed or cut since it was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BinaryIO = path.open("rb")
            self._size = os.fstat(self._file.fileno()).st_size
            start = self._file.read(_HEADER)
            if start[:3] != MAGIC:
                raise SeqgenError(f"{path}: no file of symbols", remedy="give what `seqgen encode` wrote")
            if start[3:4] not in (bytes([_PACKED]), bytes([_CODED])):
                raise SeqgenError(f"{path}: format {start[3:4].hex()}", remedy=f"this version reads up to {_CODED}")
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
        data = start[len(MAGIC) + 1 : self._size - CHECK]
        reader = varint.Reader(data)
        rate, samples, hop, groups, classes = (reader.number() for _ in range(5))
        model, coding = reader.take(MODEL).hex(), None
        if start[len(MAGIC)] == _CODED:
            coding = Coding(reader.take(MODEL).hex(), identity.read(reader)[0])
        header = CodeHeader(rate, samples, hop, groups, classes, model, coding)
        at = len(MAGIC) + 1 + len(data) - reader.rest
        sensible = min(header.sample_rate, header.hop, header.groups) >= 1 and header.classes >= 2
        if not sensible or (coding is None and at + header.payload + CHECK != self._size):
            raise self._damaged("its sizes do not fit each other")
        return header, at

    def _damaged(self, how: str) -> SeqgenError:
        return SeqgenError(f"{self.path}: damaged: {how}", remedy="copy it again, or encode the recording anew")

    def symbols(self, predictor: Predictor | None = None) -> Iterator[Symbols]:
        """The symbols, ``[F, G]`` at a time; those that a prior codes need it.

        Raises:
            SeqgenError: for another prior than the file's, or another machine than it was coded on.
        """
        if self.header.coding is None:
            return self._packed()
        assert predictor is not None, "a file that a prior codes"
        self.header.coding.require_same(predictor, str(self.path))
        return self._coded(predictor)

    def _packed(self) -> Iterator[Symbols]:
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

    def _coded(self, predictor: Predictor) -> Iterator[Symbols]:
        from seqgen.compression import coded_symbols

        return coded_symbols.decoded(predictor, self._codes(), self.header.positions, self.header.groups)

    def _codes(self) -> Iterator[bytes]:
        at, end = self._at, self._size - CHECK
        while at < end:
            self._file.seek(at)
            start = self._file.read(min(_NUMBER, end - at))
            reader = varint.Reader(start)
            count = reader.number()
            at += len(start) - reader.rest
            if count > end - at:
                raise self._damaged("a block is longer than the file")
            self._file.seek(at)
            yield self._file.read(count)
            at += count

    def __enter__(self) -> CodeFile:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()
