"""Texts as the phones that are to be said, and how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.data.aligned import SILENCE
from seqgen.tasks.passes import Numbers
from seqgen.text.pronounced.markup import Break, Prosody, Script
from seqgen.text.pronounced.phones import PHONES
from seqgen.text.pronounced.pronouncer import Pronouncer
from seqgen.text.spoken.splitter import spoken

ALPHABET = (SILENCE, *PHONES)
"""Phones by number, the silence first."""
NUMBERS = {name: number for number, name in enumerate(ALPHABET)}

_SEMITONES = 12  # of an octave
_NATS = math.log(10) / 20  # of a decibel, as the logarithm of a magnitude
_PLAIN = Prosody(0, 0, 1.0, 0.0, 0.0)

Reals = npt.NDArray[np.float64]


class Aloud(NamedTuple):
    """N phones and silences of a text.

    Attributes:
        tokens: their numbers in :data:`ALPHABET`. rate: times as fast as usual. octaves: higher than usual.
        nats: louder than usual, of a magnitude's logarithm. pauses: seconds of a silence that is told its length, NaN
            elsewhere.
    """

    tokens: Numbers
    rate: Reals
    octaves: Reals
    nats: Reals
    pauses: Reals


def read_aloud(script: Script, pronouncer: Pronouncer) -> Aloud:
    """The phones of a text: a silence before it, behind every clause, and where a break is.

    Example:
        >>> from seqgen.text.pronounced.lexicon import Lexicon
        >>> told = read_aloud(Script("A, a."), Pronouncer(Lexicon.of_lines(["a AH0"])))
        >>> [ALPHABET[token] for token in told.tokens]
        ['SIL', 'AH0', 'SIL', 'AH0', 'SIL']
    """
    said = [(0, _PLAIN, math.nan)]
    breaks = list(script.breaks)
    for clause in spoken(script.text):
        before = len(said)
        for one in pronouncer.clause(clause, script.fixed):
            if not one.phones:
                continue
            _pause(said, breaks, one.word.start)
            manner = _manner(script.prosody, one.word.start)
            said += [(NUMBERS[phone], manner, math.nan) for phone in one.phones]
        if len(said) > before:
            said.append((0, said[-1][1], math.nan))
    _pause(said, breaks, len(script.text))
    tokens, manners, pauses = zip(*said, strict=True)
    return Aloud(
        np.array(tokens),
        np.array([one.rate for one in manners]),
        np.array([one.semitones for one in manners]) / _SEMITONES,
        np.array([one.decibels for one in manners]) * _NATS,
        np.array(pauses),
    )


def _pause(said: list[tuple[int, Prosody, float]], breaks: list[Break], place: int) -> None:
    """Give the breaks up to a place, which leave the list, to the silence at the end of what is said."""
    seconds = math.nan
    while breaks and breaks[0].at <= place:
        seconds = breaks.pop(0).seconds + (0.0 if math.isnan(seconds) else seconds)
    if not math.isnan(seconds):
        token, manner, _ = said[-1]
        said[-1 if token == 0 else len(said) :] = [(0, manner, seconds)]


def _manner(prosody: Sequence[Prosody], place: int) -> Prosody:
    """The innermost prosody around a place."""
    return next((one for one in reversed(prosody) if one.start <= place < one.stop), _PLAIN)
