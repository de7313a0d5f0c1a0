"""Recurrent encoder: gated recurrent layers over a source, from its beginning and from its end.

    →h_s = GRU(→h_{s-1}, e_s),    ←h_s = GRU(←h_{s+1}, e_s),    column_s = [→h_s; ←h_s]

Source: Bahdanau, Cho and Bengio, arXiv 1409.0473, section 3.2; the gates are those of :mod:`seqgen.nets.gru`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.encoder import Encoder, inside
from seqgen.nets.bidirectional import both_ways
from seqgen.nets.gru import GRU
from seqgen.nets.layers import SymbolTable


class RecurrentEncoder(Encoder):
    """Encoder of gated recurrent layers that read both ways; each layer reads both directions of the one below.

    Shapes: int64 ``[B, S]``, lengths ``[B]`` → ``[B, S, 2·hidden]``.

    Raises:
        SeqgenError: for sizes that make no network.

    Example:
        >>> RecurrentEncoder(RecurrentEncoder.Config(vocab_size=5, hidden=8)).out_dim
        16
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the encoder.

        Attributes:
            vocab_size: of the source. hidden: width of each direction. layers: of each direction.
            embedding: channels of a symbol.
        """

        vocab_size: int
        hidden: int = 128
        layers: int = 1
        embedding: int = 64

    @classmethod
    def examples(cls) -> Iterable[RecurrentEncoder]:
        return [cls(cls.Config(vocab_size=5, hidden=3, layers=layers, embedding=4)) for layers in (1, 2)]

    def __init__(self, config: Config) -> None:
        for name, value in vars(config).items():
            if value < 1:
                raise SeqgenError(f"recurrent encoder: {name} is {value}", remedy="give 1 or more")
        super().__init__(vocab_size=config.vocab_size, out_dim=2 * config.hidden)
        self.embedding = SymbolTable(config.vocab_size, config.embedding)
        widths = [config.embedding, *[2 * config.hidden] * (config.layers - 1)]
        self.onward = nn.ModuleList(GRU(width, config.hidden) for width in widths)
        self.homeward = nn.ModuleList(GRU(width, config.hidden) for width in widths)

    def columns(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        real = inside(lengths, symbols.shape[1])  # [B, S]
        h = self.embedding(symbols)  # [B, S, embedding]
        for onward, homeward in zip(self.onward, self.homeward, strict=True):
            h = both_ways(onward, homeward, h, real)  # [B, S, 2·hidden]
        return h
