"""Units of a file: how its bytes become the elements that a model codes, and where it may be cut."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

import numpy as np

from seqgen.compression.coder import Values
from seqgen.text.tokenizer import Encoded, Tokenizer


class Units(ABC):
    """Units of a file: bytes to elements and back.

    Attributes:
        size: values of an element. unknown: the one of what has none, whose bytes are kept beside it; ``None`` where
            there is none. signature: 16 hexadecimal digits that change when the elements mean something else.
    """

    size: int
    unknown: int | None = None
    signature: str

    @abstractmethod
    def encode(self, data: bytes) -> Encoded:
        """Elements of a stretch, and the bytes of the unknown ones. Where :meth:`decode` does not give the stretch back
        it is not coded by the model."""

    @abstractmethod
    def decode(self, values: Values, literals: tuple[bytes, ...]) -> bytes:
        """The bytes of elements."""

    @abstractmethod
    def boundary(self, data: bytes, at: int) -> int:
        """Cut of ``data``: the last place up to ``at`` that cuts no element, or ``at`` where none is near."""


class TextUnits(Units):
    """Units of text: a tokenizer's symbols; characters are not cut."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.size, self.unknown, self.signature = tokenizer.vocab_size, tokenizer.unknown, tokenizer.signature

    def encode(self, data: bytes) -> Encoded:
        return self._tokenizer.encode(data)

    def decode(self, values: Values, literals: tuple[bytes, ...]) -> bytes:
        return self._tokenizer.decode(values, literals)

    def boundary(self, data: bytes, at: int) -> int:
        if self.unknown is None:
            return at  # every byte is a symbol, whatever stands beside it
        for cut in range(at, max(at - 4, 0), -1):
            if cut >= len(data) or data[cut] & 0xC0 != 0x80:  # what begins there is no continuation of a character
                return cut
        return at


class SampleUnits(Units):
    """Units of 16-bit recordings, two bytes a sample, the lower first, whatever else is in the file.

    Args:
        coarse: whether an element is a byte, the coarse one of a sample first, or a whole sample, the lowest as 0.
    """

    def __init__(self, *, coarse: bool) -> None:
        self._coarse = coarse
        self.size = 256 if coarse else 65536
        self.signature = hashlib.sha256(f"16-bit samples, {self.size} values".encode()).hexdigest()[:16]

    def encode(self, data: bytes) -> Encoded:
        levels = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int64) + 32768
        return Encoded(np.stack([levels >> 8, levels & 255], axis=-1).reshape(-1) if self._coarse else levels)

    def decode(self, values: Values, literals: tuple[bytes, ...]) -> bytes:
        if self._coarse:
            values = values[: len(values) // 2 * 2]
            values = values[0::2] * 256 + values[1::2]
        return (values - 32768).astype("<i2").tobytes()

    def boundary(self, data: bytes, at: int) -> int:
        return at // 2 * 2
