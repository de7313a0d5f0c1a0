"""Texts as the phones that are to be said, and how, sentence by sentence."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.data.aligned import SILENCE
from seqgen.text.pronounced.markup import Break, Prosody, Script
from seqgen.text.pronounced.phones import PHONES
from seqgen.text.pronounced.pronouncer import Pronouncer
from seqgen.text.spoken.splitter import Splitter

ALPHABET = (SILENCE, *PHONES)
"""Phones by number, the silence first."""
NUMBERS = {name: number for number, name in enumerate(ALPHABET)}

_SEMITONES = 12  # of an octave
_NATS = math.log(10) / 20  # of a decibel, as the logarithm of a magnitude
_PLAIN = Prosody(0, 0, 1.0, 0.0, 0.0)
_SILENCE = (0, _PLAIN, math.nan)
_STOPS = frozenset({"statement", "exclamation", "question", "ellipsis", "paragraph"})
_LONG, _LONGEST = 150, 300  # phones after which a sentence ends with its clause, or with its word

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Said = list[tuple[int, Prosody, float]]


class Aloud(NamedTuple):
    """N phones and silences of a sentence.

    Attributes:
        tokens: their numbers in :data:`ALPHABET`. rate: times as fast as usual. octaves: higher than usual.
        nats: louder than usual, of a magnitude's logarithm. pauses: seconds of a silence that is told its length, NaN
            elsewhere.
    """

    tokens: Integers
    rate: Reals
    octaves: Reals
    nats: Reals
    pauses: Reals


def read_aloud(script: Script, pronouncer: Pronouncer) -> Iterator[Aloud]:
    """The phones of a text's sentences: a silence before each, behind every clause, and where a break is. Of a text
    with nothing to say a silence alone. A sentence without end is cut after a clause, or a word, or within a word of
    very many phones, so that what is known at a time is bounded.

    Example:
        >>> from seqgen.text.pronounced.lexicon import Lexicon
        >>> (told,) = read_aloud(Script("A, a."), Pronouncer(Lexicon.of_lines(["a AH0"])))
        >>> [ALPHABET[token] for token in told.tokens]
        ['SIL', 'AH0', 'SIL', 'AH0', 'SIL']
    """
    breaks, manners, said, nothing = deque(script.breaks), _Manners(script.prosody), [_SILENCE], True
    for clause in Splitter().all_of(script.text):
        before = len(said)
        for one in pronouncer.clause(clause, script.fixed):
            if not one.phones:
                continue
            manner = manners.at(one.word.start)
            for first in range(0, len(one.phones), _LONGEST):
                if len(said) > _LONGEST:
                    yield _sentence([*said, (0, said[-1][1], math.nan)])
                    said, before, nothing = [_SILENCE], 1, False
                _pause(said, breaks, one.word.start)
                said += [(NUMBERS[phone], manner, math.nan) for phone in one.phones[first : first + _LONGEST]]
        if len(said) > before:
            said.append((0, said[-1][1], math.nan))
        if len(said) > 1 and (clause.end in _STOPS or len(said) > _LONG):
            yield _sentence(said)
            said, nothing = [_SILENCE], False
    waits = bool(breaks)
    _pause(said, breaks, len(script.text))
    if nothing or waits or len(said) > 1:
        yield _sentence(said)


def _sentence(said: Said) -> Aloud:
    tokens, manners, pauses = zip(*said, strict=True)
    return Aloud(
        np.array(tokens),
        np.array([one.rate for one in manners]),
        np.array([one.semitones for one in manners]) / _SEMITONES,
        np.array([one.decibels for one in manners]) * _NATS,
        np.array(pauses),
    )


def _pause(said: Said, breaks: deque[Break], place: int) -> None:
    """Give the breaks up to a place, which leave the list, to the silence at the end of what is said."""
    seconds = math.nan
    while breaks and breaks[0].at <= place:
        seconds = breaks.popleft().seconds + (0.0 if math.isnan(seconds) else seconds)
    if not math.isnan(seconds):
        token, manner, _ = said[-1]
        said[-1 if token == 0 else len(said) :] = [(0, manner, seconds)]


class _Manners:
    """Innermost prosody around places, which only grow."""

    def __init__(self, prosody: Sequence[Prosody]) -> None:
        self._coming, self._around = deque(prosody), list[Prosody]()

    def at(self, place: int) -> Prosody:
        while self._coming and self._coming[0].start <= place:
            self._leave(self._coming[0].start)
            self._around.append(self._coming.popleft())
        self._leave(place)
        return self._around[-1] if self._around else _PLAIN

    def _leave(self, place: int) -> None:
        while self._around and self._around[-1].stop <= place:
            self._around.pop()
