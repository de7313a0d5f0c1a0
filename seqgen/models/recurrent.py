"""Recurrent language model: symbols in, distributions of the next symbol out.

    e_t = E x_{t-1},    h^l_t = cell_l(h^{l-1}_t, h^l_{t-1}),  h^0 = e,    y_t = W h^L_t + b

Source: Mikolov et al., "Recurrent neural network based language model", Interspeech 2010; the gates are those of
Cho et al., arXiv 1406.1078, with the reset gate after the product (:mod:`seqgen.nets.gru`), or of long short-term
memory (:mod:`seqgen.nets.lstm`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.nets.gru import GRU
from seqgen.nets.layers import SymbolTable
from seqgen.nets.lstm import LSTM, LSTMState
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable

Cell = Literal["gru", "lstm"]
States = tuple[Tensor | LSTMState, ...]
CELLS: dict[Cell, type[GRU | LSTM]] = {"gru": GRU, "lstm": LSTM}


class Recurrent(Streamable[States]):
    """The body of a recurrent language model: gated recurrent layers over embedded symbols.

    Shapes: int64 ``[B, T]`` (the symbol before each position), or one-hots of them ``[B, T, K]``, → ``[B, T,
    outputs]``; the state is one ``[B, hidden]`` for each layer, or two (hidden, cell) of long short-term memory. Its
    inner activations are what the layers give.

    Raises:
        SeqgenError: for sizes that make no network.

    Example:
        >>> Recurrent(Recurrent.Config(hidden=8, vocab_size=5, outputs=5)).spec.out_dim
        5
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the body.

        Attributes:
            vocab_size: size of the alphabet. outputs: numbers for each position (a logit per symbol: the alphabet's
                size).
            hidden: width of each layer's state. layers: recurrent layers. embedding: channels of a symbol.
            cell: ``gru``, gated recurrent, or ``lstm``, long short-term memory.
        """

        vocab_size: int
        outputs: int
        hidden: int = 256
        layers: int = 1
        embedding: int = 64
        cell: Cell = "gru"

    @classmethod
    def examples(cls) -> Iterable[Recurrent]:
        sizes = cls.Config(vocab_size=4, outputs=4, hidden=5, embedding=3)
        return [cls(sizes), cls(replace(sizes, layers=2)), cls(replace(sizes, layers=2, cell="lstm"))]

    def __init__(self, config: Config) -> None:
        super().__init__()
        for name, value in vars(config).items():
            if name != "cell" and value < 1:
                raise SeqgenError(f"recurrent: {name} is {value}", remedy="give 1 or more")
        self.embedding = SymbolTable(config.vocab_size, config.embedding)
        widths = [config.embedding, *[config.hidden] * config.layers]
        self.layers = nn.ModuleList(CELLS[config.cell](*pair) for pair in pairwise(widths))
        self.out = nn.Linear(config.hidden, config.outputs)
        self.hidden = config.hidden
        self.spec = StreamSpec(in_dim=0, out_dim=config.outputs, context=None, vocab_size=config.vocab_size)

    def init_state(self, batch: int, memory: Any = None) -> States:
        return tuple(layer.init_state(batch) for layer in self._layers())

    def step(self, x: Tensor, state: States, cond: Conditioning | None = None) -> tuple[Tensor, States]:
        y, after, _ = self.observe(x, state, cond)
        return y, after

    @property
    def observed_dims(self) -> tuple[int, ...]:
        """Channels of the layers' outputs."""
        return (self.hidden,) * len(self.layers)

    def observe(
        self, x: Tensor, state: States, cond: Conditioning | None = None
    ) -> tuple[Tensor, States, list[Tensor]]:
        h = self.embedding(x)  # [B, T, embedding]
        inside, after = [], []
        for layer, before in zip(self._layers(), state, strict=True):
            h, last = layer.step(h, before)  # type: ignore[arg-type]  # [B, T, hidden]
            inside.append(h)
            after.append(last)
        return self.out(h), tuple(after), inside

    def _layers(self) -> list[GRU | LSTM]:
        return list(self.layers)  # type: ignore[arg-type]
