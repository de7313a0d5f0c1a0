"""The entropy coder: a range coder over frequencies, first in, first out.

A range coder writes the values of a message as one number, each in ``-log2(f/2^24)`` bits, without rounding any of them
to whole bits. :class:`RangeEncoder` and :class:`RangeDecoder` have one interface, so that one loop runs the model for
both.

Source: Martin, "Range encoding", 1979; the implementation is Bamler's, arXiv 2201.01741 (package ``constriction``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from seqgen.compression.frequencies import Probabilities, frequencies
from seqgen.errors import SeqgenError

try:
    from constriction import stream
except ImportError:
    raise SeqgenError("compression needs the package 'constriction'", remedy="pip install 'seqgen[compress]'") from None

Values = npt.NDArray[np.int64]
_WORD = 4  # bytes


class Coder(ABC):
    """One direction of the entropy coder: told the probabilities of n values at a time, it writes or reads them."""

    def __init__(self) -> None:
        self._family = stream.model.Categorical(perfect=False)

    def code(self, probabilities: Probabilities, values: Values) -> Values:
        """The next n values, ``[n]``, of ``probabilities [n, V]``; those given count where they are written.

        Raises:
            SeqgenError: as :func:`~seqgen.compression.frequencies.frequencies`.
        """
        if probabilities.shape[1] < 2 or not len(values):
            return np.zeros_like(values)  # the only value there is takes no bits
        # The coder rounds what it is given to 1 + ⌊(2^24 - V) Σp/Σp⌋: numbers that add up to 2^24 - V stay as they are.
        return self._code(probabilities, frequencies(probabilities) - 1, values)

    @abstractmethod
    def _code(self, probabilities: Probabilities, spared: Probabilities, values: Values) -> Values: ...


class RangeEncoder(Coder):
    """Entropy coder that writes.

    Attributes:
        claimed: bits that the probabilities themselves give the values that were written, ``Σ -log2 p``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._range = stream.queue.RangeEncoder()
        self.claimed = 0.0

    def _code(self, probabilities: Probabilities, spared: Probabilities, values: Values) -> Values:
        self._range.encode(values.astype(np.int32), self._family, spared)
        of_values = np.take_along_axis(probabilities, values[:, None], axis=1)[:, 0] / probabilities.sum(axis=1)
        self.claimed -= float(np.log2(np.maximum(of_values, 2.0**-1074)).sum())
        return values

    def finish(self) -> bytes:
        """Bytes that were written."""
        return bytes(self._range.get_compressed().astype("<u4").tobytes())


class RangeDecoder(Coder):
    """Entropy coder that reads what :class:`RangeEncoder` wrote.

    Raises:
        SeqgenError: for bytes that are no whole words; where a number is asked for that no encoder with the same
            probabilities can have written.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__()
        if len(data) % _WORD:
            raise SeqgenError(f"{len(data)} bytes of code", remedy="copy the compressed file again")
        self._range = stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))

    def _code(self, probabilities: Probabilities, spared: Probabilities, values: Values) -> Values:
        try:
            return np.asarray(self._range.decode(self._family, spared), np.int64)
        except AssertionError:  # what constriction raises for a code outside the ranges of all values
            raise otherwise("a code that the model's probabilities cannot have made") from None


def otherwise(how: str) -> SeqgenError:
    """The refusal of what a model that computes something else makes of a compressed file."""
    return SeqgenError(
        f"what comes out is not the original: {how}",
        remedy="decompress on a machine with the processor and the libraries of the one that compressed it",
    )
