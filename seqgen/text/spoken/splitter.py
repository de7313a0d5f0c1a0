"""Written text to clauses of spoken words: the whole of it, or as it grows.

    feed(a) + feed(b) + … + flush() = spoken(a + b + …)        for any pieces

Text is cut only where a look at the next letter says that nothing reaches across: behind a mark that is certainly one,
and between paragraphs. What lies between two cuts is read by itself. Where no such place comes the text is cut at a
space, so that what is known at a time is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from seqgen.errors import SeqgenError
from seqgen.text.spoken import abbreviations, normalise
from seqgen.text.spoken.characters import plain
from seqgen.text.spoken.clauses import Clause, Skipped
from seqgen.text.spoken.measures import UNITS

_SPACES = re.compile(r"\s+")
_BREAKS = re.compile(r"(?:\n|\r(?!\n)|\u2028)[^\S\n\r\u2028]*[\n\r\u2028]|[\u2029\f]")
_UNITS = frozenset(part for unit in UNITS for part in unit.split())
_OPENERS = "\"'([{"
_CLOSERS = "\"')]}*_"
_LONGEST = 1 << 14  # characters behind which a space is a cut


class Splitter:
    """Reader of text that grows: clauses are given as soon as they are certain.

    Places are counted from the first character fed, over all texts.

    Attributes:
        skipped: what was not spoken of the text of all clauses given so far.

    Example:
        >>> splitter = Splitter()
        >>> [len(splitter.feed(text)) for text in ("It is Dr. Wh", "ite. He", " says")], len(splitter.flush())
        ([0, 1, 0], 1)
    """

    def __init__(self) -> None:
        self.skipped: list[Skipped] = []
        self._pending, self._offset, self._looked = "", 0, 0
        self._quoted = False

    def feed(self, text: str) -> list[Clause]:
        """Clauses that are certain now.

        Raises:
            SeqgenError: for what is no text.
        """
        self._pending += _checked(text)
        return list(self._certain())

    def _certain(self) -> Iterator[Clause]:
        """Clauses of what is pending, up to the last cut in it."""
        start = 0
        for spaces in _SPACES.finditer(self._pending, self._looked):
            certain = _cut(self._pending, start, spaces)
            if certain is None:
                self._looked = spaces.start()
                break
            self._looked = spaces.end()
            if certain:
                yield from self._read(self._pending[start : spaces.end()])
                start = spaces.end()
        else:
            self._looked = len(self._pending)
        self._pending = self._pending[start:]
        self._looked -= start

    def all_of(self, text: str) -> Iterator[Clause]:
        """The clauses of a text that is whole, each as soon as it is read; what of it was skipped is not kept.

        Raises:
            SeqgenError: for what is no text.
        """
        self._pending += _checked(text)
        for clause in self._certain():
            self.skipped.clear()
            yield clause
        yield from self.flush()

    @property
    def waiting(self) -> int:
        """Characters that are in no clause yet."""
        return len(self._pending)

    @property
    def read(self) -> int:
        """Characters that have been read."""
        return self._offset

    def cut(self) -> list[Clause]:
        """Clauses of what waits, up to its last space, whatever may follow: for who will not wait longer."""
        stop = max((spaces.end() for spaces in _SPACES.finditer(self._pending)), default=len(self._pending))
        text, self._pending = self._pending[:stop], self._pending[stop:]
        self._looked = 0
        return self._read(text)

    def flush(self) -> list[Clause]:
        """Clauses of the rest: the text ends here."""
        rest, self._pending, self._looked = self._pending, "", 0
        return self._read(rest, last=True)

    def _read(self, text: str, *, last: bool = False) -> list[Clause]:
        clauses, skipped, quoted = normalise.read(text, self._offset, quoted=self._quoted)
        self._offset += len(text)
        self.skipped += skipped
        ends = last or _paragraph(text)
        self._quoted = quoted and not ends
        if clauses and ends:
            clauses[-1] = replace(clauses[-1], last=True)
        return clauses


class Sentences:
    """Cutter of text that grows into written sentences: each is given once what follows says that it has ended.

        feed(a) + feed(b) + … + flush() = a + b + …        for any pieces

    Example:
        >>> sentences = Sentences()
        >>> [sentences.feed(text) for text in ("It is Dr. Wh", "ite. He", " says")], sentences.flush()
        (['', 'It is Dr. White. ', ''], 'He says')
    """

    def __init__(self) -> None:
        self._pending, self._looked = "", 0

    def feed(self, text: str) -> str:
        """Sentences that have ended now, with the spaces behind them.

        Raises:
            SeqgenError: for what is no text.
        """
        self._pending += _checked(text)
        stop = 0
        for spaces in _SPACES.finditer(self._pending, self._looked):
            certain = _cut(self._pending, stop, spaces)
            if certain is None:
                self._looked = spaces.start()
                break
            self._looked = spaces.end()
            if certain and _ends_sentence(self._pending, stop, spaces):
                stop = spaces.end()
        given, self._pending = self._pending[:stop], self._pending[stop:]
        self._looked -= stop
        return given

    def flush(self) -> str:
        """The rest: the text ends here."""
        rest, self._pending, self._looked = self._pending, "", 0
        return rest


def _ends_sentence(text: str, start: int, spaces: re.Match[str]) -> bool:
    """Whether a cut behind spaces is one between sentences, and not within one."""
    mark = plain(_last_run(text, start, spaces.start())).rstrip(_CLOSERS)[-1:]
    return mark in tuple(".?!…") or _BREAKS.search(spaces[0]) is not None


def _paragraph(text: str) -> bool:
    """Whether a paragraph ends at the end of a text."""
    spaces = text[len(text.rstrip()) :]
    return bool(_BREAKS.search(spaces))


def _cut(text: str, start: int, spaces: re.Match[str]) -> bool | None:
    """Whether text is cut behind spaces, ``None`` as long as what follows does not say it."""
    at, stop = spaces.span()
    if stop == len(text):
        return None
    if at - start > _LONGEST or _BREAKS.search(spaces[0]):
        return True
    run = _last_run(text, start, at)
    mark = plain(run).rstrip(_CLOSERS)[-1:]
    if mark not in tuple(",;:.?!…"):
        return False
    while stop < len(text) and plain(text[stop]) in _OPENERS:
        stop += 1
    if stop == len(text):
        return None
    follows = plain(text[stop])
    if mark in ",;:":
        return follows.isalpha()
    if mark == "." and _abbreviated(plain(run).strip(_OPENERS + _CLOSERS)):
        return False
    return follows.isalpha() or (follows.isdecimal() and mark in "?!")


def _abbreviated(run: str) -> bool:
    """Whether the point at the end of a run may be that of an abbreviation."""
    return abbreviations.known(run) or run in _UNITS or run[:-1] in _UNITS


def _last_run(text: str, start: int, stop: int) -> str:
    """What stands before spaces, up to those before it."""
    at = stop
    while at > start and not text[at - 1].isspace():
        at -= 1
    return text[at:stop]


def spoken(text: str) -> list[Clause]:
    """Clauses of a written text, in its order.

    Numbers are said as in America; every word says which characters it stands for; what cannot be spoken is passed over
    and told by :func:`skipped`.

    Raises:
        SeqgenError: for what is no text.

    Example:
        >>> for clause in spoken("Dr. Lee paid $5.30, didn't she?"):
        ...     print(" ".join(word.text for word in clause.words), clause.end)
        doctor lee paid five dollars and thirty cents comma
        didn't she question
    """
    return _both(text)[0]


def skipped(text: str) -> list[Skipped]:
    """What of a text is not spoken and is no punctuation either.

    Raises:
        SeqgenError: for what is no text.

    Example:
        >>> skipped("ok 😀 да")
        [Skipped(start=3, stop=4, reason='emoji'), Skipped(start=5, stop=7, reason='script')]
    """
    return _both(text)[1]


def _both(text: str) -> tuple[list[Clause], list[Skipped]]:
    splitter = Splitter()
    given = splitter.feed(text)
    return given + splitter.flush(), splitter.skipped


def _checked(text: str) -> str:
    if not isinstance(text, str):
        raise SeqgenError(
            f"text of type {type(text).__name__}, not str", remedy="decode bytes first, as UTF-8 for instance"
        )
    return text
