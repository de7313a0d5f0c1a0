"""Symbols of a speech codec as the code of a prior over them: blocks of positions, each the range coder's words and a
check of what they stand for."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from seqgen.compression import block, varint
from seqgen.compression.coder import RangeDecoder, RangeEncoder, Values, otherwise
from seqgen.compression.contract import Predictor

POSITIONS = 4096
"""Positions of a block, but for the last one: half a minute of 125 a second. The prior's state goes on."""
_CHECK = 4  # bytes


@dataclass(frozen=True)
class CodedBlock:
    """Code of a block of positions.

    Attributes:
        code: its bytes. claimed: bits that the prior's probabilities give the symbols.
    """

    code: bytes
    claimed: float


def encoded(predictor: Predictor, blocks: Iterable[Values]) -> Iterator[CodedBlock]:
    """Code of symbols ``[F, G]`` that come in blocks of any length, the symbols of a position one after the other."""
    state = predictor.init(1)
    for given in _regrouped(blocks):
        encoder, row = RangeEncoder(), given.reshape(1, -1)
        _, state = block.code(predictor, encoder, state, row, np.array([row.size]))
        yield CodedBlock(_check(row) + encoder.finish(), encoder.claimed)


def decoded(predictor: Predictor, codes: Iterable[bytes], positions: int, groups: int) -> Iterator[Values]:
    """Symbols ``[F, G]`` of the codes of a file, ``positions`` in all.

    Raises:
        SeqgenError: for too many or too few codes, and where what comes out is not what was encoded: no symbol of such
            a block is given out.
    """
    state, left = predictor.init(1), positions
    for code in codes:
        count = min(POSITIONS, left)
        if not count:
            raise varint.damaged("more blocks than positions")
        row, size = np.zeros((1, count * groups), np.int64), np.array([count * groups])
        row, state = block.code(predictor, RangeDecoder(code[_CHECK:]), state, row, size)
        if _check(row) != code[:_CHECK]:
            raise otherwise("the check of its symbols is another one")
        left -= count
        yield row.reshape(count, groups)
    if left:
        raise varint.damaged(f"{left} positions are missing")


def _regrouped(blocks: Iterable[Values]) -> Iterator[Values]:
    """Blocks of as many positions as a code has."""
    kept: list[Values] = []
    held = 0
    for given in blocks:
        kept.append(given)
        held += len(given)
        while held >= POSITIONS:
            whole = np.concatenate(kept)
            yield whole[:POSITIONS]
            kept, held = [whole[POSITIONS:]], held - POSITIONS
    if held:
        yield np.concatenate(kept)


def _check(row: Values) -> bytes:
    """The CRC-32 of symbols as 32-bit numbers, the lowest byte first."""
    return zlib.crc32(row.astype("<u4").tobytes()).to_bytes(_CHECK, "little")
