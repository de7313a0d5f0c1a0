"""Leaf layers of causal networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "tanh": torch.tanh, "gelu": F.gelu}


class CausalConv1d(Streamable[Tensor]):
    """Causal convolution ``y_t = b + Σ_k W_k x_{t - (K-1-k)·dilation}``: zero padding on the left only.

    With ``look_ahead = n`` the output at position ``t`` answers input ``t - n``: a centred filter that waits, with
    declared latency ``n`` (``K // 2`` taps for a symmetric view of an odd kernel). With ``stride = s`` there is an
    output for every s inputs, ``y_t`` being the one that their last, ``x_{(t+1)·s - 1}``, would have.

    Shapes: ``[B, T, in_dim] → [B, T/stride, out_dim]``, blocks in whole strides; the state is the last
    ``(K-1)·dilation + 1 - stride`` inputs.

    Raises:
        SeqgenError: for a kernel or dilation below 1, a look-ahead beyond the receptive field, a stride that skips
            inputs or goes with a look-ahead, and for a block of no whole number of strides.
    """

    def __init__(
        self, in_dim: int, out_dim: int, *, kernel: int, dilation: int = 1, look_ahead: int = 0, stride: int = 1
    ) -> None:
        super().__init__()
        if kernel < 1 or dilation < 1 or not 0 <= look_ahead <= (kernel - 1) * dilation:
            raise SeqgenError(
                f"CausalConv1d: got kernel {kernel}, dilation {dilation}, look-ahead {look_ahead}",
                remedy="choose kernel, dilation >= 1 and 0 <= look_ahead <= (kernel - 1) * dilation",
            )
        context = (kernel - 1) * dilation + 1
        if not 1 <= stride <= context or (look_ahead and stride > 1):
            raise SeqgenError(
                f"CausalConv1d: got stride {stride} for a kernel that spans {context} inputs, look-ahead {look_ahead}",
                remedy=f"choose a stride from 1 to {context}, 1 with a look-ahead",
            )
        self.dilation, self.stride, self.left = dilation, stride, context - stride
        self.spec = StreamSpec(
            in_dim=in_dim, out_dim=out_dim, down=stride, latency=look_ahead, context=context, block=stride
        )
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim, kernel))
        self.bias = nn.Parameter(torch.zeros(out_dim))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        return self.zeros(batch, self.left, self.spec.in_dim)

    def step(self, x: Tensor, state: Tensor, cond: Conditioning | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[1] % self.stride:
            raise SeqgenError(
                f"CausalConv1d: got a block of {x.shape[1]} inputs", remedy=f"give a multiple of {self.stride}"
            )
        if x.shape[1] == 0:  # torch's convolution refuses what is shorter than its kernel
            return x.new_zeros(x.shape[0], 0, self.spec.out_dim), state
        line = torch.cat([state, x], dim=1)
        y = F.conv1d(line.transpose(1, 2), self.weight, self.bias, stride=self.stride, dilation=self.dilation)
        return y.transpose(1, 2), line[:, x.shape[1] :]


class Dense(Streamable[tuple[()]]):
    """Linear layer ``y_t = W x_t + b`` at every position. Shapes: ``[B, T, in_dim] → [B, T, out_dim]``."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=in_dim, out_dim=out_dim)
        self.linear = nn.Linear(in_dim, out_dim)

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()], cond: Conditioning | None = None) -> tuple[Tensor, tuple[()]]:
        return self.linear(x), ()


class Identity(Streamable[tuple[()]]):
    """Inputs passed on as they come. Shapes: ``[B, T, dim] → [B, T, dim]``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=dim, out_dim=dim)

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()], cond: Conditioning | None = None) -> tuple[Tensor, tuple[()]]:
        return x, ()


class Activation(Streamable[tuple[()]]):
    """A function of each value by itself: ``relu``, ``tanh`` or ``gelu``. Shapes: ``[B, T, dim] → [B, T, dim]``."""

    def __init__(self, kind: Literal["relu", "tanh", "gelu"], *, dim: int) -> None:
        super().__init__()
        self.function = ACTIVATIONS[kind]
        self.spec = StreamSpec(in_dim=dim, out_dim=dim)

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()], cond: Conditioning | None = None) -> tuple[Tensor, tuple[()]]:
        return self.function(x), ()


class SymbolTable(nn.Embedding):
    """Table of a learned vector for each symbol: int64 ``[…] → […, dim]``; one-hots ``[…, K]``, through which gradients
    pass, find the same vectors, and zeros, which are no symbol, a vector of zeros."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight if x.is_floating_point() else super().forward(x)


class Embedding(Streamable[tuple[()]]):
    """A learned vector for each symbol: int64 ``[B, T]``, or one-hots of them ``[B, T, K]``, ``→ [B, T, dim]``."""

    def __init__(self, vocab_size: int, dim: int) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=0, out_dim=dim, vocab_size=vocab_size)
        self.table = SymbolTable(vocab_size, dim)

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()], cond: Conditioning | None = None) -> tuple[Tensor, tuple[()]]:
        return self.table(x), ()
