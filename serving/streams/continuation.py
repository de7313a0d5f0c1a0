"""Text of a stream as its reader may have it: whole characters, nothing that a stop sequence takes back, and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.text.tokenizer import Tokenizer

Symbols = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class StopMatcher:
    """Matcher of one stop sequence, character by character: how much of it the text ends with.

    Source: Knuth, Morris and Pratt, Fast Pattern Matching in Strings, SIAM Journal on Computing 6 (1977), section 2.

    Example:
        >>> matcher = StopMatcher("aab")
        >>> [matcher.feed(letter) for letter in "aaab"]
        [1, 2, 2, 3]
    """

    def __init__(self, stop: str) -> None:
        self.stop, self.matched = stop, 0
        self._shorter = [0]  # of each beginning, the longest shorter one that it ends with
        for letter in stop[1:]:
            self._shorter.append(self._longest(self._shorter[-1], letter))

    def feed(self, letter: str) -> int:
        """Characters of the stop sequence that the text ends with, after one more."""
        self.matched = self._longest(self.matched, letter)
        return self.matched

    def _longest(self, matched: int, letter: str) -> int:
        while matched and (matched == len(self.stop) or self.stop[matched] != letter):
            matched = self._shorter[matched - 1]
        return matched + (self.stop[matched] == letter)


class Score(NamedTuple):
    """Score of one symbol.

    Attributes:
        token: its text; bytes that are no character as ``bytes:\\xc3``. value: its log-probability in nats.
        top: those of the most likely ones. offset: characters of the text before it.
    """

    token: str
    value: float
    top: dict[str, float]
    offset: int


@dataclass
class Piece:
    """Piece of text that is certain, and the scores of the symbols in it."""

    text: str = ""
    scores: tuple[Score, ...] = ()


class Continuation:
    """Text of symbols that come one after the other.

    What may be the beginning of a stop sequence is held back until it is none; where it is one, the text ends before
    it.
    Symbols are counted one by one, so how they came makes no difference.

    Args:
        tokenizer: of the symbols. stops: sequences that end the text. top: most likely symbols to tell of each;
            ``None``: no scores. offset: characters before this text.

    Attributes:
        symbols: counted so far. stopped: whether a stop sequence has come.
    """

    def __init__(
        self, tokenizer: Tokenizer, stops: Sequence[str] = (), *, top: int | None = None, offset: int = 0
    ) -> None:
        self._tokenizer, self._decoder, self._top = tokenizer, tokenizer.decoder(), top
        self._matchers = [StopMatcher(stop) for stop in stops]
        self._held = ""  # characters that may be the beginning of a stop sequence
        self._told = self._length = offset  # characters given out; decoded
        self._scores: list[Score] = []
        self.symbols = 0
        self.stopped = False

    def feed(self, symbols: Symbols, logits: Floats | None = None) -> Piece:
        """Text that is certain after symbols ``[N]``, with their logits ``[N, vocab_size]`` where scores are wanted."""
        text = self._held
        if not self._matchers and self._top is None:
            self.symbols += len(symbols)
            made = self._decoder.feed(symbols)
            self._length += len(made)
            return self._give(text + made, len(text) + len(made))
        rows = [None] * len(symbols) if logits is None else logits
        for symbol, row in zip(symbols, rows, strict=True):
            if row is not None and self._top is not None:
                self._scores.append(self._score(int(symbol), row))
            self.symbols += 1
            made = self._decoder.feed([int(symbol)])
            if (end := self._matched(text, made)) is not None:
                return self._give(text + made, end)
            text += made
        held = max((matcher.matched for matcher in self._matchers), default=0)
        return self._give(text, len(text) - held)

    def finish(self) -> Piece:
        """Text that is left where no more symbols come."""
        if self.stopped:
            return Piece()
        text, made = self._held, self._decoder.finish()
        end = self._matched(text, made)
        piece = self._give(text + made, len(text) + len(made) if end is None else end)
        left, self._scores = tuple(self._scores), []
        return Piece(piece.text, piece.scores + (() if self.stopped else left))

    def _matched(self, text: str, made: str) -> int | None:
        """Place where the text ends because of a stop sequence that comes true with what was made, if one does."""
        self._length += len(made)
        for count, letter in enumerate(made, 1):
            full = [one.stop for one in self._matchers if one.feed(letter) == len(one.stop)]
            if full:
                self.stopped = True
                return len(text) + count - max(map(len, full))
        return None

    def _give(self, text: str, end: int) -> Piece:
        """Give the text out up to a place, with the scores of what begins before it, and hold the rest."""
        given, self._held = text[:end], "" if self.stopped else text[end:]
        self._told += len(given)
        count = next((i for i, score in enumerate(self._scores) if score.offset >= self._told), len(self._scores))
        scores, self._scores = tuple(self._scores[:count]), self._scores[count:]
        return Piece(given, scores)

    def _score(self, symbol: int, row: Floats) -> Score:
        values = row.astype(np.float64)
        values -= values.max()
        values -= np.log(np.exp(values).sum())
        best = np.argsort(-values, kind="stable")[: self._top]
        top = {self._written(int(one)): round(float(values[one]), 6) for one in best}
        return Score(self._written(symbol), round(float(values[symbol]), 6), top, self._length)

    def _written(self, symbol: int) -> str:
        data = self._tokenizer.decode([symbol])
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def record(scores: Sequence[Score]) -> dict[str, Any]:
    """Scores in the words of the OpenAI interface."""
    return {
        "tokens": [score.token for score in scores],
        "token_logprobs": [score.value for score in scores],
        "top_logprobs": [score.top for score in scores],
        "text_offset": [score.offset for score in scores],
    }
