"""ByteNet encoder (Kalchbrenner et al., "Neural machine translation in linear time", arXiv 1610.10099, section 3).

The decoder's residual blocks, with the taps of each convolution centred: a column for each symbol, which knows the
symbols on both sides of it as far as ``Σ (kernel - 1)/2·r``. What lies outside a sequence is zero in front of every
convolution, however long the batch's rows are.

    a^0   = E[x_t]                                                 2d channels
    a^l+1 = a^l + leave_l(enter_l(a^l)_{t-r}, …, enter_l(a^l)_{t+r})
    c_t   = W ReLU(LN(a^L)) + b
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.bytenet import require_stack, stack
from seqgen.models.encoder import Encoder, inside
from seqgen.nets.dilated import product
from seqgen.nets.layers import SymbolTable
from seqgen.nets.normalization import LayerNormalization
from seqgen.nets.residual_blocks import ResidualBlock, weights


class ByteNetEncoder(Encoder):
    """Encoder of dilated, centred convolutions that keeps the resolution: a column for each symbol.

    Shapes: int64 ``[B, S]``, ``lengths [B]`` → ``[B, S, out_dim]``, zero beyond the lengths.

    Raises:
        SeqgenError: for sizes that make no network (see the message).

    Source: arXiv 1610.10099, section 3; what is read where is said at the top of this file. The last product is ours:
    it gives columns the width that a decoder takes.

    Example:
        >>> net = ByteNetEncoder(ByteNetEncoder.Config(vocab_size=5, channels=4, out_dim=8, cycles=1))
        >>> net(torch.zeros(1, 6, dtype=torch.int64), torch.tensor([4])).shape, net.field
        (torch.Size([1, 6, 8]), 31)
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the encoder; version 2 of the paper translates with 6 cycles of 800 channels.

        Attributes:
            vocab_size: size of the alphabet.
            channels: d, of the convolutions; the residual stream between blocks has 2d.
            out_dim: channels of a column (0: 2·channels).
            kernel: taps of a convolution, an odd number.
            cycles: sets of blocks. dilations: of the blocks of a set.
            dropout: as the decoder's.
        """

        vocab_size: int
        channels: int = 128
        out_dim: int = 0
        kernel: int = 3
        cycles: int = 3
        dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
        dropout: float = 0.0

    @classmethod
    def examples(cls) -> Iterable[ByteNetEncoder]:
        sizes = cls.Config(vocab_size=5, channels=4, cycles=2, dilations=(1, 3))
        return [cls(sizes), cls(replace(sizes, kernel=5, out_dim=3))]

    def __init__(self, config: Config) -> None:
        sizes = {one: getattr(config, one) for one in ("vocab_size", "channels", "cycles")}
        require_stack("bytenet encoder", kernel=config.kernel, dilations=config.dilations, **sizes)
        if config.kernel % 2 == 0:
            raise SeqgenError(f"bytenet encoder: kernel is {config.kernel}", remedy="give an odd number")
        wide = 2 * config.channels
        super().__init__(vocab_size=config.vocab_size, out_dim=config.out_dim or wide)
        self.embedding = SymbolTable(config.vocab_size, wide)
        dilations = config.dilations * config.cycles
        self.blocks = stack("relu", config.channels, config.kernel, dilations, dropout=config.dropout)
        self.norm = LayerNormalization(wide)
        self.out = weights(self.out_dim, wide)
        self.out_bias = nn.Parameter(torch.zeros(self.out_dim))

    @property
    def field(self) -> int:
        """Symbols on either side that a column knows."""
        return sum(block.reach for block in self._stack()) // 2

    def _stack(self) -> list[ResidualBlock]:
        return list(self.blocks)  # type: ignore[arg-type]

    def columns(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        real = inside(lengths, symbols.shape[1])[..., None]  # [B, S, 1]
        a = self.embedding(symbols)  # [B, S, 2d]
        for block in self._stack():
            entered, side = block.enter(a) * real, block.reach // 2  # [B, S, d]
            a = a + block.leave(F.pad(entered, (0, 0, side, side)))  # [B, S, 2d]
        return product(self.norm(a).relu(), self.out, self.out_bias) * real  # [B, S, out_dim]
