"""The contract of a bijector: a change of variables whose volume change is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self

from torch import Tensor


class Bijector(ABC):
    """An invertible map ``x = f(z | cond)`` of whole sequences, with the logarithm of its Jacobian's determinant.

    The density of ``x`` follows from that of ``z``: ``ln p(x) = ln p(z) - ln|det ∂x/∂z|``. The logarithm is given as
    one share for each position, whose sum over T is the determinant's; for a triangular Jacobian a share is the
    logarithm of a diagonal entry. Maps of symbols have shares of 0.

    Shapes: ``z, x [B, T, C]``, conditioning as the map takes it, shares ``[B, T]`` in nats.
    """

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """Small instances that the laws are run over; by default one of default options."""
        return [cls(cls.Config())]  # type: ignore[attr-defined,call-arg]  # registered classes take their Config

    @abstractmethod
    def forward_and_log_det(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``f(z)`` and the shares of ``ln|det ∂f/∂z|``."""

    @abstractmethod
    def inverse_and_log_det(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``f⁻¹(x)`` and the shares of ``ln|det ∂f⁻¹/∂x|``, the negatives of the others."""
