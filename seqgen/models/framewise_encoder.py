"""Framewise encoder: a perceptron over every frame of real numbers by itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.encoder import Encoder, inside
from seqgen.nets.hidden_layers import Nonlinearity, hidden_layers


class FramewiseEncoder(Encoder):
    """Encoder that reads a sequence of real numbers in frames of D, each by itself, and sees its own input beside the
    last hidden layer, so that what is linear in a column has a linear path from the frame.

        column_n = (φ(W_k … φ(W_1 x_n + b_1) … + b_k), x_n)

    Shapes: reals ``[B, T, 1]``, lengths ``[B]`` → ``[B, ⌈T / D⌉, hidden[-1] + D]``; a frame that is not full has zeros
    behind.

    Raises:
        SeqgenError: for sizes that make no network.

    Example:
        >>> FramewiseEncoder(FramewiseEncoder.Config(frame=2)).out_dim
        42
    """

    @dataclass(frozen=True)
    class Config:
        """``frame``: D, numbers of a frame. ``hidden``: widths of the hidden layers. ``activation``: φ."""

        frame: int
        hidden: tuple[int, ...] = (40, 40)
        activation: Nonlinearity = "tanh"

    @classmethod
    def examples(cls) -> Iterable[FramewiseEncoder]:
        return [cls(cls.Config(frame=3, hidden=(5, 4))), cls(cls.Config(frame=1, hidden=(4,), activation="relu"))]

    def __init__(self, config: Config) -> None:
        widths = [config.frame, *config.hidden]
        if min(widths) < 1 or not config.hidden:
            raise SeqgenError(f"framewise encoder: got {config}", remedy="give 1 or more of everything")
        super().__init__(vocab_size=0, out_dim=widths[-1] + config.frame, down=config.frame)
        self.layers = hidden_layers(widths, config.activation)

    def columns(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        count = symbols.shape[1]
        real = symbols[..., 0] * inside(lengths, count)  # [B, T]
        frames = nn.functional.pad(real, (0, -count % self.down)).unflatten(1, (-1, self.down))  # [B, N, D]
        made = torch.cat([self.layers(frames), frames], dim=-1)
        return made * inside(-(-lengths // self.down), made.shape[1])[..., None]  # [B, N, hidden[-1] + D]
