"""Decompression of a file: the same loop as the compression's, its values read from the code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import numpy as np

from seqgen.compression import block, lanes, side, varint
from seqgen.compression.coder import RangeDecoder, Values, otherwise
from seqgen.compression.container import Container, Header
from seqgen.compression.contract import Predictor, State
from seqgen.compression.units import Units
from seqgen.errors import SeqgenError
from seqgen.files.outputs import replacing

_READ = 1 << 16
_LARGEST = 1 << 27  # elements of a block
Progress = Callable[[int], None]


def decompress(
    container: Container, out: Path, predictor: Predictor, units: Units, *, progress: Progress = lambda done: None
) -> int:
    """Write the original of a container to ``out``; returns its bytes.

    Raises:
        SeqgenError: where another model, tokenizer or runtime compressed it, or what comes out is not the original.
    """
    header = container.header
    require_same(header, predictor, units)
    with replacing(out) as target, predictor.session():
        lane = _Lanes(header, predictor, units, target)
        for told, code in container:
            lane.block(side.unpacked(told), code)
            progress(lane.done)
        target.seek(0)
        found = hashlib.sha256()
        while data := target.read(_READ):
            found.update(data)
        if lane.done != header.size or not found.hexdigest().startswith(header.original):
            raise otherwise(f"SHA-256 {found.hexdigest()[:16]}, expected {header.original}")
    return header.size


def require_same(header: Header, predictor: Predictor, units: Units) -> None:
    """Refuse to decode with what would not give the encoder's probabilities.

    Raises:
        SeqgenError: saying what differs, and what to do.
    """
    if not predictor.digest.startswith(header.model):
        raise SeqgenError(
            f"compressed by the model {header.model} ({header.label}), this is {predictor.digest} ({predictor.label})",
            remedy="give the model that compressed it, in the same form: the experiment, or the same bundle",
        )
    if not units.signature.startswith(header.tokenizer):
        raise SeqgenError(
            f"compressed with the tokenizer {header.tokenizer}…, the model's is {units.signature}",
            remedy="give the model with the tokenizer that it had",
        )
    predictor.identity.require_same(header.identity)


class _Lanes:
    """Lanes of a file that is written: where each is, and the model's state behind it."""

    def __init__(self, header: Header, predictor: Predictor, units: Units, target: FileIO) -> None:
        self._header, self._predictor, self._units, self._target = header, predictor, units, target
        self._ends: list[int] = []
        self._at: list[int] = []
        self._state: State = predictor.init(header.lanes)
        self.done = 0

    def block(self, told: varint.Reader, code: bytes) -> None:
        """Decode a block, and write its pieces to their places."""
        if not self._ends:
            self._bounds(told)
        expected = [min(self._header.piece, end - at) for at, end in zip(self._at, self._ends, strict=True)]
        counts = [side.count_read(told, size) if size else 0 for size in expected]
        numbers = np.array([count or 0 for count in counts], np.int64)
        if numbers.min() < 0 or int(numbers.max()) * len(numbers) > _LARGEST or not any(expected):
            raise varint.damaged("pieces of impossible lengths")
        given = np.zeros((len(numbers), int(numbers.max())), np.int64)
        before = self._predictor.init(self._header.lanes) if self._header.records else self._state
        values, self._state = block.code(self._predictor, RangeDecoder(code), before, given, numbers)
        for lane, size in enumerate(expected):
            if size:
                self._write(lane, self._piece(told, counts[lane], values[lane]))

    def _bounds(self, told: varint.Reader) -> None:
        header = self._header
        even = lanes.even_bounds(header.size, header.lanes, header.piece if header.records else 1)
        bounds = [0, *(place - varint.unfolded(told.number()) for place in even[1:-1]), header.size]
        if bounds != sorted(bounds) or bounds[0]:
            raise varint.damaged("lanes that are no stretches")
        self._at, self._ends = bounds[:-1], bounds[1:]

    def _piece(self, told: varint.Reader, count: int | None, values: Values) -> bytes:
        """The bytes of a piece, whose elements are the first ``count`` values, or which was kept as it is."""
        if count is None:
            return told.take(told.number())
        values = values[:count]
        unknown = 0 if self._units.unknown is None else int((values == self._units.unknown).sum())
        return self._units.decode(values, tuple(told.take(told.number()) for _ in range(unknown)))

    def _write(self, lane: int, data: bytes) -> None:
        if not data or self._at[lane] + len(data) > self._ends[lane]:
            raise otherwise("a stretch has another length")
        self._target.seek(self._at[lane])
        self._target.write(data)
        self._at[lane] += len(data)
        self.done += len(data)
