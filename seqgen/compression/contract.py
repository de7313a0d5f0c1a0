"""The contract of a predictor: what the coder needs of a model, whatever executes it.

**Why decoding is exact.** A code can be read only where every probability comes out of the decoder's model to the last
bit as it came out of the encoder's. It does because both run the same loop (:mod:`seqgen.compression.block`): the
same kernels, on one thread, on batches of the same shape, one element at a time from explicit states. A pass over a
whole sequence at once, as training and evaluation make it, adds up in another order and rounds otherwise; it is never
used here. What else decides on rounding is the :class:`~seqgen.compression.identity.NumericIdentity`, which stands in
the file and is compared before anything is decoded.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.compression.coder import Values
from seqgen.compression.frequencies import Probabilities
from seqgen.compression.identity import NumericIdentity

State = Any
Mask = npt.NDArray[np.bool_]


class Predictor(ABC):
    """Distributions of the next element of B sequences side by side, given all before: a model, as a coder sees it.

    An element is coded digit by digit, the highest first: the value of digits ``d`` in radices ``r`` is
    ``(d_0 r_1 + d_1) r_2 + …``. Symbols have one digit; the 65536 levels of a sample have two, whose tables of 256 are
    made where one of 65536 would take too long.

    Attributes:
        radices: of the digits; their product is the number of values. identity: what executes the model.
        digest: 16 hexadecimal digits of the model's weights. label: where they are from.
        length: elements that a sequence must have where the model codes whole sequences; 0: any.
    """

    radices: tuple[int, ...]
    identity: NumericIdentity
    digest: str
    label: str
    length: int = 0

    @abstractmethod
    def init(self, rows: int) -> State:
        """The state before the first element."""

    @abstractmethod
    def predict(self, state: State) -> tuple[Any, State]:
        """Parameters of the next element's distributions, and the state behind it but for the element itself."""

    @abstractmethod
    def probabilities(self, params: Any, rows: npt.NDArray[np.intp], above: Values, digit: int) -> Probabilities:
        """Probabilities of one digit of the next element for some rows, ``[n, radix]``, given the value of the digits
        above it, ``[n]``."""

    @abstractmethod
    def feed(self, state: State, values: Values) -> State:
        """The state that :meth:`predict` gave, told the elements, ``[B]``."""

    @abstractmethod
    def chosen(self, mask: Mask, state: State, other: State) -> State:
        """The state of each row: ``state`` where the mask says so, else ``other``."""

    @property
    def values(self) -> int:
        """Values of an element."""
        return math.prod(self.radices)

    def to_noise(self, values: Values) -> Values:
        """Symbols coded in place of sequences ``[S, length]``: themselves, unless a bijection lies between."""
        return values

    def from_noise(self, noise: Values) -> Values:
        """The sequences behind what was coded."""
        return noise

    @contextmanager
    def session(self) -> Iterator[None]:
        """Surroundings in which the model rounds as its identity says, put back behind."""
        yield
