"""Long short-term memory: cell, and the whole sequence by torch's kernel with the same weights.

    i, f, g, o = g_i + R_i h, g_f + R_f h, g_g + R_g h, g_o + R_o h        (g: the gates' input parts, biases included)
    c' = σ(f) ∘ c + σ(i) ∘ tanh(g)        h' = σ(o) ∘ tanh(c')

The gates are stacked in ``torch.nn.LSTM``'s order (i, f, g, o).
Source: Hochreiter and Schmidhuber, Neural Computation 9(8), 1997; forget gate: Gers, Schmidhuber and Cummins, 2000.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable


class LSTMState(NamedTuple):
    """State of a long short-term memory: what it gave last, and what it holds, both ``[B, width]``."""

    hidden: Tensor
    cell: Tensor


class LSTM(Streamable[LSTMState]):
    """A layer of long short-term memory: ``[B, T, in_dim] → [B, T, width]``.

    Fresh weights let a memory keep what it holds: the forget gate's bias is 1.

    Example:
        >>> LSTM(3, 4)(torch.zeros(2, 5, 3)).shape
        torch.Size([2, 5, 4])
    """

    def __init__(self, in_dim: int, width: int) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=in_dim, out_dim=width, context=None)
        self.input = nn.Linear(in_dim, 4 * width)
        self.recurrent = nn.Parameter(torch.empty(4 * width, width))
        nn.init.uniform_(self.recurrent, -1 / math.sqrt(width), 1 / math.sqrt(width))
        with torch.no_grad():
            self.input.bias[width : 2 * width] = 1

    def init_state(self, batch: int, memory: Any = None) -> LSTMState:
        return LSTMState(self.zeros(batch, self.spec.out_dim), self.zeros(batch, self.spec.out_dim))

    def step(self, x: Tensor, state: LSTMState, cond: Conditioning | None = None) -> tuple[Tensor, LSTMState]:
        if x.shape[1] == 1:
            state = self._cell(x[:, 0], state)
            return state.hidden[:, None], state
        if x.shape[1] == 0:
            return self.zeros(x.shape[0], 0, self.spec.out_dim), state
        unused = torch.zeros_like(self.input.bias)  # the kernel adds a second bias
        matrices = [self.input.weight, self.recurrent, self.input.bias, unused]
        carried = (state.hidden[None], state.cell[None])
        with torch.autocast(x.device.type, enabled=False):  # the kernel takes weights of one type
            wide = x.to(self.recurrent.dtype)
            y, hidden, cell = torch.lstm(wide, carried, matrices, True, 1, 0.0, self.training, False, True)
        return y, LSTMState(hidden[0], cell[0])

    def _cell(self, x: Tensor, state: LSTMState) -> LSTMState:
        """One position: ``[B, in_dim]``."""
        gates = self.input(x) + state.hidden @ self.recurrent.t()  # [B, 4·width]
        i, f, g, o = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(f) * state.cell + torch.sigmoid(i) * torch.tanh(g)
        return LSTMState(torch.sigmoid(o) * torch.tanh(cell), cell)
