"""Lazy interpolation: conditioning between frames that is multiplied out only where it is used.

A network of many layers takes thousands of conditioning channels a sample, each a line between two frames. Written out
they are most of what such a network reads and writes. As a product of a small basis and of the frames themselves each
layer makes its own part, while it is at hand.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class LazyInterpolation:
    """Product ``basis [T, F] · line [B, F, C]`` that is not multiplied out, standing for ``[B, T, C]``: it may be
    cut into stretches and channels, cast and added to a tensor.

    Example:
        >>> lazy = LazyInterpolation(torch.tensor([[0.25, 0.75]]), torch.tensor([[[0.0], [4.0]]]))
        >>> float(torch.zeros(1, 1, 1) + lazy)
        3.0
    """

    def __init__(self, basis: Tensor, line: Tensor) -> None:
        self.basis, self.line = basis, line

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape ``(B, T, C)`` of the interpolated vectors."""
        return self.line.shape[0], self.basis.shape[0], self.line.shape[2]

    def dense(self) -> Tensor:
        """The interpolated vectors themselves, ``[B, T, C]``."""
        return self.basis @ self.line

    def __getitem__(self, place: tuple[slice, slice | int]) -> LazyInterpolation | Tensor:
        """Some positions, ``lazy[:, first:last]``, or one, ``lazy[:, t]``, which is written out as ``[B, C]``."""
        rows, positions = place
        assert rows == slice(None)
        if isinstance(positions, slice):
            return LazyInterpolation(self.basis[positions], self.line)
        return self.basis[positions] @ self.line

    def split(self, size: int | Sequence[int], dim: int = -1) -> list[LazyInterpolation]:
        """Parts of the channels."""
        assert dim == -1
        parts = self.line.split(size if isinstance(size, int) else list(size), dim=-1)
        return [LazyInterpolation(self.basis, part) for part in parts]

    def to(self, dtype: torch.dtype) -> LazyInterpolation:
        """In another type."""
        return LazyInterpolation(self.basis.to(dtype), self.line.to(dtype))

    def columns(self) -> Tensor:
        """Further columns ``[B, T, F]`` of what a matrix is to be multiplied with, for :meth:`product`."""
        return self.basis.expand(self.line.shape[0], -1, -1)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """``x · weightᵀ`` with this added, by one product: x with :meth:`columns` ``[B, T, K + F]``, ``[C, K] → [B, T,
        C]``."""
        rows = weight.t().expand(self.line.shape[0], -1, -1)
        return x @ torch.cat([rows, self.line.to(weight.dtype)], dim=1)

    def __radd__(self, other: Tensor) -> Tensor:
        return other + self.dense()


def hats(start: int, stop: int, inputs: int, up: int, like: Tensor) -> Tensor:
    """Weights ``[stop - start, inputs + 1]`` of linear interpolation for outputs ``start … stop - 1`` of a block.

    Output ``v`` lies at ``p = (v + up//2 - (up-1)/2) / up`` on the line of the input before the block (at 0) and those
    of the block (from 1 on); input ``k`` weighs ``max(0, 1 - |p - k|)``. See :class:`~seqgen.stream.combinators.
    Interpolate`, whose outputs these are.
    """
    # Whole and broken part by themselves: far into a long block a float32 would not hold both.
    v = torch.arange(start, stop, device=like.device)
    whole = torch.div(v, up, rounding_mode="floor")
    broken = (v - whole * up).to(like.dtype).add(up // 2 - (up - 1) / 2) / up
    away = (whole[:, None] - torch.arange(inputs + 1, device=like.device)).to(like.dtype) + broken[:, None]
    return torch.relu(1 - away.abs())
