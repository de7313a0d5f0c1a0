"""Perceptron encoder: a network without structure over a short source, all of its symbols at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.models.critic import perceptron
from seqgen.models.encoder import Encoder, inside
from seqgen.nets.layers import SymbolTable


class PerceptronEncoder(Encoder):
    """Encoder that is a perceptron from all symbols of a source to all its columns, for sources of few symbols.

    Shapes: int64 ``[B, S]`` or one-hots ``[B, S, K]``, S at most ``positions``, lengths ``[B]`` → ``[B, S, channels]``.

    Raises:
        SeqgenError: for sizes that make no network, or a source that is longer than the encoder.

    Example:
        >>> PerceptronEncoder(PerceptronEncoder.Config(vocab_size=5, positions=3)).out_dim
        32
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the encoder.

        Attributes:
            vocab_size: of the source. positions: of the longest source. channels: of a column.
            embedding: channels of a symbol. hidden: width of the hidden layers. layers: how many there are.
        """

        vocab_size: int
        positions: int
        channels: int = 32
        embedding: int = 16
        hidden: int = 128
        layers: int = 2

    @classmethod
    def examples(cls) -> Iterable[PerceptronEncoder]:
        sizes = {"vocab_size": 5, "channels": 3, "embedding": 2, "hidden": 6}
        return [cls(cls.Config(positions=12, layers=1, **sizes)), cls(cls.Config(positions=14, **sizes))]

    def __init__(self, config: Config) -> None:
        if min(config.vocab_size, config.positions, config.channels, config.embedding) < 1:
            raise SeqgenError(f"a perceptron encoder of {config}", remedy="give 1 or more of everything")
        super().__init__(vocab_size=config.vocab_size, out_dim=config.channels)
        self.positions = config.positions
        self.embedding = SymbolTable(config.vocab_size, config.embedding)
        sizes = (config.positions * config.embedding, config.positions * config.channels)
        self.layers = perceptron(*sizes, hidden=config.hidden, layers=config.layers)

    def columns(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        length = symbols.shape[1]
        if length > self.positions:
            raise SeqgenError(
                f"a source of {length} symbols, the encoder reads {self.positions}", remedy=f"set positions to {length}"
            )
        real = inside(lengths, length)[..., None]  # [B, S, 1]
        h = self.embedding(symbols) * real  # [B, S, embedding]
        h = torch.nn.functional.pad(h, (0, 0, 0, self.positions - length))  # [B, positions, embedding]
        made = self.layers(h.flatten(1)).unflatten(1, (self.positions, self.out_dim))
        return made[:, :length] * real  # [B, S, channels]
