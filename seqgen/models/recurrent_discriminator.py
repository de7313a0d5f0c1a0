"""Recurrent sequence discriminator: gated recurrent layers that read both ways, and a perceptron.

    column_t = [→h_t; ←h_t],    logit = MLP([1/T Σ_t column_t; →h_T; ←h_1])

Source: Lamb et al., arXiv 1610.09038 (a bidirectional recurrent network, then a perceptron of
three layers); that the perceptron reads the mean and the last states is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.critic import perceptron
from seqgen.models.discriminator import SequenceDiscriminator
from seqgen.models.encoder import inside
from seqgen.nets.bidirectional import at, both_ways
from seqgen.nets.gru import GRU


class RecurrentDiscriminator(SequenceDiscriminator):
    """Discriminator of gated recurrent layers that read both ways, each layer both directions of the one below.

    Shapes: ``[B, T, in_dim]``, lengths ``[B]`` → ``[B]``.

    Raises:
        SeqgenError: for sizes that make no network.

    Example:
        >>> judge = RecurrentDiscriminator(RecurrentDiscriminator.Config(in_dim=5, hidden=8))
        >>> judge(torch.zeros(2, 7, 5), torch.tensor([7, 3])).shape
        torch.Size([2])
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the discriminator.

        Attributes:
            in_dim: channels of a vector. hidden: width of each direction. layers: of each direction.
            perceptron: width of the perceptron's two hidden layers.
        """

        in_dim: int
        hidden: int = 32
        layers: int = 1
        perceptron: int = 64

    @classmethod
    def examples(cls) -> Iterable[RecurrentDiscriminator]:
        return [cls(cls.Config(in_dim=3, hidden=4, layers=layers, perceptron=6)) for layers in (1, 2)]

    def __init__(self, config: Config) -> None:
        for name, value in vars(config).items():
            if value < 1:
                raise SeqgenError(f"recurrent discriminator: {name} is {value}", remedy="give 1 or more")
        super().__init__(in_dim=config.in_dim)
        widths = [config.in_dim, *[2 * config.hidden] * (config.layers - 1)]
        self.onward = nn.ModuleList(GRU(width, config.hidden) for width in widths)
        self.homeward = nn.ModuleList(GRU(width, config.hidden) for width in widths)
        self.head = perceptron(4 * config.hidden, 1, hidden=config.perceptron, layers=2)

    def logits(self, x: Tensor, lengths: Tensor) -> Tensor:
        real, h = inside(lengths, x.shape[1]), x
        for onward, homeward in zip(self.onward, self.homeward, strict=True):
            h = both_ways(onward, homeward, h, real)  # [B, T, 2·hidden]
        mean = h.sum(dim=1) / lengths.clamp_min(1)[:, None]  # [B, 2·hidden]
        last, first = at(h, (lengths - 1).clamp_min(0)[:, None])[:, 0], h[:, 0]
        half = last.shape[1] // 2
        made: Tensor = self.head(torch.cat([mean, last[:, :half], first[:, half:]], dim=1))  # [B, 1]
        return made[:, 0]
