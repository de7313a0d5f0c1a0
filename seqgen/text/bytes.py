"""Bytes as symbols: 256 of them whatever the language, and nothing is ever unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from seqgen.text.tokenizer import Encoded, Symbols, Tokenizer

_BYTES = 256


@dataclass(frozen=True)
class BytesConfig:
    """Options of bytes as symbols. ``stop``: whether symbol 256 ends a sequence."""

    stop: bool = False


class Bytes(Tokenizer):
    """Tokenizer of bytes: symbol b is the byte b."""

    Config = BytesConfig
    config: BytesConfig
    unit = "byte"

    def __init__(self, options: BytesConfig = BytesConfig()) -> None:
        super().__init__(options)
        self.stop = _BYTES if options.stop else None
        self.vocab_size = _BYTES + options.stop

    @classmethod
    def examples(cls) -> Iterable[Tokenizer]:
        return (cls(BytesConfig(stop)) for stop in (False, True))

    @classmethod
    def learn(cls, text: Callable[[], Iterable[bytes]], *, vocabulary: int = 0, stop: bool = False) -> Bytes:
        return cls(BytesConfig(stop))

    def encode(self, data: bytes) -> Encoded:
        return Encoded(np.frombuffer(data, np.uint8).astype(np.int64))

    def pieces(self, symbols: Symbols, literals: Iterator[bytes], *, first: bool) -> bytes:
        return symbols[symbols < _BYTES].astype(np.uint8).tobytes()

    def sizes(self, encoded: Encoded) -> Symbols:
        return np.ones(len(encoded.symbols), np.int64)
