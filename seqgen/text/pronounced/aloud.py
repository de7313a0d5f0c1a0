"""Texts as the phones that are to be said, and how, sentence by sentence."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.data.aligned import SILENCE
from seqgen.text.pronounced.markup import Prosody, Script, is_markup, may_become_markup, script
from seqgen.text.pronounced.overrides import Marked, MarkReader
from seqgen.text.pronounced.phones import PHONES
from seqgen.text.pronounced.pronouncer import Pronouncer
from seqgen.text.spoken.clauses import Clause
from seqgen.text.spoken.splitter import Splitter

ALPHABET = (SILENCE, *PHONES)
"""Phones by number, the silence first."""
NUMBERS = {name: number for number, name in enumerate(ALPHABET)}

_SEMITONES = 12  # of an octave
_NATS = math.log(10) / 20  # of a decibel, as the logarithm of a magnitude
_PLAIN = Prosody(0, 0, 1.0, 0.0, 0.0)
_SILENCE = (0, _PLAIN, math.nan)
_PIECE = 256  # characters that are read at a time, so that what comes first need not wait for the rest
_STOPS = frozenset({"statement", "exclamation", "question", "ellipsis", "paragraph"})
_LONG, _LONGEST = 150, 300  # phones after which a sentence ends with its clause, or with its word
_UNCERTAIN = 1000  # characters without a certain end, after which the text is cut

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Said = list[tuple[int, Prosody, float]]


class Uttered(NamedTuple):
    """Word of a sentence.

    Attributes:
        text: as it is said, in lower case. start, stop: characters that it stands for, of the text as it is read:
            without marks of pronunciation, of a document without its elements. first, last: of its phones in the
            sentence, the latter exclusive.
    """

    text: str
    start: int
    stop: int
    first: int
    last: int


class Aloud(NamedTuple):
    """N phones and silences of a sentence.

    Attributes:
        tokens: their numbers in :data:`ALPHABET`. rate: times as fast as usual. octaves: higher than usual.
        nats: louder than usual, of a magnitude's logarithm. pauses: seconds of a silence that is told its length, NaN
            elsewhere. words: those that the phones are of. marks: names of places, and the phone that each is before.
            Marks behind all that is said come by themselves, N being 0.
    """

    tokens: Integers
    rate: Reals
    octaves: Reals
    nats: Reals
    pauses: Reals
    words: tuple[Uttered, ...] = ()
    marks: tuple[tuple[str, int], ...] = ()


class AloudReader:
    """Reader of a text that grows: phones of its sentences, each as soon as its end is certain.

        push(a), push(b), …, finish() give what push(a + b + …), finish() give        for any pieces

    An end is certain with the first letter of what follows a mark and a space, whatever opens before that letter;
    behind a mark that may belong to a number or an abbreviation, with a later one. Of 1,000 characters without a
    certain end those up to the last space are read by themselves, and a sentence of more than 300 phones ends at a
    word, so what is kept is bounded. A document of SSML is read when it has come to its end.

    There is a silence before each sentence, behind every clause, and where a break is; of a text with nothing to say a
    silence alone.

    Example:
        >>> from seqgen.text.pronounced.lexicon import Lexicon
        >>> reader = AloudReader(Pronouncer(Lexicon.of_lines(["so S OW1"])))
        >>> reader.push("So. ")
        >>> reader.take() is None
        True
        >>> reader.push("So")
        >>> [ALPHABET[token] for token in reader.take().tokens]
        ['SIL', 'S', 'OW1', 'SIL']
    """

    def __init__(self, pronouncer: Pronouncer) -> None:
        self._pronouncer = pronouncer
        self._head: str | None = ""  # of which it is not known whether it is plain; of a document, all of it
        self._marks, self._splitter = MarkReader(), Splitter()
        self._given = deque[Marked | Script | float]()  # what came; the end of a text, with a pause behind it
        self._queued = 0  # characters of that
        self._unread = ""  # of what has been taken from there
        self._saying, self._size = _Saying(Script("")), 0  # and the characters of the texts before
        self._ready = deque[Aloud]()
        self._complete = self._said = self._pauses = False  # the last: where a text ends now

    @property
    def waiting(self) -> int:
        """Characters that are in no sentence yet."""
        return len(self._head or "") + self._queued + len(self._unread) + self._splitter.waiting

    @property
    def finished(self) -> bool:
        """Whether every sentence has been taken."""
        return self._complete and self._said and not (self._given or self._unread or self._ready)

    def push(self, text: str) -> None:
        """More text.

        Raises:
            SeqgenError: for a mark of pronunciation that is none.
        """
        if self._head is not None:
            self._head += text
            if is_markup(self._head) or may_become_markup(self._head):
                return
            text, self._head = self._head, None
        self._queue(self._marks.feed(text))

    def read(self, document: Script, pause: float = 0.0) -> None:
        """A whole text, as it is to be read."""
        self._queue(document)
        self._given.append(pause)

    def flush(self, pause: float = 0.0) -> None:
        """What came since the last time is a whole text, and is read now; what follows is another one. Behind the
        former, where there is anything in it to be said, comes a silence of so many seconds.

        Raises:
            SeqgenError: as :func:`~seqgen.text.pronounced.markup.script`.
        """
        head, self._head = self._head or "", ""
        marks, self._marks = self._marks, MarkReader()
        if is_markup(head):
            return self.read(script(head), pause)
        self._queue(marks.feed(head))
        self._queue(marks.flush())
        self._given.append(pause)

    def finish(self) -> None:
        """Nothing more will come. Raises as :meth:`flush`."""
        self.flush()
        self._complete = True

    def take(self) -> Aloud | None:
        """Next sentence; ``None`` where more text has to come, or the end."""
        while not self._ready and (self._unread or self._given):
            if self._unread:
                self._read()
            elif isinstance(given := self._given.popleft(), float):
                self._end(given)
            else:
                self._open(given)
        if not (self._ready or self._said) and self._complete:
            self._ready.append(_sentence([_SILENCE], [], []))
        if not self._ready:
            return None
        made = self._ready.popleft()
        self._said |= len(made.tokens) > 0
        return made

    def _queue(self, given: Marked | Script) -> None:
        self._given.append(given)
        self._queued += len(given.text)

    def _open(self, given: Marked | Script) -> None:
        """Begin to read more of a text."""
        if isinstance(given, Script):
            self._saying = _Saying(given, self._size)
        else:
            self._saying.fixed += given.fixed
        self._unread = given.text
        self._queued -= len(given.text)

    def _read(self) -> None:
        """Read a piece: never more than is waited for at most, however much there is."""
        room = min(_PIECE, _UNCERTAIN - self._splitter.waiting)
        piece, self._unread = self._unread[:room], self._unread[room:]
        clauses = self._splitter.feed(piece)
        if self._splitter.waiting >= _UNCERTAIN:
            clauses += self._splitter.cut()
        self._splitter.skipped.clear()  # nobody asks, and there may be much of it
        self._say(clauses)

    def _say(self, clauses: Iterable[Clause]) -> None:
        for clause in clauses:
            self._pauses = True
            self._ready += self._saying.clause(clause, self._pronouncer)

    def _end(self, pause: float) -> None:
        """A text ends here."""
        self._say(self._splitter.flush())
        self._ready += self._saying.end()
        if pause and self._pauses:
            self._ready.append(_sentence([(0, _PLAIN, pause)], [], []))
        self._pauses = False
        self._size += self._splitter.read
        self._splitter, self._saying = Splitter(), _Saying(Script(""), self._size)


def read_aloud(script: Script, pronouncer: Pronouncer) -> Iterator[Aloud]:
    """The phones of a text's sentences, see :class:`AloudReader`.

    Example:
        >>> from seqgen.text.pronounced.lexicon import Lexicon
        >>> (told,) = read_aloud(Script("So, so."), Pronouncer(Lexicon.of_lines(["so S OW1"])))
        >>> [ALPHABET[token] for token in told.tokens], [word.text for word in told.words]
        (['SIL', 'S', 'OW1', 'SIL', 'S', 'OW1', 'SIL'], ['so', 'so'])
    """
    reader = AloudReader(pronouncer)
    reader.read(script)
    reader.finish()
    while (told := reader.take()) is not None:
        yield told


class _Saying:
    """State of saying one text: the sentence under way, and what is to be heeded of what follows.

    Args:
        script: of the text; pronunciations may be added. before: characters of the texts before it.
    """

    def __init__(self, script: Script, before: int = 0) -> None:
        self.fixed = list(script.fixed)
        self._breaks, self._names = deque(script.breaks), deque(script.marks)
        self._manners = _Manners(script.prosody)
        self._before, self._passed = before, 0  # breaks that are behind
        self._begin()

    def _begin(self) -> None:
        self._said, self._words, self._marks = [_SILENCE], list[Uttered](), list[tuple[str, int]]()

    def clause(self, clause: Clause, pronouncer: Pronouncer) -> Iterator[Aloud]:
        """Sentences that end with a clause, or within it."""
        before = len(self._said)
        for one in pronouncer.clause(clause, self.fixed):
            if not one.phones:
                continue
            manner = self._manners.at(one.word.start)
            for part in range(0, len(one.phones), _LONGEST):
                if len(self._said) > _LONGEST:
                    self._pause()
                    yield self._sentence()
                    before = 1
                self._reach(one.word.start)
                first = len(self._said)
                self._said += [(NUMBERS[phone], manner, math.nan) for phone in one.phones[part : part + _LONGEST]]
                start, stop = one.word.start + self._before, one.word.stop + self._before
                self._words.append(Uttered(one.word.text, start, stop, first, len(self._said)))
        self.fixed = [one for one in self.fixed if one.stop > clause.words[-1].start]
        if len(self._said) > before:
            self._pause()
        if len(self._said) > 1 and (clause.end in _STOPS or len(self._said) > _LONG):
            yield self._sentence()

    def end(self) -> Iterator[Aloud]:
        """What is left at the end of the text."""
        waits = bool(self._breaks)
        self._reach(None)
        if waits or len(self._said) > 1:
            yield self._sentence()
        elif self._marks:
            yield _sentence([], [], [(name, 0) for name, _ in self._marks])

    def _sentence(self) -> Aloud:
        made = _sentence(self._said, self._words, self._marks)
        self._begin()
        return made

    def _pause(self) -> None:
        self._said.append((0, self._said[-1][1], math.nan))

    def _reach(self, place: int | None) -> None:
        """Give the breaks up to a place (``None``: the end) to the silence at the end of what is said, and name the
        marks up to there: each is where what comes behind it begins."""
        seconds, said = math.nan, self._said
        while self._breaks and (place is None or self._breaks[0].at <= place):
            seconds = self._breaks.popleft().seconds + (0.0 if math.isnan(seconds) else seconds)
            self._passed += 1
        pause = len(said)
        if not math.isnan(seconds):
            token, manner, _ = said[-1]
            pause -= token == 0
            said[pause:] = [(0, manner, seconds)]
        while self._names and (place is None or self._names[0].at <= place):
            one = self._names.popleft()
            self._marks.append((one.name, pause if one.behind < self._passed else len(said)))


def _sentence(said: Said, words: Sequence[Uttered], marks: Sequence[tuple[str, int]]) -> Aloud:
    manners = [one for _, one, _ in said]
    return Aloud(
        np.array([token for token, _, _ in said], np.int64),
        np.array([one.rate for one in manners]),
        np.array([one.semitones for one in manners]) / _SEMITONES,
        np.array([one.decibels for one in manners]) * _NATS,
        np.array([seconds for _, _, seconds in said]),
        tuple(words),
        tuple(marks),
    )


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
