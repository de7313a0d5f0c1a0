"""Pronunciations that a text brings with it, ``[word](/HH AH0 L OW1/)``."""

from __future__ import annotations

import re
from typing import NamedTuple

from seqgen.text.pronounced.phones import Phones, phones

_OVERRIDE = re.compile(r"\[([^\[\]\n]+)\]\(/([^/\n]+)/\)")


class Fixed(NamedTuple):
    """Characters whose pronunciation is given."""

    start: int
    stop: int
    phones: Phones


class Marked(NamedTuple):
    """A text without its marks, what they gave, and how far each character was moved to the left.

    Attributes:
        text: as it is to be read. fixed: places in it. moves: pairs of a place in it and of how many characters of the
            written text are left out before it, ascending.
    """

    text: str
    fixed: tuple[Fixed, ...]
    moves: tuple[tuple[int, int], ...]

    def written(self, place: int) -> int:
        """Place in the written text."""
        left_out = 0
        for at, count in self.moves:
            if at > place:
                break
            left_out = count
        return place + left_out


def marked(text: str) -> Marked:
    """The marks of a text, taken off; in ARPAbet or in the International Phonetic Alphabet.

    Raises:
        SeqgenError: for phones that are none.

    Example:
        >>> marked("Say [tomato](/təˈmɑːtoʊ/) twice.").text
        'Say tomato twice.'
    """
    pieces: list[str] = []
    fixed: list[Fixed] = []
    moves: list[tuple[int, int]] = []
    at = size = left_out = 0
    for found in _OVERRIDE.finditer(text):
        pieces.append(text[at : found.start()])
        size += len(pieces[-1])
        pieces.append(found[1])
        left_out += 1
        moves.append((size, left_out))
        fixed.append(Fixed(size, size + len(found[1]), phones(found[2])))
        size += len(found[1])
        at = found.end()
        left_out += found.end() - found.end(1)
        moves.append((size, left_out))
    return Marked("".join([*pieces, text[at:]]), tuple(fixed), tuple(moves))
