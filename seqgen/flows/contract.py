"""The contract of a bijector: a change of variables whose volume change is known."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Bijector(ABC):
    """An invertible map ``x = f(z | cond)`` of whole sequences, with the logarithm of its Jacobian's determinant.

    The density of ``x`` follows from that of ``z``: ``ln p(x) = ln p(z) - ln|det ∂x/∂z|``.

    Shapes: ``z, x [B, T, C]``, conditioning as the map takes it, log-determinants ``[B]`` in nats.
    """

    @abstractmethod
    def forward_and_log_det(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``f(z)`` and ``ln|det ∂f/∂z|``."""

    @abstractmethod
    def inverse_and_log_det(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``f⁻¹(x)`` and ``ln|det ∂f⁻¹/∂x|``, the negative of the other one."""
