"""Characters as symbols: Unicode code points of the training text, numbered in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from seqgen.errors import SeqgenError
from seqgen.text import utf8
from seqgen.text.tokenizer import REPLACEMENT, Encoded, Symbols, Tokenizer

_CODE_POINTS = 0x110000
_SURROGATES = range(0xD800, 0xE000)
_UNKNOWN = 0xFFFD


@dataclass(frozen=True)
class CharactersConfig:
    """Options of characters as symbols.

    Attributes:
        characters: those that have a symbol, in the symbols' order. stop: whether symbol 1 ends a sequence.

    Raises:
        SeqgenError: for a character that comes twice, or is none.
    """

    characters: str
    stop: bool = False

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for one in self.characters:
            if one in seen or ord(one) == _UNKNOWN or ord(one) in _SURROGATES:
                why = "twice" if one in seen else "which is no character of its own"
                raise SeqgenError(f"the table has U+{ord(one):04X} {why}", remedy="give each character once")
            seen.add(one)


class Characters(Tokenizer):
    """Tokenizer of characters: symbol 0 is U+FFFD, for all that the table does not have (each byte that is no part of a
    character included); the table's characters follow, behind the symbol that ends a sequence where there is one.
    """

    Config = CharactersConfig
    config: CharactersConfig
    unit = "character"
    unknown = 0

    def __init__(self, options: CharactersConfig) -> None:
        super().__init__(options)
        self._first = 1 + options.stop
        self.stop = 1 if options.stop else None
        own = np.array([ord(one) for one in options.characters], np.uint32)
        self.vocab_size = self._first + len(own)
        self._points = np.concatenate([np.full(self._first, _UNKNOWN, np.uint32), own])  # by symbol
        # By code point; the last entry stands for all beyond the largest one.
        self._symbols = np.zeros(int(own.max(initial=0)) + 2, np.int64)
        self._symbols[own] = np.arange(self._first, self.vocab_size)

    @classmethod
    def examples(cls) -> Iterable[Tokenizer]:
        yield cls(CharactersConfig(""))
        yield cls(CharactersConfig("\0\n\r abcdé\ufeff€😀"))
        yield cls(CharactersConfig("cab", stop=True))

    @classmethod
    def learn(cls, text: Callable[[], Iterable[bytes]], *, vocabulary: int = 0, stop: bool = False) -> Characters:
        """The tokenizer of the characters of a text, or of the ``vocabulary`` most frequent symbols (0: all)."""
        counts = np.zeros(_CODE_POINTS, np.int64)
        for block in utf8.whole(text()):
            found, times = np.unique(utf8.code_points(block), return_counts=True)
            counts[found] += times
        counts[_UNKNOWN] = 0
        counts[_SURROGATES.start : _SURROGATES.stop] = 0
        room = vocabulary - 1 - stop if vocabulary else _CODE_POINTS
        if room < 1:
            raise SeqgenError(f"a vocabulary of {vocabulary} has room for no character", remedy="give 3 or more")
        frequent = np.argsort(-counts, kind="stable")[: min(room, int(np.count_nonzero(counts)))]
        return cls(CharactersConfig("".join(map(chr, sorted(frequent.tolist()))), stop))

    def encode(self, data: bytes) -> Encoded:
        points = utf8.code_points(data)
        symbols = self._symbols[np.minimum(points, len(self._symbols) - 1)]
        strange = points[symbols == 0]
        return Encoded(symbols, tuple(chr(point).encode("utf-8", "surrogateescape") for point in strange.tolist()))

    def settled(self, data: bytes) -> int:
        return len(data) - utf8.unfinished(data)

    def pieces(self, symbols: Symbols, literals: Iterator[bytes], *, first: bool) -> bytes:
        if self.stop is not None:
            symbols = symbols[symbols != self.stop]
        made, start = [], 0
        for at in np.flatnonzero(symbols == 0).tolist():
            if at > start:
                made.append(utf8.from_code_points(self._points[symbols[start:at]]))
            made.append(next(literals, REPLACEMENT))
            start = at + 1
        return b"".join([*made, utf8.from_code_points(self._points[symbols[start:]])])

    def sizes(self, encoded: Encoded) -> Symbols:
        points = self._points[encoded.symbols]
        found = 1 + (points > 0x7F).astype(np.int64) + (points > 0x7FF) + (points > 0xFFFF)
        found[encoded.symbols == 0] = [len(one) for one in encoded.literals]
        return found
