"""Transcripts as the tokens that recordings are aligned to: states of phones, and silences that may be."""

from __future__ import annotations

from typing import NamedTuple

from seqgen.data.aligned import SILENCE
from seqgen.text.pronounced.overrides import marked
from seqgen.text.pronounced.phones import PHONES
from seqgen.text.pronounced.pronouncer import Pronouncer
from seqgen.text.spoken.splitter import spoken

_NUMBERS = {phone: number for number, phone in enumerate(PHONES)}


class Spoken(NamedTuple):
    """Phone, silence or word of a transcript, whose tokens are ``first … stop - 1``.

    ``guessed``: of a word whose letters were taken for its phones.
    """

    name: str
    first: int
    stop: int
    guessed: bool = False


class Transcript(NamedTuple):
    """Tokens of a recording, by number: the states of its phones, and a silence at each end and between any two words,
    which need not be there.

    Attributes:
        tokens: a silence is 0, state s of phone p is ``1 + p · states + s``. phones: with the silences.
    """

    tokens: tuple[int, ...]
    phones: tuple[Spoken, ...]
    words: tuple[Spoken, ...]

    @property
    def optional(self) -> tuple[bool, ...]:
        """Test of each token for one that need not be there."""
        return tuple(token == 0 for token in self.tokens)


def alphabet(states: int) -> tuple[str, ...]:
    """Names of the tokens by number.

    Example:
        >>> alphabet(2)[:3]
        ('SIL', 'AA0_1', 'AA0_2')
    """
    return (SILENCE, *(f"{phone}_{state + 1}" for phone in PHONES for state in range(states)))


def transcribed(text: str, pronouncer: Pronouncer, states: int = 1) -> Transcript:
    """The tokens of a text, so many of each phone; where nothing of it is spoken, a silence alone.

    Example:
        >>> from seqgen.text.pronounced.lexicon import Lexicon
        >>> cats = transcribed("A cat.", Pronouncer(Lexicon.of_lines(["a AH0", "cat K AE1 T"])))
        >>> [phone.name for phone in cats.phones]
        ['SIL', 'AH0', 'SIL', 'K', 'AE1', 'T', 'SIL']
    """
    written = marked(text)
    tokens: list[int] = [0]
    phones, words = [Spoken(SILENCE, 0, 1)], list[Spoken]()
    for clause in spoken(written.text):
        for one in pronouncer.clause(clause, written.fixed):
            if not one.phones:
                continue
            first = len(tokens)
            for phone in one.phones:
                start = 1 + _NUMBERS[phone] * states
                phones.append(Spoken(phone, len(tokens), len(tokens) + states))
                tokens += range(start, start + states)
            guessed = one.origin == "letters" and not one.word.spelt
            words.append(Spoken(one.word.text, first, len(tokens), guessed))
            phones.append(Spoken(SILENCE, len(tokens), len(tokens) + 1))
            tokens.append(0)
    return Transcript(tuple(tokens), tuple(phones), tuple(words))
