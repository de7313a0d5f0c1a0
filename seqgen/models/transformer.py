"""Decoder-only Transformer with a window: blocks of causal self-attention and perceptrons over embedded symbols.

    a^0   = E[x_{t-1}]
    b^l   = a^l + Attention(LN a^l)                 seqgen.nets.windowed_attention
    a^l+1 = b^l + W_2 GELU(W_1 LN b^l)              4·channels between the two
    y     = W LN a^L + b

There are no embeddings of positions: attention tells distances apart by itself, so a stream may be of any length.

Source: Vaswani et al., "Attention is all you need", arXiv 1706.03762; norms in front: Radford et al., "Language models
are unsupervised multitask learners", 2019, section 2.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.nets.dilated import DropBytes, product
from seqgen.nets.layers import SymbolTable
from seqgen.nets.windowed_attention import AttentionState, WindowedAttention
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable

States = tuple[AttentionState, ...]


class _Block(nn.Module):
    """Block of a Transformer: what attention and perceptron add to the residual stream."""

    def __init__(self, config: Transformer.Config) -> None:
        super().__init__()
        dim, share = config.channels, (2 * config.layers) ** -0.5
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = WindowedAttention(dim, heads=config.heads, window=config.window)
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)
        self.dropout = DropBytes(config.dropout)
        for layer in (self.attention.leaving, self.narrow):
            nn.init.normal_(layer.weight, std=share * layer.in_features**-0.5)

    def run(self, a: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        attended, after = self.attention.step(self.attention_norm(a), state)
        b = a + self.dropout(attended)  # [B, T, channels]
        inner = F.gelu(product(self.norm(b), self.widen.weight, self.widen.bias))  # [B, T, 4·channels]
        return b + self.dropout(product(inner, self.narrow.weight, self.narrow.bias)), after


class Transformer(Streamable[States]):
    """The body of a Transformer language model: the symbol before in, parameters of the next one's distribution out.

    Shapes: int64 ``[B, T]`` → ``[B, T, outputs]``; the state is keys, values and their number for each layer.

    Raises:
        SeqgenError: for sizes that make no network.

    Example:
        >>> sizes = Transformer.Config(vocab_size=5, outputs=5, channels=8, layers=2, heads=2, window=4)
        >>> Transformer(sizes).spec.context
        7
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the body.

        Attributes:
            vocab_size: size of the alphabet. outputs: numbers for each position (a logit per symbol: the alphabet's
                size).
            channels: width, a multiple of twice the heads. layers: blocks. heads: attentions side by side.
            window: positions that each layer attends to, the position itself included.
            dropout: probability with which what attention and perceptron add is dropped in training; to a 256th.
        """

        vocab_size: int
        outputs: int
        channels: int = 256
        layers: int = 4
        heads: int = 4
        window: int = 128
        dropout: float = 0.0

    @classmethod
    def examples(cls) -> Iterable[Transformer]:
        sizes = cls.Config(vocab_size=5, outputs=5, channels=8, layers=2, heads=2, window=4)
        return [cls(sizes), cls(replace(sizes, layers=1, heads=1, window=6))]

    def __init__(self, config: Config) -> None:
        super().__init__()
        _require_sizes(config)
        self.embedding = SymbolTable(config.vocab_size, config.channels)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.channels)
        self.out = nn.Linear(config.channels, config.outputs)
        self.spec = StreamSpec(
            in_dim=0,
            out_dim=config.outputs,
            context=1 + config.layers * (config.window - 1),
            vocab_size=config.vocab_size,
        )

    def init_state(self, batch: int, memory: Any = None) -> States:
        return tuple(block.attention.init_state(batch) for block in self._stack())

    def step(self, x: Tensor, state: States, cond: Conditioning | None = None) -> tuple[Tensor, States]:
        a = self.embedding(x)  # [B, T, channels]
        after = []
        for block, inner in zip(self._stack(), state, strict=True):
            a, inner = block.run(a, inner)
            after.append(inner)
        return self.out(self.norm(a)), tuple(after)

    def _stack(self) -> list[_Block]:
        return list(self.blocks)  # type: ignore[arg-type]


def _require_sizes(config: Transformer.Config) -> None:
    for name in ("vocab_size", "outputs", "channels", "layers", "heads", "window"):
        if getattr(config, name) < 1:
            raise SeqgenError(f"transformer: {name} is {getattr(config, name)}", remedy="give 1 or more")
    if config.channels % (2 * config.heads):
        raise SeqgenError(
            f"transformer: {config.channels} channels for {config.heads} heads",
            remedy=f"give a multiple of {2 * config.heads}: positions turn pairs of each head's channels",
        )
    if not 0 <= config.dropout < 1:
        raise SeqgenError(f"transformer: dropout is {config.dropout}", remedy="give a probability from 0, below 1")
