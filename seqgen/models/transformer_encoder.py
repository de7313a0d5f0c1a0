"""Transformer encoder: layers in which every position of a source attends to every other.

    h ← h + Attention(LN(h)),    h ← h + W₂ gelu(W₁ LN(h)),    h⁰_s = E x_s + p_s

Source: Vaswani et al., arXiv 1706.03762, section 3; normalisation before each part as in Xiong et al., arXiv
2002.04745.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.encoder import Encoder, inside
from seqgen.nets.layers import SymbolTable


class TransformerEncoder(Encoder):
    """Encoder of attention layers with learned positions.

    Shapes: int64 ``[B, S]`` or one-hots ``[B, S, K]``, S at most ``positions``, lengths ``[B]`` → ``[B, S, channels]``.

    Raises:
        SeqgenError: for sizes that make no network, or a source that is longer than the encoder.

    Example:
        >>> TransformerEncoder(TransformerEncoder.Config(vocab_size=5, positions=9)).out_dim
        128
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the encoder.

        Attributes:
            vocab_size: of the source. positions: of the longest source. channels: of the residual stream.
            layers: of attention and of the perceptron behind it, 4 times as wide. heads: of each attention.
        """

        vocab_size: int
        positions: int
        channels: int = 128
        layers: int = 2
        heads: int = 4

    @classmethod
    def examples(cls) -> Iterable[TransformerEncoder]:
        return [cls(cls.Config(vocab_size=5, positions=12, channels=4, layers=layers, heads=2)) for layers in (1, 2)]

    def __init__(self, config: Config) -> None:
        if min(vars(config).values()) < 1 or config.channels % config.heads:
            raise SeqgenError(
                f"a Transformer encoder of {config}",
                remedy="give 1 or more of everything, and channels that are a multiple of heads",
            )
        super().__init__(vocab_size=config.vocab_size, out_dim=config.channels)
        self.embedding = SymbolTable(config.vocab_size, config.channels)
        self.positions = nn.Parameter(0.1 * torch.randn(config.positions, config.channels))
        self.layers = nn.ModuleList(_Layer(config.channels, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.channels)

    def columns(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        length = symbols.shape[1]
        if length > len(self.positions):
            raise SeqgenError(
                f"a source of {length} symbols, the encoder reads {len(self.positions)}",
                remedy=f"set positions to {length}",
            )
        real = inside(lengths, length)  # [B, S]
        h = self.embedding(symbols) + self.positions[:length]  # [B, S, channels]
        for layer in self.layers:
            h = layer(h, real)
        normed: Tensor = self.norm(h)
        return normed * real[..., None]


class _Layer(nn.Module):
    """Attention to what is real, and a perceptron."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_perceptron = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attended, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.wide, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, h: Tensor, real: Tensor) -> Tensor:
        parts = self.attended(self.before_attention(h)).unflatten(2, (3, self.heads, -1))  # [B, S, 3, H, C/H]
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [B, H, S, C/H]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=real[:, None, None])
        h = h + self.out(seen.transpose(1, 2).flatten(2))  # [B, S, C]
        made: Tensor = h + self.narrow(F.gelu(self.wide(self.before_perceptron(h))))
        return made
