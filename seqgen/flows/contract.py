"""The contract of a bijector: a change of variables whose volume change is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self, final

from torch import Tensor

from seqgen.errors import SeqgenError


class Bijector(ABC):
    """An invertible map ``x = f(z | cond)`` of whole sequences, with the logarithm of its Jacobian's determinant.

    The density of ``x`` follows from that of ``z``: ``ln p(x) = ln p(z) - ln|det ∂x/∂z|``. The logarithm is given as
    one share for each position, whose sum over T is the determinant's; for a triangular Jacobian a share is the
    logarithm of a diagonal entry. Maps of symbols take and give one-hot vectors, which carry gradients, and have shares
    of 0, for they change no volume.

    Shapes: ``z, x [B, T, C]`` (C = K one-hot for symbols), conditioning as the map takes it, shares ``[B, T]`` in nats.

    Attributes:
        vocab_size: K of a map of symbols; 0 where values are real numbers.
        length: positions that a sequence must have; 0: any number.
    """

    vocab_size: int = 0
    length: int = 0

    @final
    def require_length(self, x: Tensor) -> None:
        """Refuse sequences of another length than the map has.

        Raises:
            SeqgenError: saying both lengths.
        """
        if self.length and x.shape[1] != self.length:
            raise SeqgenError(
                f"a sequence of {x.shape[1]} elements, the flow takes {self.length}",
                remedy=f"give blocks of {self.length}, or set the flow's length to {x.shape[1]}",
            )

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
