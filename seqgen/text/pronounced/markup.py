"""Speech Synthesis Markup Language, a subset of it: how a text is to be spoken, beside its words.

``break``, ``phoneme``, ``prosody`` (rate, pitch, volume), ``say-as``, ``sub``, ``mark``, ``p`` and ``s``; what else a
document has is passed over, its text is read.

Source: W3C, "Speech Synthesis Markup Language (SSML) Version 1.1", sections 3.1 to 3.3; ``say-as``: the W3C note "SSML
1.0 say-as attribute values".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple, TypeVar
from xml.parsers import expat

from seqgen.errors import SeqgenError
from seqgen.text.pronounced.appended import AppendedText
from seqgen.text.pronounced.overrides import Fixed, marked
from seqgen.text.pronounced.phones import phones
from seqgen.text.spoken.dates import MONTHS
from seqgen.text.spoken.numbers import ordinal

_STRENGTHS = {"none": 0.0, "x-weak": 0.1, "weak": 0.2, "medium": 0.35, "strong": 0.6, "x-strong": 1.0}
_RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.3, "x-fast": 1.7}
_PITCHES = {"x-low": -6.0, "low": -3.0, "medium": 0.0, "default": 0.0, "high": 3.0, "x-high": 6.0}
_VOLUMES = {
    "silent": -math.inf,
    "x-soft": -12.0,
    "soft": -6.0,
    "medium": 0.0,
    "default": 0.0,
    "loud": 4.0,
    "x-loud": 8.0,
}
_ALPHABETS = ("ipa", "x-arpabet", "x-cmu-arpabet", "cmu-arpabet")
_TIME = re.compile(r"\+?(\d+\.?\d*|\.\d+)(ms|s)")
_PERCENT = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)%")
_PLAIN_RATE = re.compile(r"\d+\.?\d*|\.\d+")
_SEMITONES = re.compile(r"([+-]\d+\.?\d*)st")
_DECIBELS = re.compile(r"([+-]\d+\.?\d*)dB", re.IGNORECASE)
_LONGEST = 10.0  # seconds of one break
_RATE, _PITCH, _VOLUME = (0.2, 5.0), (-24.0, 24.0), (-math.inf, 24.0)
"""Bounds of what prosody within prosody comes to: times as fast, semitones, decibels."""
_LONGEST_NUMBER = 15  # figures of one that is said as a number
_HEAD = 1000  # characters by which a document is told from plain text
_DOCUMENT = re.compile(r"\s*(<\?xml[^>]*>\s*)?<speak[\s>]")
_DECLARED = re.compile(r"<\?xml[^>]*>\s*")


class Break(NamedTuple):
    """Pause of so many seconds before the character at a place; 0 where there is to be none."""

    at: int
    seconds: float


class Prosody(NamedTuple):
    """Manner in which characters are to be spoken: so many times as fast, higher by semitones, louder by decibels."""

    start: int
    stop: int
    rate: float
    semitones: float
    decibels: float


class Mark(NamedTuple):
    """Place that has a name. ``behind``: the breaks of the document before it, some of which may be at that place."""

    at: int
    name: str
    behind: int = 0


_P = TypeVar("_P", Break, Mark)


class Script(NamedTuple):
    """A text as it is to be read, and what a document says of it; all places are those of ``text``.

    Attributes:
        fixed: pronunciations. breaks, prosody, marks: in the order of their places; of prosody that lies within other
            prosody the inner one has both. ignored: names of elements that were passed over.
    """

    text: str
    fixed: tuple[Fixed, ...] = ()
    breaks: tuple[Break, ...] = ()
    prosody: tuple[Prosody, ...] = ()
    marks: tuple[Mark, ...] = ()
    ignored: tuple[str, ...] = ()


def is_markup(text: str) -> bool:
    """Test for a document instead of plain text."""
    return _DOCUMENT.match(text[:_HEAD]) is not None


def may_become_markup(text: str) -> bool:
    """Test of the beginning of a text: whether it says nothing against a document, nor that it is one.

    Example:
        >>> [may_become_markup(text) for text in (" <spe", "<speak>", "<sp>", '<?xml version="1.0"', "Well")]
        [True, False, False, True, False]
    """
    if len(text) >= _HEAD or is_markup(text):
        return False
    rest = text.lstrip()
    declared = _DECLARED.match(rest)
    rest = rest[declared.end() :] if declared else rest
    return "<speak".startswith(rest) or "<?xml".startswith(rest) or (rest.startswith("<?xml") and ">" not in rest)


def script(document: str) -> Script:
    """Script of a document.

    Raises:
        SeqgenError: naming the line of what is no XML, or of an attribute that means nothing.

    Example:
        >>> found = script('<speak>Well<break time="300ms"/> <prosody rate="150%">hurry</prosody>!</speak>')
        >>> found.text, found.breaks, found.prosody[0].rate
        ('Well hurry!', (Break(at=4, seconds=0.3),), 1.5)
    """
    reader = _Reader()
    try:
        reader.parser.Parse(document.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        raise SeqgenError(
            f"line {error.lineno}: {expat.ErrorString(error.code)}", remedy="give a well-formed <speak> document"
        ) from None
    return reader.script()


def script_of(text: str) -> Script:
    """Script of a document, or of plain text with marks of its own.

    Raises:
        SeqgenError: as :func:`script` and :func:`~seqgen.text.pronounced.overrides.marked`.

    Example:
        >>> script_of("Say [it](/IH1 T/).").text
        'Say it.'
    """
    return script(text) if is_markup(text) else Script(*marked(text))


class _Open(NamedTuple):
    """Element that is not closed yet: where its text begins, and how it is spoken."""

    name: str
    start: int
    attributes: Mapping[str, str]
    voice: tuple[float, float, float]


class _Reader:
    """State of reading a document."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate("utf-8")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.EntityDeclHandler = self._refused
        self._text, self._open = AppendedText(), list[_Open]()
        self._fixed, self._breaks, self._marks = list[Fixed](), list[Break](), list[Mark]()
        self._prosody, self._ignored = list[Prosody](), dict[str, None]()

    def script(self) -> Script:
        outer_first = reversed(self._prosody)  # each was closed before those around it, which may begin and end with it
        order = sorted(outer_first, key=lambda one: (one.start, -one.stop))
        return Script(
            self._text.whole(),
            tuple(self._fixed),
            tuple(self._breaks),
            tuple(order),
            tuple(self._marks),
            tuple(self._ignored),
        )

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._open and name != "speak":
            raise self._error(f"the document is <{name}>", "begin it with <speak>")
        if name in ("p", "s"):
            self._boundary(name)
        voice = self._open[-1].voice if self._open else (1.0, 0.0, 0.0)
        if name == "prosody":
            voice = self._voice(voice, attributes)
        elif name == "break":
            self._breaks.append(Break(self._text.size, self._seconds(attributes)))
        elif name == "mark":
            name = self._needed("mark", "name", attributes)
            self._marks.append(Mark(self._text.size, name, len(self._breaks)))
        elif name not in ("speak", "p", "s", "phoneme", "say-as", "sub"):
            self._ignored[name] = None
        self._open.append(_Open(name, self._text.size, attributes, voice))

    def _end(self, name: str) -> None:
        one = self._open.pop()
        if name == "phoneme":
            self._fix(one, self._phones(one.attributes))
        elif name == "sub":
            self._replaced(one)
            self._text.add(self._needed("sub", "alias", one.attributes))
        elif name == "say-as":
            self._say_as(one)
        elif name == "prosody" and self._text.heard > one.start:
            self._prosody.append(Prosody(one.start, self._text.size, *one.voice))
        elif name in ("p", "s"):
            self._boundary(name)

    def _characters(self, text: str) -> None:
        """Text, blanks of any kind as one space: lines of a document are not lines of its text."""
        text = re.sub(r"\s+", " ", text)
        self._text.add(text.lstrip() if self._text.heard < self._text.size or not self._text.size else text)

    def _boundary(self, name: str) -> None:
        """The end of a sentence or of a paragraph, unless one is there."""
        heard = self._text.heard
        if not heard:
            return
        blank = self._text.cut(heard)
        last = self._text.cut(heard - 1)
        self._text.add(last if last in ".?!…\"')" else f"{last}.")
        self._text.add("\n\n" if name == "p" else blank or " ")

    def _replaced(self, one: _Open) -> str:
        """The text of an element, which is taken off with all that was said of it."""
        while self._fixed and self._fixed[-1].start >= one.start:
            self._fixed.pop()
        while self._prosody and self._prosody[-1].start >= one.start:
            self._prosody.pop()
        _bring_back(self._breaks, one.start)
        _bring_back(self._marks, one.start)
        return self._text.cut(one.start)

    def _say_as(self, one: _Open) -> None:
        """The text of ``say-as`` as it would be written for a reader who is not told."""
        kind, given = self._needed("say-as", "interpret-as", one.attributes), self._replaced(one).strip()
        said = given
        if kind in ("characters", "spell-out", "verbatim", "digits", "telephone"):
            letters = [letter.upper() for letter in given if letter.isalnum()]
            said = " ".join(letters)
            if letters == ["A"]:  # which would be an article
                self._fixed.append(Fixed(one.start, one.start + 1, phones("EY1")))
        elif kind == "ordinal" and given.isdecimal() and len(given) <= _LONGEST_NUMBER:
            said = ordinal(int(given))
        elif kind == "date":
            said = self._date(given, one.attributes.get("format", "mdy"))
        self._text.add(said)

    def _date(self, text: str, order: str) -> str:
        """A date in figures as month, day and year, the year where there is one."""
        figures = re.findall(r"\d+", text)
        if len(figures) != len(order) or set(order) - set("ymd") or len(set(order)) < len(order):
            return text
        if max(map(len, figures), default=0) > 4:
            return text
        parts = dict(zip(order, map(int, figures), strict=True))
        if not 1 <= parts.get("m", 1) <= 12 or not 1 <= parts.get("d", 1) <= 31:
            return text
        month = MONTHS[parts["m"] - 1].capitalize() if "m" in parts else ""
        day = str(parts["d"]) if "d" in parts and month else ordinal(parts["d"]) if "d" in parts else ""
        year = str(parts["y"]) if "y" in parts else ""
        return f"{month} {day}{',' if day and year else ''} {year}".strip()

    def _fix(self, one: _Open, told: tuple[str, ...]) -> None:
        while self._fixed and self._fixed[-1].start >= one.start:
            self._fixed.pop()  # what is outside tells how all of it is said
        self._fixed.append(Fixed(one.start, self._text.size, told))

    def _phones(self, attributes: Mapping[str, str]) -> tuple[str, ...]:
        alphabet = attributes.get("alphabet", "ipa")
        if alphabet not in _ALPHABETS:
            raise self._error(f"phoneme alphabet '{alphabet}'", f"known: {', '.join(_ALPHABETS)}")
        try:
            return phones(self._needed("phoneme", "ph", attributes))
        except SeqgenError as error:
            raise self._error(error.problem, error.remedy) from None

    def _seconds(self, attributes: Mapping[str, str]) -> float:
        time, strength = attributes.get("time"), attributes.get("strength", "medium")
        if time is None:
            if strength not in _STRENGTHS:
                raise self._error(f"break strength '{strength}'", f"known: {', '.join(_STRENGTHS)}")
            return _STRENGTHS[strength]
        found = _TIME.fullmatch(time)
        seconds = math.inf if found is None else float(found[1]) * (0.001 if found[2] == "ms" else 1.0)
        if seconds > _LONGEST:
            raise self._error(f"break time '{time}'", f"give 250ms or 1.5s, {_LONGEST:.0f}s at most")
        return seconds

    def _voice(self, voice: tuple[float, float, float], attributes: Mapping[str, str]) -> tuple[float, float, float]:
        """Manner of characters within, where those around are spoken so."""
        rate = self._rate(attributes.get("rate", "default"))
        pitch = self._semitones(attributes.get("pitch", "default"))
        volume = attributes.get("volume", "default")
        louder = _DECIBELS.fullmatch(volume)
        if louder is None and volume not in _VOLUMES:
            raise self._error(f"prosody volume '{volume}'", f"give +6dB or one of {', '.join(_VOLUMES)}")
        decibels = _VOLUMES[volume] if louder is None else float(louder[1])
        given = voice[0] * rate, voice[1] + pitch, voice[2] + decibels
        slow, high, loud = (
            min(max(one, least), most) for one, (least, most) in zip(given, (_RATE, _PITCH, _VOLUME), strict=True)
        )
        return slow, high, loud

    def _rate(self, text: str) -> float:
        percent, plain = _PERCENT.fullmatch(text), _PLAIN_RATE.fullmatch(text)
        if text in _RATES:
            return _RATES[text]
        rate = float(text) if plain else _changed(percent) if percent else 0.0
        if rate <= 0:
            raise self._error(f"prosody rate '{text}'", f"give 120%, +20% or one of {', '.join(_RATES)}")
        return rate

    def _semitones(self, text: str) -> float:
        if text in _PITCHES:
            return _PITCHES[text]
        semitones, percent = _SEMITONES.fullmatch(text), _PERCENT.fullmatch(text)
        if semitones:
            return float(semitones[1])
        factor = _changed(percent) if percent else 0.0
        if factor <= 0:
            raise self._error(f"prosody pitch '{text}'", f"give +2st, +10% or one of {', '.join(_PITCHES)}")
        return 12 * math.log2(factor)

    def _needed(self, element: str, name: str, attributes: Mapping[str, str]) -> str:
        if not attributes.get(name):
            raise self._error(f"<{element}> without '{name}'", f'give <{element} {name}="…">')
        return attributes[name]

    def _refused(self, *_: object) -> None:
        raise self._error("the document declares entities", "write what they stand for")

    def _error(self, problem: str, remedy: str) -> SeqgenError:
        return SeqgenError(f"line {self.parser.CurrentLineNumber}: {problem}", remedy=remedy)


def _bring_back(places: list[_P], most: int) -> None:
    """Breaks or marks, those behind a place taken to it; they stand at the end."""
    moved: list[_P] = []
    while places and places[-1].at > most:
        moved.append(places.pop()._replace(at=most))
    places.extend(reversed(moved))


def _changed(percent: re.Match[str]) -> float:
    """The factor of a percentage: of the whole, or with a sign of the change."""
    share = float(percent[2]) / 100
    return share if not percent[1] else 1 + share if percent[1] == "+" else 1 - share
