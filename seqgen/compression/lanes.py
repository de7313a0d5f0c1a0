"""Lanes of a file: equal stretches that are coded side by side, as the rows of a batch.

A model takes one element at a time, and a step of one row costs about as much as one of many: a file is therefore cut
into L stretches. The price is a context: every lane begins with a model that has seen nothing, which costs some tens of
bytes, what the model's context is worth. So there are few where a file is small: one for each 16 KiB, 256 at most.

A block is a piece of each lane. A lane's state goes on from block to block; memory is that of one block.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from seqgen.compression.units import Units
from seqgen.errors import SeqgenError

MOST = 256
PIECE = 1 << 13  # bytes of a lane in a block
_LANE = 1 << 14  # bytes that are worth a lane
_NEAR = 8  # bytes before a lane's even start that are looked through for a better one


def piece(length: int = 0) -> int:
    """Bytes of a lane in a block; where a model codes sequences of one length, about as many for the whole block, whole
    sequences where an element is a byte."""
    return PIECE if not length else max(1, 4 * PIECE // length) * length


def count(size: int, record: int = 0, length: int = 0) -> int:
    """Lanes of a file of ``size`` bytes; of records no more than there are, and one where a model codes sequences of
    one ``length``, which lie side by side as they are."""
    if length and not record:
        return 1
    if record:
        return max(1, min(MOST, -(-size // record)))
    return max(1, min(MOST, size // _LANE))


@dataclass(frozen=True)
class LaneReader:
    """Reader of the pieces of an open file, lane by lane.

    Args:
        descriptor: of the file. size: in bytes. lanes: stretches. piece: bytes of a lane that a block has. records:
            whether pieces are records, which are cut nowhere else. units: what says where a text may be cut.
    """

    descriptor: int
    size: int
    lanes: int
    piece: int
    records: bool
    units: Units

    def bounds(self) -> list[int]:
        """Bounds of the lanes: where they begin, and the end."""
        even = self.even_bounds()
        if self.records:
            return even
        return [0, *map(self._start, even[1:-1]), self.size]

    def even_bounds(self) -> list[int]:
        """Bounds of the lanes if nothing had to be kept whole."""
        return even_bounds(self.size, self.lanes, self.piece if self.records else 1)

    def _start(self, at: int) -> int:
        first = max(0, at - _NEAR) // 2 * 2
        return first + self.units.boundary(self._read(at - first + 1, first), at - first)

    def read(self, at: int, end: int) -> bytes:
        """The piece of a lane that begins at ``at``; the lane ends at ``end``.

        Raises:
            SeqgenError: where the file cannot be read, or has become shorter.
        """
        data = self._read(min(self.piece + 1, end - at), at)
        if len(data) <= self.piece or self.records:
            return data[: self.piece]
        return data[: self.units.boundary(data, self.piece)]

    def _read(self, count: int, at: int) -> bytes:
        try:
            data = os.pread(self.descriptor, count, at)
        except OSError as error:
            raise SeqgenError(f"cannot read on: {error.strerror}", remedy="copy the file to a sound disk") from None
        if len(data) < count:
            raise SeqgenError("the file became shorter while it was compressed", remedy="compress it when it is whole")
        return data


def even_bounds(size: int, lanes: int, unit: int) -> list[int]:
    """Bounds of lanes of whole units (the last one may be cut) if all are as long: where they begin, and the end."""
    units = -(-size // unit)
    return [*(min(size, lane * units // lanes * unit) for lane in range(lanes)), size]
