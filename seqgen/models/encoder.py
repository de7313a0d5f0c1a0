"""The contract of an encoder: a whole sequence in, a column for each of its elements, or stretches of them, out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from seqgen.spec import StreamSpec
from seqgen.stream.contract import Streamable


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


class StreamedEncoder(Encoder):
    """Encoder whose columns a stream makes as well, ``spec.latency`` columns after the last element of each.

    Attributes:
        body: what :meth:`read` reads, in blocks of ``down`` elements each, to columns.
    """

    body: Streamable[Any]

    @property
    def spec(self) -> StreamSpec:
        """Rates of the stream, and its latency in columns."""
        return self.body.spec

    @abstractmethod
    def read(self, symbols: Tensor) -> Tensor:
        """What the body takes of elements, ``[B, S] → [B, S, C]``."""

    @final
    def step(self, symbols: Tensor, state: Any, real: Tensor | None = None) -> tuple[Tensor, Any]:
        """Columns of the next elements of a stream, and the state behind them.

        The first ``spec.latency`` columns of a stream mean nothing; at its end as many are to come, of elements that
        are none.

        Shapes: ``[B, S]`` with S a multiple of ``down``, and where not all of them are elements 1 for those that are,
        ``real [B, S]`` → ``[B, S / down, out_dim]``.
        """
        line = self.read(symbols)
        return self.body.step(line if real is None else line * real[..., None], state)

    @final
    def columns(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        count = symbols.shape[1]
        whole = -(-count // self.down)
        line = self.read(symbols) * inside(lengths, count)[..., None]  # [B, S, C]
        behind = (whole + self.spec.latency) * self.down - count
        line = nn.functional.pad(line, (0, 0, 0, behind))
        made, _ = self.body.step(line, self.body.init_state(len(line)))
        return made[:, self.spec.latency :] * inside(-(-lengths // self.down), whole)[..., None]


def inside(lengths: Tensor, positions: int) -> Tensor:
    """Mask of the positions that lie inside their rows, bool ``[B, positions]``.

    Example:
        >>> inside(torch.tensor([1, 2]), 2)
        tensor([[ True, False],
                [ True,  True]])
    """
    return torch.arange(positions, device=lengths.device)[None] < lengths[:, None]
