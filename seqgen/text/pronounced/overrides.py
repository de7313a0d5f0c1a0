"""Pronunciations that a text brings with it, ``[word](/HH AH0 L OW1/)``."""

from __future__ import annotations

import re
from typing import NamedTuple

from seqgen.text.pronounced.phones import Phones, phones

_OVERRIDE = re.compile(r"\[([^\[\]\n]{1,200})\]\(/([^/\n]{1,400})/\)")
_BEGUN = re.compile(r"\[[^\[\]\n]{0,200}(?:\](?:\((?:/[^/\n]{0,400}/?)?)?)?")  # what may become one


class Fixed(NamedTuple):
    """Characters whose pronunciation is given; of several none overlaps another, and they stand in their order."""

    start: int
    stop: int
    phones: Phones


class Marked(NamedTuple):
    """A text without its marks, as it is to be read, and the places in it whose pronunciation they gave."""

    text: str
    fixed: tuple[Fixed, ...]


class MarkReader:
    """Reader of a text that grows, which takes the marks off.

        feed(a) + feed(b) + … + flush() = marked(a + b + …)        for any pieces

    What may be the beginning of a mark is held back, 600 characters of it at most; places count over all pieces.

    Example:
        >>> reader = MarkReader()
        >>> [reader.feed(piece).text for piece in ("Say [it](", "/IH1 T/) to [m", "e]!")]
        ['Say ', 'it to ', '[me]!']
    """

    def __init__(self) -> None:
        self._pending, self._size = "", 0

    def feed(self, text: str) -> Marked:
        """What is certain now.

        Raises:
            SeqgenError: for phones that are none.
        """
        self._pending += text
        pieces, fixed, size = list[str](), list[Fixed](), self._size
        at = look = 0
        while (start := self._pending.find("[", look)) >= 0:
            found = _OVERRIDE.match(self._pending, start)
            if found is not None:
                pieces += [self._pending[at:start], found[1]]
                size += start - at + len(found[1])
                fixed.append(Fixed(size - len(found[1]), size, phones(found[2])))
                at = look = found.end()
            elif _BEGUN.fullmatch(self._pending, start):
                break
            else:
                look = start + 1
        stop = len(self._pending) if start < 0 else start
        given = "".join([*pieces, self._pending[at:stop]])
        self._pending, self._size = self._pending[stop:], self._size + len(given)
        return Marked(given, tuple(fixed))

    def flush(self) -> Marked:
        """The rest, which is no mark: the text ends here."""
        rest, self._pending = self._pending, ""
        self._size += len(rest)
        return Marked(rest, ())


def marked(text: str) -> Marked:
    """The marks of a text, taken off; in ARPAbet or in the International Phonetic Alphabet.

    Raises:
        SeqgenError: for phones that are none.

    Example:
        >>> marked("Say [tomato](/təˈmɑːtoʊ/) twice.").text
        'Say tomato twice.'
    """
    reader = MarkReader()
    certain, rest = reader.feed(text), reader.flush()
    return Marked(certain.text + rest.text, certain.fixed)
