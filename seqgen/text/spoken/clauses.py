"""Clauses and words of spoken text, and what a rule of reading gives."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

End = Literal[
    "comma", "bracket", "dash", "colon", "semicolon", "ellipsis", "paragraph", "statement", "exclamation", "question"
]
ENDS: tuple[End, ...] = End.__args__  # type: ignore[attr-defined]
"""Every end, the weaker before the stronger: of two that come together the stronger is kept."""
Reason = Literal["emoji", "script", "control", "symbol"]


class Word(NamedTuple):
    """Spoken word.

    Attributes:
        text: lower-case letters of English and apostrophes. spelt: whether it is a letter that is said by its name,
            ``b`` in BBC or ``d's`` in CDs.
        start, stop: the characters of the written text that it stands for; words of one number share them.
    """

    text: str
    spelt: bool
    start: int
    stop: int


@dataclass(frozen=True)
class Clause:
    """Words that are said in one breath.

    Attributes:
        words: at least one. end: the mark that the pause behind them is for, ``paragraph`` where there is none.
        last: whether the paragraph ends here too.
    """

    words: tuple[Word, ...]
    end: End
    last: bool = False


class Skipped(NamedTuple):
    """Characters that are not spoken and are no punctuation either, and what they are."""

    start: int
    stop: int
    reason: Reason


class Said(NamedTuple):
    """Words for some characters, between spaces: a capital letter is said by its name. ``end``: the pause behind."""

    phrase: str
    start: int
    stop: int
    end: End | None = None


class Around(NamedTuple):
    """What a rule may know beside the text from where it stands.

    Attributes:
        before: what was said last as it is written, empty at the beginning of a clause.
        capitals: whether all of the sentence is in capitals. quoted: whether a double quote is open.
    """

    before: str
    capitals: bool
    quoted: bool


class Rule(NamedTuple):
    """How something is read: where the pattern fits, and the function does not decline with ``None``."""

    pattern: re.Pattern[str]
    read: Callable[[re.Match[str], Around], list[Said] | None]


def listed(text: str) -> frozenset[str]:
    """The words of a table that is written as text."""
    return frozenset(text.split())


def whole(found: re.Match[str], phrase: str) -> list[Said]:
    """One phrase for all that a pattern found."""
    return [Said(phrase, found.start(), found.end())]


def words(said: Said, offset: int) -> list[Word]:
    """The words of a phrase.

    Example:
        >>> words(Said("M P three", 0, 3), 10)
        [Word(text='m', spelt=True, start=10, stop=13), Word(text='p', spelt=True, start=10, stop=13), \
Word(text='three', spelt=False, start=10, stop=13)]
    """
    return [Word(one.lower(), one[0].isupper(), said.start + offset, said.stop + offset) for one in said.phrase.split()]
