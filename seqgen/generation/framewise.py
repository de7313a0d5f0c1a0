"""Framewise density: the elements of a frame are independent given the vector that the frame is conditioned on, or
given which of some components the frame is of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqgen import config, registry
from seqgen.config import Component
from seqgen.distributions.contract import Distribution
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density, DensityExample
from seqgen.generation.frame_numbers import FrameNumbers
from seqgen.models.frames import with_speaker
from seqgen.models.repeated_frames import require_frames
from seqgen.nets.hidden_layers import Nonlinearity
from seqgen.spec import Facts, FrameSpec
from seqgen.stream.conditioning import Frames


class Framewise(Density):
    """Density of sequences ``p(x | c) = Π_n p(x_n | c_n)`` of frames of D elements, each given one vector of c, by
    :class:`~seqgen.generation.frame_numbers.FrameNumbers`.

    Shapes: frames ``[B, F, M]`` of D elements each; x ``[B, T]``, or ``[B, T, 1]``, of at most F·D elements →
    ``[B, T]``.

    Raises:
        SeqgenError: for sizes that make no network, and for frames that are missing or too few.
    """

    @dataclass(frozen=True)
    class Config:
        """``hidden``: widths of the hidden layers. ``activation``: behind each of them. ``distribution``: of an
        element. ``components``: of a frame."""

        hidden: tuple[int, ...] = (40, 40)
        activation: Nonlinearity = "tanh"
        distribution: Component = field(default_factory=lambda: Component("gaussian"))
        components: int = 1

    @classmethod
    def examples(cls) -> Iterator[DensityExample]:
        generator = torch.Generator().manual_seed(0)
        for components in (1, 2):
            options = cls.Config((5,), distribution=Component("categorical", {"classes": 3}), components=components)
            density = cls.build(options, Facts(frames=FrameSpec(channels=2, hop=2), speakers=("ann", "bo")))
            cond = Frames(torch.randn(3, 2, 2, generator=generator), torch.tensor([0, 1, 0]))
            yield DensityExample(density, torch.randint(3, (3, 4), generator=generator), cond, torch.arange(3))

    @classmethod
    def build(cls, options: Config, facts: Facts, *, source: str = "config") -> Framewise:
        """Construct distribution and network for the frames and speakers of the data."""
        spec = require_frames(facts, "framewise")
        distribution: Distribution = config.construct(
            options.distribution, registry.DISTRIBUTIONS, source=f"{source}: distribution"
        )
        numbers = FrameNumbers(
            spec.channels + facts.num_speakers,
            options.hidden,
            options.activation,
            distribution,
            elements=spec.hop * facts.symbols_per_sample,
            components=options.components,
        )
        made = cls(numbers, speakers=facts.num_speakers)
        made.symbols_per_sample = facts.symbols_per_sample
        return made

    def __init__(self, numbers: FrameNumbers, *, speakers: int = 0) -> None:
        super().__init__()
        self.numbers, self.speakers = numbers, speakers
        self.distribution, self.elements = numbers.distribution, numbers.elements
        self.vocab_size = numbers.distribution.vocab_size

    @property
    def num_uniforms(self) -> int:
        return self.numbers.num_uniforms

    def distributions(self, cond: Frames) -> Tensor:
        """Parameters of every element's distribution, ``[B, F·D, num_params]``; of one component."""
        return self.numbers.params(self._vectors(cond, 0))

    def log_prob(self, x: Tensor, cond: Frames | None = None) -> Tensor:
        values = x[..., 0] if x.dim() == 3 else x
        return self.numbers.log_prob(values, self._vectors(cond, values.shape[1]))

    def sample(self, u: Tensor, cond: Frames | None = None, temperature: Tensor | float = 1.0) -> Tensor:
        return self.numbers.sample(u, self._vectors(cond, u.shape[1]), temperature)

    def _vectors(self, cond: Frames | None, elements: int) -> Tensor:
        """Vectors of frames, their speakers' one-hots behind them, ``[B, F, M + speakers]``."""
        if cond is None or cond.features.shape[1] * self.elements < elements:
            given = 0 if cond is None else cond.features.shape[1]
            raise SeqgenError(
                f"{given} frames of {self.elements} elements for a sequence of {elements}",
                remedy="give a frame for all",
            )
        return with_speaker(cond.features, cond.speaker, self.speakers)
