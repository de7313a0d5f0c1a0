"""Pronunciations that a text brings with it, ``[word](/HH AH0 L OW1/)``."""

from __future__ import annotations

import re
from typing import NamedTuple

from seqgen.text.pronounced.phones import Phones, phones

_OVERRIDE = re.compile(r"\[([^\[\]\n]+)\]\(/([^/\n]+)/\)")


class Fixed(NamedTuple):
    """Characters whose pronunciation is given; of several none overlaps another, and they stand in their order."""

    start: int
    stop: int
    phones: Phones


class Marked(NamedTuple):
    """A text without its marks, as it is to be read, and the places in it whose pronunciation they gave."""

    text: str
    fixed: tuple[Fixed, ...]


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
    at = size = 0
    for found in _OVERRIDE.finditer(text):
        pieces += [text[at : found.start()], found[1]]
        start = size + found.start() - at
        size = start + len(found[1])
        fixed.append(Fixed(start, size, phones(found[2])))
        at = found.end()
    return Marked("".join([*pieces, text[at:]]), tuple(fixed))
