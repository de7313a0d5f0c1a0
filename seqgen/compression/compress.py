"""Compression of a file: its lanes, block by block, through a predictor and the range coder into a container."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seqgen.compression import block, container, lanes, side, varint
from seqgen.compression.coder import RangeEncoder, Values
from seqgen.compression.container import Header, Writer
from seqgen.compression.contract import Predictor, State
from seqgen.compression.units import Units
from seqgen.errors import SeqgenError
from seqgen.files.outputs import replacing

_LONGEST = 2  # elements for every byte of a piece that a model codes, at most
Progress = Callable[[int], None]


@dataclass
class CompressionReport:
    """Report of a compression.

    Attributes:
        size, compressed: bytes before and behind. elements: that the model coded. claimed: bits that its probabilities
            give them. kept: bytes that no model coded, those of unknown elements and of pieces kept as they are.
        lanes: stretches side by side.
    """

    size: int = 0
    compressed: int = 0
    elements: int = 0
    claimed: float = 0.0
    kept: int = 0
    lanes: int = 1

    @property
    def promised(self) -> float:
        """Bytes that the model's own likelihood asks for, with those that it does not code."""
        return self.claimed / 8 + self.kept


def compress(
    path: Path,
    out: Path,
    predictor: Predictor,
    units: Units,
    *,
    number: int = 0,
    record: int = 0,
    progress: Progress = lambda done: None,
) -> CompressionReport:
    """Write ``path`` compressed to ``out``.

    Args:
        number: lanes (0: by the size). record: bytes of the records that the file consists of, each of which a fresh
            model codes (0: the file is one sequence). progress: told the bytes done after every block.

    Raises:
        SeqgenError: for what cannot be read or written, and for more lanes than bytes.
    """
    with _opened(path) as (file, size), replacing(out) as target, predictor.session():
        made = min(number or lanes.count(size, record, predictor.length), max(1, size))
        source = lanes.LaneReader(
            file.fileno(), size, made, record or lanes.piece(predictor.length), bool(record), units
        )
        header = Header(
            size=size,
            lanes=made,
            piece=source.piece,
            records=source.records,
            model=predictor.digest[: 2 * container.MODEL],
            tokenizer=units.signature[: 2 * container.TOKENIZER],
            label=predictor.label,
            identity=predictor.identity,
            original=_sha256(file)[: 2 * container.ORIGINAL],
        )
        writer, report = Writer(target, header), CompressionReport(size=size, lanes=made)
        for coded, code, done in _blocks(source, predictor, report):
            writer.block(coded, code)
            progress(done)
        writer.finish()
        report.compressed = writer.size
    return report


class _Piece(NamedTuple):
    """Piece of a lane: its bytes, how many were expected, its elements and the bytes of the unknown ones."""

    data: bytes
    expected: int
    values: Values
    literals: tuple[bytes, ...]
    kept: bool

    @staticmethod
    def of(data: bytes, expected: int, units: Units) -> _Piece:
        values, literals = units.encode(data)
        made = _Piece(data, expected, values, literals, kept=False)
        if len(values) > _LONGEST * len(data) or units.decode(values, literals) != data:
            return made.as_it_is()
        return made

    def as_it_is(self) -> _Piece:
        """The piece without elements, its bytes kept."""
        return _Piece(self.data, self.expected, np.zeros(0, np.int64), (self.data,), kept=True)

    @property
    def told(self) -> bytes:
        """Number of elements it has, in the side information."""
        if not self.expected:
            return b""  # the lane is at its end
        return side.count_written(None if self.kept else len(self.values), self.expected)


def _blocks(
    source: lanes.LaneReader, predictor: Predictor, report: CompressionReport
) -> Iterator[tuple[bytes, bytes, int]]:
    """Side information and code of every block, and the bytes that are done behind it."""
    bounds = source.bounds()
    even = source.even_bounds()
    before = varint.written(*(varint.folded(one - other) for one, other in zip(even[1:-1], bounds[1:-1], strict=True)))
    at, state = bounds[:-1], predictor.init(source.lanes)
    while any(place < end for place, end in zip(at, bounds[1:], strict=True)):
        pieces = [
            _Piece.of(source.read(place, end), min(source.piece, end - place), source.units)
            for place, end in zip(at, bounds[1:], strict=True)
        ]
        encoder, pieces, state = _coded(predictor, predictor.init(source.lanes) if source.records else state, pieces)
        literals = [one for piece in pieces for one in piece.literals]
        told = [before, *(piece.told for piece in pieces), *(varint.written(len(one)) + one for one in literals)]
        report.elements += sum(len(piece.values) for piece in pieces)
        report.claimed += encoder.claimed
        report.kept += sum(map(len, literals))
        at, before = [place + len(piece.data) for place, piece in zip(at, pieces, strict=True)], b""
        done = sum(place - first for place, (first, _) in zip(at, pairwise(bounds), strict=True))
        yield side.packed(b"".join(told)), encoder.finish(), done


def _coded(predictor: Predictor, state: State, pieces: list[_Piece]) -> tuple[RangeEncoder, list[_Piece], State]:
    """A block's code, its pieces, and the states behind it; pieces that the model's bijection does not give back are
    kept as they are."""
    while True:
        encoder = RangeEncoder()
        given, counts = _rows([piece.values for piece in pieces])
        coded, after = block.code(predictor, encoder, state, given, counts)
        wrong = (coded != given).any(axis=1)
        if not wrong.any():
            return encoder, pieces, after
        pieces = [piece.as_it_is() if bad else piece for piece, bad in zip(pieces, wrong, strict=True)]


def _rows(pieces: Sequence[Values]) -> tuple[Values, Values]:
    """Elements of several pieces as rows, ``[B, T]``, and how many each has, ``[B]``."""
    counts = np.array([len(piece) for piece in pieces], np.int64)
    rows = np.zeros((len(pieces), int(counts.max())), np.int64)
    for row, piece in zip(rows, pieces, strict=True):
        row[: len(piece)] = piece
    return rows, counts


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """A file to compress, and its size; lanes begin anywhere in it."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise SeqgenError(f"{path}: no regular file", remedy="write it to a file first: lanes begin anywhere")
            yield file, found.st_size
    except OSError as error:
        raise SeqgenError(f"cannot read {path}: {error.strerror}", remedy="give a readable file") from None


def _sha256(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
