"""ByteNet decoder (Kalchbrenner et al., "Neural machine translation in linear time", arXiv 1610.10099, section 3).

A stack of residual blocks of masked, dilated convolutions turns the symbols before ``x_t``, and in translation a column
of the encoder for each position, into the parameters of the distribution of ``x_t``:

    a^0   = E[x_{t-1}] + c_t                                       2d channels
    a^l+1 = a^l + leave_l(… , enter_l(a^l)_{t-r}, enter_l(a^l)_t)   seqgen.nets.residual_blocks
    y     = W_2 ReLU(W_1 a^L + b_1) + b_2

Sets of blocks with dilations 1, 2, 4, 8, 16 follow each other ``cycles`` times. ``block: relu`` is what section 3
translates with, ``block: multiplicative`` what it models language with. Columns are added to the embedding, which
they must be as wide as: with zeros for columns (and beyond the last one) the decoder is a language model and nothing
else. The papers do not say how the two are combined; others lay them side by side.

A step needs the last ``(kernel - 1)·r`` inputs of each convolution: one ring of them each is the state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.nets.dilated import DropBytes, product
from seqgen.nets.layers import SymbolTable
from seqgen.nets.normalization import Kind
from seqgen.nets.residual_blocks import BLOCKS, Form, ResidualBlock, weights
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable


class ByteNetState(NamedTuple):
    """State of a ByteNet decoder: what its convolutions will look back on.

    Attributes:
        rings: of each block the last ``(kernel - 1)·r`` inputs of its convolution, ``[B, (kernel - 1)·r, channels]``,
            the oldest first. They are moved along at each step: a copy of the state is made anyway.
    """

    rings: tuple[Tensor, ...]


def stack(
    form: Form, channels: int, kernel: int, dilations: tuple[int, ...], *, norm: Kind = "layer", dropout: float = 0.0
) -> nn.ModuleList:
    """Fresh blocks of these dilations."""
    share = len(dilations) ** -0.5
    return nn.ModuleList(
        BLOCKS[form](channels, kernel=kernel, dilation=dilation, norm=norm, dropout=dropout, share=share)
        for dilation in dilations
    )


class ByteNet(Streamable[ByteNetState]):
    """The body of a ByteNet: the symbol before in, parameters of the next one's distribution out.

    Shapes: int64 ``[B, T]`` (teacher forcing is ``Delay(1)`` in front) and, where conditioned, one column for each
    position, ``cond [B, T, 2·channels]`` → ``[B, T, outputs]``. A fresh stream starts as if what every convolution
    reads had been zero for ever.

    Raises:
        SeqgenError: for sizes that make no network (see the message), for columns of another width or number, and with
            ``norm: sub-batch`` for training on one row.

    Source: arXiv 1610.10099, section 3; what is read where is said at the top of this file.

    Example:
        >>> net = ByteNet(ByteNet.Config(vocab_size=5, outputs=5, channels=4, cycles=2, dilations=(1, 2)))
        >>> net(torch.zeros(1, 7, dtype=torch.int64)).shape, net.spec.context
        (torch.Size([1, 7, 5]), 13)
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the body; version 2 of the paper translates with 6 cycles of 800 channels.

        Attributes:
            vocab_size: size of the alphabet. outputs: numbers for each position (a logit per symbol: the alphabet's
                size).
            channels: d, of the convolutions; the residual stream between blocks has 2d.
            kernel: taps of a convolution, the position itself included.
            cycles: sets of blocks. dilations: of the blocks of a set.
            block: ``relu`` or ``multiplicative``.
            cond_dim: channels of a column of the encoder, 2·channels, or 0: a language model.
            norm: ``layer`` (version 2), or ``sub-batch`` (version 1), with which a batch needs two rows or more in
                training and is gone through twice (:class:`~seqgen.nets.normalization.SubBatchNormalization`).
            dropout: probability with which each block's last product, and that of the head, forgets an input in
                training; to a 256th.
        """

        vocab_size: int
        outputs: int
        channels: int = 128
        kernel: int = 3
        cycles: int = 3
        dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
        block: Form = "relu"
        cond_dim: int = 0
        norm: Kind = "layer"
        dropout: float = 0.0

    @classmethod
    def examples(cls) -> Iterable[ByteNet]:
        sizes = cls.Config(vocab_size=5, outputs=5, channels=8, cycles=2, dilations=(1, 3))
        columns = replace(sizes, block="multiplicative", cond_dim=16)
        return [cls(config) for config in (sizes, replace(sizes, block="multiplicative", kernel=2), columns)]

    length_free = True

    def __init__(self, config: Config) -> None:
        super().__init__()
        _require_sizes(config)
        wide = 2 * config.channels
        dilations = config.dilations * config.cycles
        self.doubled = config.norm == "sub-batch"
        self.embedding = SymbolTable(config.vocab_size, wide)
        self.blocks = stack(
            config.block, config.channels, config.kernel, dilations, norm=config.norm, dropout=config.dropout
        )
        self.head = weights(wide, wide, gain=2**0.5)
        self.head_bias = nn.Parameter(torch.zeros(wide))
        self.dropout = DropBytes(config.dropout)
        self.out = weights(config.outputs, wide)
        self.out_bias = nn.Parameter(torch.zeros(config.outputs))
        self.channels = config.channels
        self.spec = StreamSpec(
            in_dim=0,
            out_dim=config.outputs,
            cond_dim=config.cond_dim,
            context=1 + sum(block.reach for block in self._stack()),
            vocab_size=config.vocab_size,
        )

    def init_state(self, batch: int, memory: Any = None) -> ByteNetState:
        return ByteNetState(tuple(self.zeros(batch, block.reach, self.channels) for block in self._stack()))

    def step(self, x: Tensor, state: ByteNetState, cond: Conditioning | None = None) -> tuple[Tensor, ByteNetState]:
        self._require_columns(x, cond)
        a = self.embedding(x)  # [B, T, 2d]
        if cond is not None and self.spec.cond_dim:
            a = a + cond
        y, rings = self._twice(a, state.rings) if self.doubled and self.training else self._run(a, state.rings)
        return y, ByteNetState(rings)

    def _twice(self, a: Tensor, rings: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The rows as auxiliary and as main ones; what the main ones give."""
        rows = a.shape[0]
        y, after = self._run(torch.cat([a, a]), tuple(torch.cat([ring, ring]) for ring in rings))
        return y[rows:], tuple(ring[rows:] for ring in after)

    def _run(self, a: Tensor, rings: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        length, after = a.shape[1], []
        for block, ring in zip(self._stack(), rings, strict=True):
            entered = block.enter(a)  # [B, T, d]
            line = torch.cat([ring.to(entered.dtype), entered], dim=1)  # [B, (K-1)·r + T, d]
            after.append(line[:, length:].to(ring.dtype))
            a = a + block.leave(line)  # [B, T, 2d]
        hidden = product(a, self.head, self.head_bias).relu()  # [B, T, 2d]
        return product(self.dropout(hidden), self.out, self.out_bias), tuple(after)

    def _stack(self) -> list[ResidualBlock]:
        return list(self.blocks)  # type: ignore[arg-type]

    def _require_columns(self, x: Tensor, cond: Conditioning | None) -> None:
        dim = self.spec.cond_dim
        if dim and (cond is None or tuple(cond.shape[1:]) != (x.shape[1], dim)):
            got = "no columns" if cond is None else f"columns of shape {tuple(cond.shape)}"
            raise SeqgenError(
                f"bytenet: {x.shape[1]} symbols with {got}",
                remedy=f"give one column for each symbol, [B, {x.shape[1]}, {dim}], zeros where there is none",
            )


def require_stack(name: str, *, kernel: int, dilations: tuple[int, ...], **sizes: int) -> None:
    """Refuse what is no stack of blocks, naming the option."""
    for option, value in {**sizes, **{f"dilations[{i}]": one for i, one in enumerate(dilations)}}.items():
        if value < 1:
            raise SeqgenError(f"{name}: {option} is {value}", remedy="give 1 or more")
    if kernel < 2:
        raise SeqgenError(f"{name}: kernel is {kernel}", remedy="give 2 or more")


def _require_sizes(config: ByteNet.Config) -> None:
    sizes = {one: getattr(config, one) for one in ("vocab_size", "outputs", "channels", "cycles")}
    require_stack("bytenet", kernel=config.kernel, dilations=config.dilations, **sizes)
    if config.cond_dim not in (0, 2 * config.channels):
        raise SeqgenError(
            f"bytenet: cond_dim is {config.cond_dim}, with channels {config.channels}",
            remedy=f"give 0, or {2 * config.channels}: columns are added to the residual stream",
        )
    if not 0 <= config.dropout < 1:
        raise SeqgenError(f"bytenet: dropout is {config.dropout}", remedy="give a probability from 0, below 1")
