"""The contract of tokenizers: bytes of text to symbols and back, without loss and in blocks of any size."""

from __future__ import annotations

import codecs
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
import numpy.typing as npt

from seqgen import config, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError

Symbols = npt.NDArray[np.int64]
REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()
"""What an unknown symbol is decoded to where its bytes are not given."""


class Encoded(NamedTuple):
    """Encoded text.

    Attributes:
        symbols: int64 ``[N]``. literals: for every unknown one of them, in order, the bytes that it stands for.
    """

    symbols: Symbols
    literals: tuple[bytes, ...] = ()


class Tokenizer(ABC):
    """Tokenizer of text: what its symbols are, and how bytes become symbols and symbols bytes.

        decode(*encode(data)) = data       for any bytes, whether they are UTF-8 or not

    Args:
        options: what was learnt from the training text.

    Attributes:
        Config: frozen dataclass of the options, plain data: a tokenizer travels as :meth:`plain` in facts and bundles.
        unit: what a symbol is called in reports.
        vocab_size: number of symbols. unknown: the symbol of what has none, ``None`` where everything has one.
        stop: the symbol that ends a sequence, ``None`` in a table without one.

    Example:
        >>> made = tokenizer(Component("characters", {"characters": "abc"}))
        >>> made.encode(b"abba!")
        Encoded(symbols=array([1, 2, 2, 1, 0]), literals=(b'!',))
    """

    Config: ClassVar[type[Any]]
    unit: ClassVar[str]
    vocab_size: int
    unknown: int | None = None
    stop: int | None = None

    def __init__(self, options: Any) -> None:
        self.config = options

    @classmethod
    def examples(cls) -> Iterable[Tokenizer]:
        """Small tokenizers, one for each way that the code can go: what the laws of :mod:`seqgen.text.verify` are run
        over. A registered class has to say.

        Raises:
            SeqgenError: where it does not.
        """
        raise SeqgenError(f"{cls.__name__} gives no examples", remedy="define examples()")

    @classmethod
    @abstractmethod
    def learn(cls, text: Callable[[], Iterable[bytes]], *, vocabulary: int = 0, stop: bool = False) -> Tokenizer:
        """The tokenizer of a training text, which is read block by block, as often as ``text`` is called.

        Args:
            text: the text's blocks, cut anywhere. vocabulary: symbols that are wanted, where one can choose.
            stop: whether there is a symbol that ends a sequence.

        Raises:
            SeqgenError: where the text does not give such a table.
        """

    @abstractmethod
    def encode(self, data: bytes) -> Encoded:
        """Symbols of a whole text; what is not UTF-8 becomes symbols too."""

    @abstractmethod
    def pieces(self, symbols: Symbols, literals: Iterator[bytes], *, first: bool) -> bytes:
        """Bytes of symbols that lie in the table's range, of which ``first`` says whether others came before;
        :data:`REPLACEMENT` for unknown ones that ``literals`` has nothing for."""

    @abstractmethod
    def sizes(self, encoded: Encoded) -> Symbols:
        """Bytes of the text that each symbol stands for, ``[N]``; together they are all of it."""

    def encoder(self) -> IncrementalEncoder:
        """An encoder of a text that comes in blocks."""
        return IncrementalEncoder(self)

    def settled(self, data: bytes) -> int:
        """Leading bytes whose symbols do not depend on what follows them."""
        return len(data)

    @final
    def encode_blocks(self, blocks: Iterable[bytes]) -> Iterator[Encoded]:
        """Symbols that :meth:`encode` makes of all blocks together, in as much memory as a few of them take."""
        encoder = self.encoder()
        for data in blocks:
            yield encoder.feed(data)
        yield encoder.finish()

    @final
    def decode(self, symbols: Sequence[int] | Symbols, literals: Sequence[bytes] = ()) -> bytes:
        """Bytes of symbols; ``literals`` are those of the unknown ones, in order.

        Raises:
            SeqgenError: for numbers that are no symbols.
        """
        return self.pieces(self.checked(symbols), iter(literals), first=True)

    @final
    def decoder(self) -> IncrementalDecoder:
        """A decoder of symbols that come one after the other."""
        return IncrementalDecoder(self)

    @final
    def checked(self, symbols: Sequence[int] | Symbols) -> Symbols:
        """Symbols as int64 ``[N]``.

        Raises:
            SeqgenError: for numbers that are no symbols.
        """
        given = np.asarray(symbols, np.int64).reshape(-1)
        if given.size and not 0 <= given.min() <= given.max() < self.vocab_size:
            raise SeqgenError(
                f"symbols from {given.min()} to {given.max()}, the table has {self.vocab_size}",
                remedy=f"give symbols from 0 to {self.vocab_size - 1}, or the tokenizer that they were made by",
            )
        return given

    @final
    def plain(self) -> Component:
        """Name and options, all that the tokenizer is."""
        return Component(registry.TOKENIZERS.name_of(type(self)), config.plain(self.config))

    @property
    @final
    def signature(self) -> str:
        """16 hexadecimal digits that change when any option does."""
        text = json.dumps(config.plain(self.plain()), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class IncrementalEncoder:
    """Encoder of a text that comes in blocks, cut anywhere: all that it gives is what
    :meth:`Tokenizer.encode` makes of the whole."""

    def __init__(self, owner: Tokenizer) -> None:
        self._owner, self._pending = owner, b""

    def feed(self, data: bytes) -> Encoded:
        """Symbols that are certain now."""
        self._pending += data
        settled = self._owner.settled(self._pending)
        ready, self._pending = self._pending[:settled], self._pending[settled:]
        return self._owner.encode(ready)

    def finish(self) -> Encoded:
        """Symbols of what was held back, at the end of the text."""
        ready, self._pending = self._pending, b""
        return self._owner.encode(ready)


@final
class IncrementalDecoder:
    """Decoder of symbols that come one after the other into text, whole characters only.

    Bytes that cannot be part of a character, and unknown symbols, are U+FFFD.
    """

    def __init__(self, owner: Tokenizer) -> None:
        self._owner, self._first = owner, True
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, symbols: Sequence[int] | Symbols) -> str:
        """Characters that are whole now."""
        given = self._owner.checked(symbols)
        made = self._owner.pieces(given, iter(()), first=self._first)
        self._first = self._first and not len(given)
        return self._characters.decode(made)

    def finish(self) -> str:
        """Rest at the end: U+FFFD for a character that was begun."""
        return self._characters.decode(b"", final=True)


def tokenizer(component: Component, *, source: str = "tokenizer") -> Tokenizer:
    """The tokenizer of a plain form.

    Raises:
        SeqgenError: for an unknown name or option.
    """
    made: Tokenizer = config.construct(component, registry.TOKENIZERS, source=source)
    return made


def written(made: Tokenizer) -> str:
    """A tokenizer as the JSON text of a ``tokenizer.json``."""
    return json.dumps(config.plain(made.plain()), ensure_ascii=True, indent=1) + "\n"


def read(path: Path) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json``.

    Raises:
        SeqgenError: where the file cannot be read or is none.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SeqgenError(f"cannot read {path}: {error.strerror}", remedy="give a tokenizer's JSON file") from None
    except ValueError as error:
        raise SeqgenError(f"{path}: no JSON ({error})", remedy="prepare the data again") from None
    if not isinstance(plain, dict) or not isinstance(plain.get("name"), str):
        raise SeqgenError(f"{path}: no tokenizer's name", remedy="give a tokenizer's JSON file")
    options = {key: value for key, value in plain.items() if key != "name"}
    return tokenizer(Component(plain["name"], options), source=str(path))
