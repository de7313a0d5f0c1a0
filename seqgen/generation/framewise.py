"""Framewise density: the elements of a frame are independent given the vector that the frame is conditioned on."""

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


class Framewise(Density):
    """Density of sequences ``p(x | c) = Π_n Π_d p(x_nd; params_d(c_n))``, the parameters a perceptron of one vector of
    c and a linear map of it, which are added up.

    Shapes: frames ``[B, F, M]`` of D elements each → params ``[B, F·D, num_params]``; x ``[B, T]``, or ``[B, T, 1]``,
    of at most F·D elements → ``[B, T]``.

    Raises:
        SeqgenError: for sizes that make no network, and for frames that are missing or too few.
    """

    @dataclass(frozen=True)
    class Config:
        """``hidden``: widths of the hidden layers. ``activation``: behind each of them. ``distribution``: of an
        element."""

        hidden: tuple[int, ...] = (40, 40)
        activation: Nonlinearity = "tanh"
        distribution: Component = field(default_factory=lambda: Component("gaussian"))

    @classmethod
    def examples(cls) -> Iterator[DensityExample]:
        generator = torch.Generator().manual_seed(0)
        options = cls.Config(hidden=(5,), distribution=Component("categorical", {"classes": 3}))
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
        elements = spec.hop * facts.symbols_per_sample
        widths = [spec.channels + facts.num_speakers, *options.hidden, elements * distribution.num_params]
        if min(widths) < 1:
            raise SeqgenError(f"{source}: a density of {options}", remedy="give 1 or more of everything")
        inner = hidden_layers(widths[:-1], options.activation)
        made = cls(
            nn.Sequential(*inner, nn.Linear(*widths[-2:])),
            nn.Linear(widths[0], widths[-1], bias=False),
            distribution,
            elements=elements,
            speakers=facts.num_speakers,
        )
        made.symbols_per_sample = facts.symbols_per_sample
        return made

    def __init__(
        self, network: nn.Module, linear: nn.Module, distribution: Distribution, *, elements: int, speakers: int = 0
    ) -> None:
        super().__init__()
        self.network, self.linear, self.distribution = network, linear, distribution
        self.elements, self.speakers = elements, speakers
        self.vocab_size = distribution.vocab_size

    @property
    def num_uniforms(self) -> int:
        return self.distribution.num_uniforms

    def distributions(self, cond: Frames) -> Tensor:
        """Parameters of every element's distribution, ``[B, F·D, num_params]``."""
        frames = with_speaker(cond.features, cond.speaker, self.speakers)  # [B, F, M + speakers]
        made = self.network(frames) + self.linear(frames)  # [B, F, D·num_params]
        params: Tensor = made.unflatten(-1, (self.elements, self.distribution.num_params)).flatten(1, 2)
        return params

    def log_prob(self, x: Tensor, cond: Frames | None = None) -> Tensor:
        values = x[..., 0] if x.dim() == 3 else x
        return self.distribution.log_prob(self._params(cond, values.shape[1]), values)

    def sample(self, u: Tensor, cond: Frames | None = None, temperature: Tensor | float = 1.0) -> Tensor:
        return self.distribution.sample(self._params(cond, u.shape[1]), u, temperature)

    def _params(self, cond: Frames | None, elements: int) -> Tensor:
        if cond is None or cond.features.shape[1] * self.elements < elements:
            given = 0 if cond is None else cond.features.shape[1]
            raise SeqgenError(
                f"{given} frames of {self.elements} elements for a sequence of {elements}",
                remedy="give a frame for all",
            )
        return self.distributions(cond)[:, :elements]
