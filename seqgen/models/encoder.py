"""The contract of an encoder: a whole sequence in, a column for each of its elements, or stretches of them, out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self, final

import torch
from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """A network that reads a whole source and gives one column for each ``down`` of its elements.

    It may look both ways, so it is no :class:`~seqgen.stream.contract.Streamable`. Rows of a batch have lengths of
    their own: what stands behind a row's end changes nothing of it, and has columns of zeros.

    Args:
        vocab_size: of the source; 0 where its elements are real numbers. out_dim: channels of a column.
        down: elements that a column stands for.

    Laws, checked by :func:`seqgen.models.verify.verify` for every registered one: rows, padding, shape.
    """

    def __init__(self, *, vocab_size: int, out_dim: int, down: int = 1) -> None:
        super().__init__()
        self.vocab_size, self.out_dim, self.down = vocab_size, out_dim, down

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """Small instances that the laws are run over; by default one over five symbols."""
        return [cls(cls.Config(vocab_size=5))]  # type: ignore[attr-defined,call-arg]  # classes take their Config

    @abstractmethod
    def columns(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        """Shapes: int64 ``[B, S]`` (or one-hots ``[B, S, K]``, through which gradients pass, where symbols are read by
        a :class:`~seqgen.nets.layers.SymbolTable`; reals are ``[B, S, 1]``) and ``[B]`` → ``[B, ⌈S / down⌉, out_dim]``,
        zeros behind the stretch that a row's last element is in."""

    @final  # type: ignore[misc]  # nn.Module declares forward as a field
    def forward(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        """:meth:`columns`, called as torch's modules are."""
        return self.columns(symbols, lengths)


def inside(lengths: Tensor, positions: int) -> Tensor:
    """Mask of the positions that lie inside their rows, bool ``[B, positions]``.

    Example:
        >>> inside(torch.tensor([1, 2]), 2)
        tensor([[ True, False],
                [ True,  True]])
    """
    return torch.arange(positions, device=lengths.device)[None] < lengths[:, None]
