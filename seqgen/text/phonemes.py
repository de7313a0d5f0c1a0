"""Phonemes as symbols: names separated by spaces, ``HH AH0 L OW1`` for instance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from seqgen.errors import SeqgenError
from seqgen.text.tokenizer import REPLACEMENT, Encoded, IncrementalEncoder, Symbols, Tokenizer

_SEPARATOR = b" "
_UNKNOWN, _STOP = 0, 1
_FIRST = 2


@dataclass(frozen=True)
class PhonemesConfig:
    """Options of phonemes as symbols. ``names``: the table, in the symbols' order.

    Raises:
        SeqgenError: for a name that is empty, has a space in it, or comes twice.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for index, name in enumerate(self.names):
            if not name or name.split() != [name] or name in self.names[:index]:
                raise SeqgenError(f"the table has {name!r}", remedy="give words, each once")


class Phonemes(Tokenizer):
    """Tokenizer of names that one space stands between: symbol 0 is any name that the table does not have, 1 ends a
    sequence, the table's names follow."""

    Config = PhonemesConfig
    config: PhonemesConfig
    unit = "phoneme"
    unknown, stop = _UNKNOWN, _STOP

    def __init__(self, options: PhonemesConfig) -> None:
        super().__init__(options)
        self._names = [name.encode() for name in options.names]
        self._symbols = {name: symbol for symbol, name in enumerate(self._names, _FIRST)}
        self.vocab_size = _FIRST + len(self._names)

    @classmethod
    def examples(cls) -> Iterable[Tokenizer]:
        yield cls(PhonemesConfig(()))
        yield cls(PhonemesConfig(("HH", "AH0", "L", "OW1", "ə")))

    @classmethod
    def learn(cls, text: Callable[[], Iterable[bytes]], *, vocabulary: int = 0, stop: bool = True) -> Phonemes:
        """The tokenizer of all words of a text."""
        names: set[bytes] = set()
        pending = b""
        for block in text():
            data = pending + block
            pending = data[max(data.rfind(b" "), data.rfind(b"\n")) + 1 :]
            names.update(data[: len(data) - len(pending)].split())
        names.update(pending.split())
        try:
            return cls(PhonemesConfig(tuple(sorted(name.decode() for name in names))))
        except UnicodeDecodeError:
            raise SeqgenError("names of phonemes that are not UTF-8", remedy="convert the text to UTF-8") from None

    def encode(self, data: bytes) -> Encoded:
        return self.encode_names(data.split(_SEPARATOR) if data else [])

    def encode_names(self, names: list[bytes]) -> Encoded:
        """Symbols of names."""
        symbols = [self._symbols.get(name, _UNKNOWN) for name in names]
        unknown = (name for name, symbol in zip(names, symbols, strict=True) if symbol == _UNKNOWN)
        return Encoded(np.array(symbols, np.int64), tuple(unknown))

    def encoder(self) -> IncrementalEncoder:
        return _NameEncoder(self)

    def pieces(self, symbols: Symbols, literals: Iterator[bytes], *, first: bool) -> bytes:
        names = [
            next(literals, REPLACEMENT) if symbol == _UNKNOWN else self._names[symbol - _FIRST]
            for symbol in symbols.tolist()
            if symbol != _STOP
        ]
        joined = _SEPARATOR.join(names)
        return joined if first or not names else _SEPARATOR + joined

    def sizes(self, encoded: Encoded) -> Symbols:
        """Bytes of each name with the separator before it."""
        lengths = np.array([0] * _FIRST + [len(name) for name in self._names], np.int64)[encoded.symbols]
        lengths[encoded.symbols == _UNKNOWN] = [len(one) for one in encoded.literals]
        lengths[1:] += len(_SEPARATOR)
        return lengths


class _NameEncoder(IncrementalEncoder):
    """Encoder of names that come in blocks: one is whole when its separator has come, the last at the end."""

    def __init__(self, owner: Phonemes) -> None:
        super().__init__(owner)
        self._phonemes, self._empty = owner, True

    def feed(self, data: bytes) -> Encoded:
        self._empty = self._empty and not data
        *names, self._pending = (self._pending + data).split(_SEPARATOR)
        return self._phonemes.encode_names(names)

    def finish(self) -> Encoded:
        name, self._pending = self._pending, b""
        return self._phonemes.encode_names([] if self._empty else [name])
