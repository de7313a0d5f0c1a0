"""Speech of a text that grows: text goes in in pieces of any size, frames come out, and when each word is said."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from seqgen.errors import SeqgenError
from seqgen.text.pronounced.aloud import ALPHABET, Aloud, AloudReader

if TYPE_CHECKING:
    from seqgen.runtime.contract import Floats
    from seqgen.runtime.speaker import Integers, Speaker

Kind = Literal["word", "phone", "mark"]
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]
"""What has its time: words as they are said, phones and silences, ``mark`` elements of a document."""
Piece = str | bytes | None
"""Piece of a text; bytes are UTF-8, cut anywhere; ``None``: what came is spoken now."""


class Moment(NamedTuple):
    """Time of a word, phone or mark in the sound.

    Attributes:
        text: the word, the phone (``SIL``: a silence), the name of the mark. start, duration: in seconds; a mark has no
            duration. place: characters of the text that a word stands for, the first and the one behind the last.
    """

    kind: Kind
    text: str
    start: float
    duration: float
    place: tuple[int, int] | None = None


class Speech:
    """Speech of one text by a speaker.

        push(a), push(b), …, finish() give the frames and times of push(a + b + …), finish()        for any pieces

    Each sentence is spoken as soon as it is certain, see :class:`~seqgen.text.pronounced.aloud.AloudReader`. Frame f is
    heard in the samples from ``f·hop`` to ``(f + 1)·hop``, so times follow from durations alone: phones and silences
    follow each other without a gap, and those of a sentence last as long as its sound.

    Args:
        speaker: of the text. temperature: of prosody and frames. seed: of their noise. speed: times the usual.

    Example:
        >>> speech = voice.speech()                                                          # doctest: +SKIP
        >>> for piece in pieces:                                                             # doctest: +SKIP
        ...     speech.push(piece)
        ...     while (frames := speech.take()) is not None: ...
    """

    def __init__(self, speaker: Speaker, temperature: float = 1.0, seed: int = 0, speed: float = 1.0) -> None:
        self._speaker, self._temperature, self._seed, self._speed = speaker, temperature, seed, speed
        self._reader = AloudReader(speaker.pronouncer)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._said = self._made = 0  # phones and frames
        self._frames: Iterator[Floats] = iter(())  # of the sentence under way
        self._moments = list[Moment]()

    @property
    def waiting(self) -> int:
        """Characters that are in no sentence yet."""
        return self._reader.waiting

    @property
    def finished(self) -> bool:
        """Whether the ``None`` of :meth:`take` was its last."""
        return self._reader.finished

    def push(self, piece: Piece) -> None:
        """More text; ``None`` is :meth:`flush`.

        Raises:
            SeqgenError: for bytes that are no UTF-8, or a mark of pronunciation that is none.
        """
        if piece is None:
            return self.flush()
        if isinstance(piece, str):
            self._require_whole()
            return self._reader.push(piece)
        try:
            self._reader.push(self._decoder.decode(piece))
        except UnicodeDecodeError:
            raise SeqgenError("the text is not UTF-8", remedy="send UTF-8") from None

    def flush(self) -> None:
        """Speak what there is now, as a text that ends here; what follows is another one, in the same sound.

        Behind it comes as much silence as the vocoder looks ahead, so that all of the text is heard.

        Raises:
            SeqgenError: as :func:`~seqgen.text.pronounced.markup.script`, and for a character that is cut.
        """
        self._require_whole()
        self._reader.flush(self._speaker.look_ahead * self._seconds)

    def finish(self) -> None:
        """Nothing more will come. Raises as :meth:`flush`."""
        self._require_whole()
        self._reader.finish()

    def take(self) -> Floats | None:
        """Next frames ``[f, bands]``; ``None`` where more text has to come, or the end."""
        while (frames := next(self._frames, None)) is None:
            if (told := self._reader.take()) is None:
                return None
            self._begin(told)
        return frames

    def moments(self) -> list[Moment]:
        """Times of the sentences that were begun since the last call, in their order."""
        made, self._moments = self._moments, []
        return made

    def _begin(self, told: Aloud) -> None:
        """Settle how long everything in a sentence is."""
        durations = np.zeros(0, np.int64)
        before = self._made
        if len(told.tokens):
            told = told._replace(rate=told.rate * self._speed)
            sentence = self._speaker.sentence(told, self._said, self._temperature, self._seed)
            self._frames = self._speaker.spoken(sentence, before, self._temperature, self._seed)
            durations = sentence.durations
        edges = before + np.concatenate([[0], np.cumsum(durations)])
        self._moments += _moments(told, edges.astype(np.int64), self._seconds)
        self._said, self._made = self._said + len(durations), int(edges[-1])

    @property
    def _seconds(self) -> float:
        """Duration of a frame."""
        return self._speaker.spec.hop / self._speaker.spec.sample_rate

    def _require_whole(self) -> None:
        if self._decoder.getstate()[0]:
            raise SeqgenError("the text is not UTF-8: it ends within a character", remedy="send whole characters")


def spoken(speech: Speech, pieces: Iterable[Piece], tell: Callable[[Moment], object]) -> Iterator[Floats]:
    """Frames of a text whose pieces are asked for as they are needed; ``tell`` hears the times of a sentence before its
    frames come."""

    def certain() -> Iterator[Floats]:
        more = True
        while more:
            frames = speech.take()
            for moment in speech.moments():
                tell(moment)
            more = frames is not None
            if frames is not None:
                yield frames

    for piece in pieces:
        speech.push(piece)
        yield from certain()
    speech.finish()
    yield from certain()


def _moments(told: Aloud, edges: Integers, seconds: float) -> list[Moment]:
    """Times of a sentence whose phones lie between these frames: in the order of their beginning, marks before words,
    and these before their phones."""

    def moment(kind: Kind, text: str, first: int, last: int, place: tuple[int, int] | None = None) -> Moment:
        start, stop = int(edges[first]), int(edges[last])
        return Moment(kind, text, start * seconds, (stop - start) * seconds, place)

    made = [moment("mark", name, at, at) for name, at in told.marks]
    made += [moment("word", one.text, one.first, one.last, (one.start, one.stop)) for one in told.words]
    made += [moment("phone", ALPHABET[token], at, at + 1) for at, token in enumerate(told.tokens)]
    return sorted(made, key=lambda one: one.start)
