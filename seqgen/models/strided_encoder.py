"""Strided encoder: convolutions that make a column of each stretch of a sequence, its past, and a few columns ahead.

    h^0_t = read(x_t),    h^l_t = ReLU(N(W^l * h^{l-1})_t)    every stride_l inputs
    a^0 = h^L,    a^b = a^{b-1} + W₂ ReLU(W₁ * ReLU(a^{b-1})),    column_n = W * (a^B_{n-r} … a^B_{n+r})

Source: van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", arXiv 1711.00937, section 4.3
(six convolutions of stride 2 and width 4 over speech). There they are padded on both sides; here they see the past
alone, and r columns of what comes, so that the encoder streams. N and the residual blocks over columns are ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.models.encoder import StreamedEncoder
from seqgen.nets.layers import Activation, CausalConv1d, Dense, SymbolTable
from seqgen.nets.strided import StridedConvolutions
from seqgen.stream.combinators import Residual, Serial


class StridedEncoder(StreamedEncoder):
    """Encoder of long sequences, a column for every ``Π strides`` elements; what stands behind a row's end is zeros.

    Column n of its stream is complete ``look_ahead`` columns after its last element.

    Shapes: int64 ``[B, S]``, one-hots ``[B, S, K]`` or reals ``[B, S, 1]``, lengths ``[B]`` → ``[B, ⌈S / down⌉,
    channels]``.

    Raises:
        SeqgenError: for sizes that make no network.

    Source: arXiv 1711.00937, section 4.3; what is ours is said at the top of this file.

    Example:
        >>> StridedEncoder(StridedEncoder.Config(vocab_size=256)).down
        64
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the encoder.

        Attributes:
            vocab_size: of the sequence; 0 where it is real numbers.
            reading: of symbols, a learnt vector of ``channels`` each (``table``), or one number between -1 and 1 for
                symbols that are levels (``levels``).
            strides, kernels: of each convolution. channels: of each of them, and of a column.
            blocks: residual blocks over columns. look_ahead: r.
            normalization: ``layer``, over the channels of each position, or ``none``.
        """

        vocab_size: int
        reading: Literal["table", "levels"] = "levels"
        strides: tuple[int, ...] = (2, 2, 2, 2, 2, 2)
        kernels: tuple[int, ...] = (4, 4, 4, 4, 4, 4)
        channels: int = 128
        blocks: int = 0
        look_ahead: int = 1
        normalization: Literal["none", "layer"] = "none"

    @classmethod
    def examples(cls) -> Iterable[StridedEncoder]:
        sizes = cls.Config(vocab_size=5, strides=(2, 3), kernels=(4, 3), channels=4)
        return [
            cls(sizes),
            cls(replace(sizes, reading="table", blocks=2, look_ahead=0)),
            cls(replace(sizes, vocab_size=0, normalization="layer", look_ahead=2)),
        ]

    def __init__(self, config: Config) -> None:
        pairs = list(zip(config.kernels, config.strides, strict=False))
        uneven = not pairs or len(config.kernels) != len(config.strides)
        sizes = min(config.channels, config.blocks + 1, config.look_ahead + 1) < 1 or config.vocab_size in (-1, 1)
        if uneven or sizes or any(not 1 <= stride <= kernel for kernel, stride in pairs):
            raise SeqgenError(
                f"a strided encoder of {config}",
                remedy="give as many kernels as strides, no stride above its kernel, channels from 1, blocks and "
                "look_ahead from 0, and 2 or more symbols (0 for reals)",
            )
        channels = config.channels
        super().__init__(vocab_size=config.vocab_size, out_dim=channels, down=prod(config.strides))
        table = config.vocab_size > 0 and config.reading == "table"
        self.table = SymbolTable(config.vocab_size, channels) if table else None
        self.body = Serial(
            StridedConvolutions(
                channels if table else 1, channels, config.kernels, config.strides,
                normalized=config.normalization == "layer",
            ),
            *(_block(channels) for _ in range(config.blocks)),
            CausalConv1d(channels, channels, kernel=2 * config.look_ahead + 1, look_ahead=config.look_ahead),
        )  # fmt: skip

    def read(self, symbols: Tensor) -> Tensor:
        """What the convolutions take: ``[B, S] → [B, S, channels]`` or ``[B, S, 1]``."""
        if not self.vocab_size:
            return symbols
        if self.table is not None:
            made: Tensor = self.table(symbols)
            return made
        if symbols.is_floating_point():
            levels = torch.linspace(-1, 1, self.vocab_size, dtype=symbols.dtype, device=symbols.device)
            return symbols @ levels[:, None]
        dtype = next(self.parameters()).dtype
        return (symbols.to(dtype) * (2 / (self.vocab_size - 1)) - 1)[..., None]


def _block(channels: int) -> Residual:
    return Residual(
        Serial(
            Activation("relu", dim=channels),
            CausalConv1d(channels, channels, kernel=3),
            Activation("relu", dim=channels),
            Dense(channels, channels),
        )
    )
