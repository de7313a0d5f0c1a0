"""Recurrent decoder with attention: at each step it looks back on the columns of an encoder that matter now.

    h_t = GRU(h_{t-1}, E x_{t-1})                     layers, the last one's state
    α_t = softmax_s(h_t · W_a m_s)                    over the columns m_s of the source
    y_t = W_o tanh(W_c [Σ_s α_ts m_s; h_t]) + b_o

What was attended to is not fed back, so that the recurrence runs over a whole target at once.
Source: Luong, Pham and Manning, "Effective approaches to attention-based neural machine translation", arXiv 1508.04025,
section 3.1, equations 5 to 8 with the score "general", without the input feeding of section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.nets.gru import GRU
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning, Memory
from seqgen.stream.contract import Streamable


class AttentionState(NamedTuple):
    """State of a decoder with attention.

    Attributes:
        hidden: of each recurrent layer, ``[B, hidden]``.
        columns: what is looked back on, ``[B, S, memory_dim]``. real: 1 for a column, 0 for padding, ``[B, S]``.
    """

    hidden: tuple[Tensor, ...]
    columns: Tensor
    real: Tensor


class AttentionDecoder(Streamable[AttentionState]):
    """The body of a recurrent decoder with attention over an encoder's columns.

    Shapes: int64 ``[B, T]`` (the symbol before each position) → ``[B, T, outputs]``. A stream that is given no memory
    attends to nothing: the sum over its columns is zero.

    Raises:
        SeqgenError: for sizes that make no network, and for a memory of another width.

    Example:
        >>> net = AttentionDecoder(AttentionDecoder.Config(vocab_size=5, outputs=5, memory_dim=3, hidden=8))
        >>> memory = Memory(torch.zeros(1, 4, 3), torch.tensor([4]))
        >>> net.step(torch.tensor([[0, 1]]), net.init_state(1, memory))[0].shape
        torch.Size([1, 2, 5])
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the body.

        Attributes:
            vocab_size: size of the alphabet. outputs: numbers for each position.
            memory_dim: channels of an encoder's column.
            hidden: width of each layer's state, and of the layer before the outputs. layers: recurrent layers.
            embedding: channels of a symbol.
        """

        vocab_size: int
        outputs: int
        memory_dim: int
        hidden: int = 256
        layers: int = 1
        embedding: int = 64

    @classmethod
    def examples(cls) -> Iterable[AttentionDecoder]:
        sizes = {"vocab_size": 4, "outputs": 4, "memory_dim": 6, "hidden": 5, "embedding": 3}
        return [cls(cls.Config(layers=layers, **sizes)) for layers in (1, 2)]

    def __init__(self, config: Config) -> None:
        super().__init__()
        for name, value in vars(config).items():
            if value < 1:
                raise SeqgenError(f"attention decoder: {name} is {value}", remedy="give 1 or more")
        self.embedding = nn.Embedding(config.vocab_size, config.embedding)
        widths = [config.embedding, *[config.hidden] * config.layers]
        self.layers = nn.ModuleList(GRU(*pair) for pair in pairwise(widths))
        self.score = nn.Linear(config.memory_dim, config.hidden, bias=False)
        self.combine = nn.Linear(config.memory_dim + config.hidden, config.hidden, bias=False)
        self.out = nn.Linear(config.hidden, config.outputs)
        self.spec = StreamSpec(
            in_dim=0,
            out_dim=config.outputs,
            context=None,
            vocab_size=config.vocab_size,
            memory_dim=config.memory_dim,
        )

    def init_state(self, batch: int, memory: Memory | None = None) -> AttentionState:
        width = self.spec.memory_dim
        hidden = tuple(layer.init_state(batch) for layer in self._layers())
        if memory is None:
            return AttentionState(hidden, self.zeros(batch, 1, width), self.zeros(batch, 1))
        if memory.columns.shape[2] != width:
            raise SeqgenError(
                f"the decoder attends to columns of {width} channels, the memory has {memory.columns.shape[2]}",
                remedy="set memory_dim to the encoder's channels",
            )
        place = torch.arange(memory.columns.shape[1], device=memory.lengths.device)[None]
        return AttentionState(hidden, memory.columns, (place < memory.lengths[:, None]).to(memory.columns.dtype))

    def step(self, x: Tensor, state: AttentionState, cond: Conditioning | None = None) -> tuple[Tensor, AttentionState]:
        h = self.embedding(x)  # [B, T, embedding]
        after = []
        for layer, before in zip(self._layers(), state.hidden, strict=True):
            h, last = layer.step(h, before)  # [B, T, hidden]
            after.append(last)
        seen = self._attended(h, state)  # [B, T, memory_dim]
        y = self.out(torch.tanh(self.combine(torch.cat([seen, h], dim=2))))  # [B, T, outputs]
        return y, state._replace(hidden=tuple(after))

    def _attended(self, h: Tensor, state: AttentionState) -> Tensor:
        """Sum over the columns by their weights at each position."""
        scores = h @ self.score(state.columns).transpose(1, 2)  # [B, T, S]
        real = state.real[:, None]  # [B, 1, S]
        # A large number instead of infinity, which would make a row without any column undefined.
        weights = torch.softmax(scores.masked_fill(real == 0, -1e9), dim=2) * real
        return weights @ state.columns

    def _layers(self) -> list[GRU]:
        return list(self.layers)  # type: ignore[arg-type]
