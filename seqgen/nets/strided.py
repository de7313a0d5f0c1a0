"""Strided causal convolutions, which make one position of several."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.nets.layers import CausalConv1d
from seqgen.nets.normalization import LayerNormalization
from seqgen.stream.combinators import Serial
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable

States = tuple[Tensor, ...]


class StridedConvolutions(Streamable[States]):
    """Strided causal convolutions, each followed by a normalization over channels, where there is one, and ReLU.

    Shapes: ``[B, T, in_dim] → [B, T/Π strides, channels]``, blocks in whole frames; the state is the inputs of each
    convolution that its next output sees again.
    """

    def __init__(
        self, in_dim: int, channels: int, kernels: tuple[int, ...], strides: tuple[int, ...], *, normalized: bool
    ) -> None:
        super().__init__()
        widths = [in_dim, *[channels] * len(kernels)]
        convolutions = [
            CausalConv1d(before, after, kernel=kernel, stride=stride)
            for (before, after), kernel, stride in zip(pairwise(widths), kernels, strides, strict=True)
        ]
        self.convolutions = nn.ModuleList(convolutions)
        # Statistics of a position alone: those of a batch or of a recording would tell of what is to be predicted.
        self.norms = nn.ModuleList(LayerNormalization(channels) if normalized else nn.Identity() for _ in kernels)
        self.spec = Serial(*convolutions).spec

    def init_state(self, batch: int, memory: Any = None) -> States:
        return tuple(convolution.init_state(batch) for convolution in self._convolutions())

    def step(self, x: Tensor, state: States, cond: Conditioning | None = None) -> tuple[Tensor, States]:
        if x.shape[1] % self.spec.down:
            raise SeqgenError(
                f"strided convolutions: got a block of {x.shape[1]} inputs",
                remedy=f"give a multiple of {self.spec.down}",
            )
        after = []
        for convolution, norm, before in zip(self._convolutions(), self.norms, state, strict=True):
            x, last = convolution.step(x, before)  # [B, T/Π strides so far, channels]
            x = torch.relu(norm(x))
            after.append(last)
        return x, tuple(after)

    def _convolutions(self) -> list[CausalConv1d]:
        return list(self.convolutions)  # type: ignore[arg-type]
