"""Conditionally independent density: what it is conditioned on tells the distribution of every element by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from seqgen import config, registry
from seqgen.config import Component
from seqgen.distributions.contract import Distribution
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density, DensityExample
from seqgen.models.frames import with_speaker
from seqgen.models.repeated_frames import require_frames
from seqgen.nets.hidden_layers import Nonlinearity, hidden_layers
from seqgen.spec import Facts, FrameSpec
from seqgen.stream.conditioning import Frames


class ConditionallyIndependent(Density):
    """Density of blocks ``p(x | c) = Π_t p(x_t; params_t(c))``, the parameters a perceptron of all frames of c.

    Shapes: frames ``[B, F, M]`` of the F that a block has → params ``[B, T, num_params]``; x ``[B, T]``, or ``[B, T,
    1]``, → ``[B, T]``.

    Args:
        network: flat frames to flat parameters. distribution: of one element. length: T, elements of a block.
        frames: F. speakers: told apart by a one-hot behind each frame.

    Raises:
        SeqgenError: for sizes that make no network, for a block of another length, and for other frames.
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the density.

        Attributes:
            length: T, elements of a block. hidden: widths of the hidden layers. activation: behind each of them.
            distribution: of one element.
        """

        length: int
        hidden: tuple[int, ...] = (200, 200)
        activation: Nonlinearity = "tanh"
        distribution: Component = field(default_factory=lambda: Component("bernoulli"))

    @classmethod
    def examples(cls) -> Iterator[DensityExample]:
        generator = torch.Generator().manual_seed(0)
        options = cls.Config(length=4, hidden=(5,), distribution=Component("categorical", {"classes": 3}))
        density = cls.build(options, Facts(frames=FrameSpec(channels=2, hop=2), speakers=("ann", "bo")))
        cond = Frames(torch.randn(3, 2, 2, generator=generator), torch.tensor([0, 1, 0]))
        yield DensityExample(density, torch.randint(3, (3, 4), generator=generator), cond, torch.arange(3))

    @classmethod
    def build(cls, options: Config, facts: Facts, *, source: str = "config") -> ConditionallyIndependent:
        """Construct distribution and network for the frames and speakers of the data."""
        spec = require_frames(facts, "conditionally-independent")
        distribution: Distribution = config.construct(
            options.distribution, registry.DISTRIBUTIONS, source=f"{source}: distribution"
        )
        samples = options.length // facts.symbols_per_sample
        if options.length < 1 or min(options.hidden, default=1) < 1:
            raise SeqgenError(f"{source}: a density of {options}", remedy="give 1 or more of everything")
        frames = -(-samples // spec.hop)
        widths = [frames * (spec.channels + facts.num_speakers), *options.hidden]
        inner = hidden_layers(widths, options.activation)
        network = nn.Sequential(*inner, nn.Linear(widths[-1], options.length * distribution.num_params))
        made = cls(network, distribution, length=options.length, frames=frames, speakers=facts.num_speakers)
        made.symbols_per_sample = facts.symbols_per_sample
        return made

    def __init__(
        self, network: nn.Module, distribution: Distribution, *, length: int, frames: int, speakers: int = 0
    ) -> None:
        super().__init__()
        self.network, self.distribution = network, distribution
        self.length, self.frames, self.speakers = length, frames, speakers
        self.vocab_size = distribution.vocab_size

    @property
    def num_uniforms(self) -> int:
        return self.distribution.num_uniforms

    def distributions(self, cond: Frames) -> Tensor:
        """Parameters of every element's distribution, ``[B, T, num_params]``."""
        frames = with_speaker(cond.features, cond.speaker, self.speakers)  # [B, F, M + speakers]
        if frames.shape[1] != self.frames:
            raise SeqgenError(f"{frames.shape[1]} frames for a block that has {self.frames}", remedy="give as many")
        made: Tensor = self.network(frames.flatten(1))
        return made.unflatten(1, (self.length, self.distribution.num_params))

    def log_prob(self, x: Tensor, cond: Frames | None = None) -> Tensor:
        self.require_length(x.shape[1])
        values = x[..., 0] if x.dim() == 3 else x
        return self.distribution.log_prob(self.distributions(self._required(cond)), values)

    def sample(self, u: Tensor, cond: Frames | None = None, temperature: Tensor | float = 1.0) -> Tensor:
        self.require_length(u.shape[1])
        return self.distribution.sample(self.distributions(self._required(cond)), u, temperature)

    def _required(self, cond: Frames | None) -> Frames:
        if cond is None:
            raise SeqgenError("a density given frames got none", remedy="give frames, or choose another density")
        return cond
