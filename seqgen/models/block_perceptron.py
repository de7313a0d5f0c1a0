"""Block perceptron: a perceptron over whole blocks, pictures say, which makes a few columns of all their elements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.encoder import Encoder, inside
from seqgen.nets.hidden_layers import Nonlinearity, hidden_layers


class BlockPerceptron(Encoder):
    """Encoder that is a perceptron from all elements of a block to ``positions`` columns, its last hidden layer shared
    out between them.

        h = φ(W_n … φ(W_1 x + b_1) … + b_n),    columns = h in ``positions`` equal parts

    Symbols are read as one-hots of K - 1 numbers (of two symbols one number, 0 or 1), reals as they are; padding as
    zeros.

    Shapes: int64 ``[B, T]``, or reals ``[B, T, 1]``, T at most ``length``, lengths ``[B]`` → ``[B, ⌈T / down⌉,
    channels]``, with ``down = length / positions`` and ``channels = hidden[-1] / positions``.

    Raises:
        SeqgenError: for sizes that make no network, or a block that is longer than the encoder.

    Example:
        >>> BlockPerceptron(BlockPerceptron.Config(vocab_size=2, length=784, hidden=(200, 200))).out_dim
        200
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the encoder.

        Attributes:
            vocab_size: of the elements; 0 where they are real numbers. length: elements of a block.
            positions: columns of a whole block. hidden: widths of the hidden layers (none: columns are linear in the
                block). activation: φ.
        """

        vocab_size: int
        length: int
        positions: int = 1
        hidden: tuple[int, ...] = (200, 200)
        activation: Nonlinearity = "tanh"

    @classmethod
    def examples(cls) -> Iterable[BlockPerceptron]:
        return [
            cls(cls.Config(vocab_size=5, length=12, hidden=(6,))),
            cls(cls.Config(vocab_size=2, length=12, positions=3, hidden=(7, 6), activation="relu")),
            cls(cls.Config(vocab_size=0, length=14, positions=2, hidden=())),
        ]

    def __init__(self, config: Config) -> None:
        numbers = max(config.vocab_size - 1, 1) * config.length
        widths = [numbers, *config.hidden]
        fits = config.positions >= 1 and config.length % config.positions == 0
        if config.vocab_size < 0 or config.vocab_size == 1 or min(widths) < 1 or not fits:
            raise SeqgenError(
                f"a block perceptron of {config}",
                remedy="give 1 or more of everything, a length that is a multiple of positions, and 2 or more symbols "
                "(0 for reals)",
            )
        if widths[-1] % config.positions:
            raise SeqgenError(
                f"a block perceptron of {config.positions} positions whose last layer has {widths[-1]} channels",
                remedy="make it a multiple of positions",
            )
        down = config.length // config.positions
        super().__init__(vocab_size=config.vocab_size, out_dim=widths[-1] // config.positions, down=down)
        self.length, self.positions = config.length, config.positions
        self.layers = hidden_layers(widths, config.activation)

    def columns(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        count = symbols.shape[1]
        if count > self.length:
            raise SeqgenError(
                f"a block of {count} elements, the encoder reads {self.length}", remedy=f"set length to {count}"
            )
        real = inside(lengths, count)[..., None]  # [B, T, 1]
        if self.vocab_size:
            others = torch.arange(1, self.vocab_size, device=symbols.device)
            x = (symbols[..., None] == others).to(self._dtype)  # [B, T, K - 1]
        else:
            x = symbols
        x = nn.functional.pad(x * real, (0, 0, 0, self.length - count)).flatten(1)
        made = self.layers(x).unflatten(1, (self.positions, self.out_dim))
        made = made[:, : -(-count // self.down)]
        return made * inside(-(-lengths // self.down), made.shape[1])[..., None]  # [B, N, channels]

    @property
    def _dtype(self) -> torch.dtype:
        first = next(self.parameters(), None)
        return torch.get_default_dtype() if first is None else first.dtype
