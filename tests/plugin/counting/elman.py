"""Elman network: symbols in, outputs of a hidden layer that sees itself one step ago.

    h_t = tanh(E x_t + U h_{t-1}),    y_t = W h_t + b

Source: Elman, "Finding structure in time", Cognitive Science 14, 1990.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable


class Elman(Streamable[Tensor]):
    """The body of an Elman network.

    Shapes: int64 ``[B, T]`` → ``[B, T, symbols]``; the state is the hidden layer, ``[B, hidden]``.
    """

    @dataclass(frozen=True)
    class Config:
        """``symbols``: size of the alphabet. ``hidden``: width of the hidden layer."""

        symbols: int
        hidden: int = 16

    @classmethod
    def examples(cls) -> Iterable[Elman]:
        return [cls(cls.Config(symbols=4, hidden=5))]

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.symbols, config.hidden) < 1:
            raise SeqgenError(f"elman: got {config}", remedy="give 1 or more of each")
        self.enter = nn.Embedding(config.symbols, config.hidden)
        self.again = nn.Linear(config.hidden, config.hidden, bias=False)
        self.out = nn.Linear(config.hidden, config.symbols)
        self.spec = StreamSpec(in_dim=0, out_dim=config.symbols, context=None, vocab_size=config.symbols)

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        return self.zeros(batch, self.again.in_features)

    def step(self, x: Tensor, state: Tensor, cond: Conditioning | None = None) -> tuple[Tensor, Tensor]:
        entered, hidden = self.enter(x), []  # [B, T, hidden]
        for now in entered.unbind(dim=1):
            state = torch.tanh(now + self.again(state))  # [B, hidden]
            hidden.append(state)
        return self.out(torch.stack(hidden, dim=1)), state  # [B, T, symbols]
