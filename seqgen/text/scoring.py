"""Scores of texts, byte by byte, so that models over other symbols can be compared: blocks cut at the same bytes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.text import utf8
from seqgen.text.tokenizer import Encoded, Tokenizer

BLOCK = 1000
"""Bytes of a document that make one example."""
_BYTE = 8.0  # bits

Floats = npt.NDArray[np.float64]


class Blocks(NamedTuple):
    """Blocks of a document, as long as :data:`BLOCK` but for the last: what each costs and holds, ``[K]``.

    Attributes:
        bits: of its symbols, those of an unknown one's bytes included.
        symbols, characters, bytes: counts.
    """

    bits: Floats
    symbols: Floats
    characters: Floats
    bytes: Floats


def blocks(data: bytes, encoded: Encoded, bits: Floats, tokenizer: Tokenizer) -> Blocks:
    """Costs of a document's blocks.

    Args:
        data: the document. encoded: its symbols. bits: what a model says that each costs, ``[N]``.
        tokenizer: what encoded it.

    A symbol, and a character, belongs to the block that its first byte lies in. An unknown symbol costs, beside what
    the model says, 8 bits for each of its bytes and 8 for their number.
    """
    count = -(-len(data) // BLOCK)
    sizes = tokenizer.sizes(encoded)
    literal = np.zeros(len(sizes))
    if tokenizer.unknown is not None:
        literal[encoded.symbols == tokenizer.unknown] = [_BYTE * (len(one) + 1) for one in encoded.literals]
    place = np.minimum((np.cumsum(sizes) - sizes) // BLOCK, count - 1)
    points = utf8.sizes(data)
    starts = (np.cumsum(points) - points) // BLOCK
    whole = np.minimum(len(data) - BLOCK * np.arange(count), BLOCK).astype(np.float64)
    return Blocks(
        np.bincount(place, bits + literal, minlength=count).astype(np.float64),
        np.bincount(place, minlength=count).astype(np.float64),
        np.bincount(starts, minlength=count).astype(np.float64),
        whole,
    )
