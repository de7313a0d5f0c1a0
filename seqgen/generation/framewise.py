"""Framewise density: the elements of a frame are independent given the vector that the frame is conditioned on, or
given which of some components the frame is of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen import config, registry
from seqgen.config import Component
from seqgen.distributions.contract import Distribution, full
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density, DensityExample
from seqgen.models.frames import with_speaker
from seqgen.models.repeated_frames import require_frames
from seqgen.nets.hidden_layers import Nonlinearity, hidden_layers
from seqgen.spec import Facts, FrameSpec
from seqgen.stream.conditioning import Frames

_COLDEST = 1e-3  # temperature at which nothing but the likeliest component is drawn


class Framewise(Density):
    """Density of sequences ``p(x | c) = Π_n Π_d p(x_nd; params_d(c_n))``, the parameters a perceptron of one vector of
    c and a linear map of it, which are added up.

    With K components a frame is of one of them as a whole, ``p(x_n | c_n) = Σ_k π_k(c_n) Π_d p(x_nd; params_kd(c_n))``,
    so that its elements go together; an element is scored given those before it in its frame. Below a temperature of 1
    likelier components are drawn more often than they are due.

    Shapes: frames ``[B, F, M]`` of D elements each → params ``[B, F·D, num_params]``; x ``[B, T]``, or ``[B, T, 1]``,
    of at most F·D elements → ``[B, T]``.

    Raises:
        SeqgenError: for sizes that make no network, and for frames that are missing or too few.
    """

    @dataclass(frozen=True)
    class Config:
        """``hidden``: widths of the hidden layers. ``activation``: behind each of them. ``distribution``: of an
        element. ``components``: K."""

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
        elements = spec.hop * facts.symbols_per_sample
        many = options.components
        outputs = many * elements * distribution.num_params + (many if many > 1 else 0)
        widths = [spec.channels + facts.num_speakers, *options.hidden, outputs]
        if min(widths) < 1:
            raise SeqgenError(f"{source}: a density of {options}", remedy="give 1 or more of everything")
        inner = hidden_layers(widths[:-1], options.activation)
        made = cls(
            nn.Sequential(*inner, nn.Linear(*widths[-2:])),
            nn.Linear(widths[0], widths[-1], bias=False),
            distribution,
            elements=elements,
            speakers=facts.num_speakers,
            components=many,
        )
        made.symbols_per_sample = facts.symbols_per_sample
        return made

    def __init__(
        self,
        network: nn.Module,
        linear: nn.Module,
        distribution: Distribution,
        *,
        elements: int,
        speakers: int = 0,
        components: int = 1,
    ) -> None:
        super().__init__()
        self.network, self.linear, self.distribution = network, linear, distribution
        self.elements, self.speakers, self.components = elements, speakers, components
        self.vocab_size = distribution.vocab_size

    @property
    def num_uniforms(self) -> int:
        return self.distribution.num_uniforms + (self.components > 1)

    def distributions(self, cond: Frames) -> Tensor:
        """Parameters of every element's distribution, ``[B, F·D, num_params]``; of one component.

        Raises:
            SeqgenError: for a mixture, whose elements have no distribution by themselves.
        """
        if self.components > 1:
            raise SeqgenError(
                f"elements of frames of {self.components} components have no distributions of their own",
                remedy="set components to 1",
            )
        return self._made(cond).unflatten(-1, (self.elements, -1)).flatten(1, 2)

    def log_prob(self, x: Tensor, cond: Frames | None = None) -> Tensor:
        values = x[..., 0] if x.dim() == 3 else x
        given = self._given(cond, values.shape[1])
        if self.components == 1:
            return self.distribution.log_prob(self.distributions(given)[:, : values.shape[1]], values)
        log_shares, params = self._mixture(given)  # [B, F, K], [B, F, K, D, num_params]
        frames = F.pad(values, (0, params.shape[1] * self.elements - values.shape[1])).unflatten(1, (-1, self.elements))
        each = self.distribution.log_prob(params, frames[:, :, None].expand(params.shape[:-1]))  # [B, F, K, D]
        so_far = torch.logsumexp(log_shares[..., None] + each.cumsum(dim=-1), dim=2)  # [B, F, D]
        return torch.diff(so_far, dim=-1, prepend=torch.zeros_like(so_far[..., :1])).flatten(1)[:, : values.shape[1]]

    def sample(self, u: Tensor, cond: Frames | None = None, temperature: Tensor | float = 1.0) -> Tensor:
        count = u.shape[1]
        given = self._given(cond, count)
        if self.components == 1:
            return self.distribution.sample(self.distributions(given)[:, :count], u, temperature)
        log_shares, params = self._mixture(given)
        frames = F.pad(u, (0, 0, 0, params.shape[1] * self.elements - count)).unflatten(1, (-1, self.elements))
        warmth = torch.as_tensor(temperature).clamp_min(_COLDEST)  # one, or [B, 1]
        shares = torch.softmax(log_shares / (warmth if warmth.dim() == 0 else warmth[..., None]), dim=-1)
        below = shares.cumsum(dim=-1)[..., :-1]  # [B, F, K - 1]
        chosen = (frames[:, :, 0, :1] >= below).sum(dim=-1)  # [B, F], by the first uniform of a frame
        own = params.gather(2, chosen[..., None, None, None].expand(-1, -1, 1, *params.shape[3:]))[:, :, 0]
        return self.distribution.sample(own, frames[..., 1:], temperature).flatten(1)[:, :count]

    def _mixture(self, cond: Frames) -> tuple[Tensor, Tensor]:
        """Logarithms of the components' shares, ``[B, F, K]``, and parameters, ``[B, F, K, D, num_params]``."""
        made = self._made(cond)
        shares, params = made[..., : self.components], made[..., self.components :]
        sizes = (self.components, self.elements, self.distribution.num_params)
        return torch.log_softmax(full(shares), dim=-1), params.unflatten(-1, sizes)

    def _made(self, cond: Frames) -> Tensor:
        """Outputs of the network, ``[B, F, outputs]``."""
        frames = with_speaker(cond.features, cond.speaker, self.speakers)  # [B, F, M + speakers]
        outputs: Tensor = self.network(frames) + self.linear(frames)
        return outputs

    def _given(self, cond: Frames | None, elements: int) -> Frames:
        if cond is None or cond.features.shape[1] * self.elements < elements:
            given = 0 if cond is None else cond.features.shape[1]
            raise SeqgenError(
                f"{given} frames of {self.elements} elements for a sequence of {elements}",
                remedy="give a frame for all",
            )
        return cond
