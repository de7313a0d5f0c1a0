"""Densities whose elements are known one after the other, and such as are another one's behind a bijection: what an
entropy coder needs beyond scores and samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from seqgen.distributions.contract import Distribution


class Successive(ABC):
    """A density ``p(x) = Π_t p(x_t | x_<t)`` that tells the distribution of each element before the element is known.

    Attributes:
        distribution: of one element.
    """

    distribution: Distribution

    @abstractmethod
    def init_state(self, batch: int) -> Any:
        """The state before the first element of every sequence."""

    @abstractmethod
    def next(self, state: Any) -> tuple[Tensor, Any]:
        """Distribution of the next element of every sequence, ``[B, num_params]``, and the state behind it but for the
        element, which :meth:`told` gives it. Of a density without conditioning."""

    @abstractmethod
    def told(self, state: Any, value: Tensor) -> Any:
        """The state that :meth:`next` gave, told the elements, ``[B]``."""


class Transformed(ABC):
    """A density over sequences ``x = f(z)``, f a bijection and z of a density that is the base.

    Attributes:
        base: density of the noise z.
    """

    base: Any

    @abstractmethod
    def to_noise(self, x: Tensor) -> Tensor:
        """``f⁻¹(x)``, ``[B, D] → [B, D]``."""

    @abstractmethod
    def from_noise(self, z: Tensor) -> Tensor:
        """``f(z)``, ``[B, D] → [B, D]``; symbols come back exactly, but for ties that a rounding decides."""
