"""Generation from noise: a flow that makes all samples of a stretch at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seqgen import config, registry
from seqgen.config import Component
from seqgen.flows.affine import AffineStream, Composed, logistic, logistic_log_density
from seqgen.generation import examples
from seqgen.generation.autoregressive import conditioner
from seqgen.generation.contract import DensityExample, Generator, GeneratorState
from seqgen.generation.gain import GainFlow
from seqgen.spec import Facts
from seqgen.stream.conditioning import Conditioning, Frames, written_out
from seqgen.stream.contract import Streamable


class Parallel(Generator):
    """Density of a flow from logistic noise, which makes all samples of a stretch at once, ``x = flow(τ · logistic(u) |
    features)``.

    What the body reads are the elements of the noise, not the samples that it makes, so nothing is fed back; the
    distributions that :meth:`step` gives are ``p(x_t | z_<t) = Logistic(mean, e^log_scale)``, as ``[B, T, 2]``. The
    temperature τ scales the noise. Samples are held in [-1, 1].

    Source: arXiv 1711.10433, section 3.
    """

    body: AffineStream[Any]
    block = 4096

    @dataclass(frozen=True)
    class Config:
        """Options of a parallel density.

        Attributes:
            flow: registered flow. conditioner: network from frames to conditioning vectors, where it takes any.
            gain_normalized: whether the last flow multiplies by a gain that the features tell.
        """

        flow: Component
        conditioner: Component = field(default_factory=lambda: Component("frames"))
        gain_normalized: bool = False

    @classmethod
    def examples(cls) -> Iterator[DensityExample]:
        for gained in (False, True):
            for flow in examples.networks(registry.FLOWS):
                if isinstance(flow, AffineStream):
                    facts = examples.facts(flow.spec)
                    inner = Composed([flow, GainFlow()]) if gained else flow
                    net = conditioner(examples.CONDITIONER, inner, facts, source="example")
                    yield examples.scored(cls(inner, net, speakers=facts.num_speakers))

    @classmethod
    def build(cls, options: Config, facts: Facts, *, source: str = "config") -> Parallel:
        """Construct flow and conditioning network for what the facts tell of the data."""
        flow: AffineStream[Any] = config.construct(options.flow, registry.FLOWS, source=source)
        flow = Composed([flow, GainFlow()]) if options.gain_normalized else flow
        return cls(flow, conditioner(options.conditioner, flow, facts, source=source), speakers=facts.num_speakers)

    def __init__(self, body: AffineStream[Any], conditioner: Streamable[Any] | None, *, speakers: int = 0) -> None:
        super().__init__(body, conditioner, symbols_per_sample=1, speakers=speakers)

    def log_prob(self, x: Tensor, cond: Frames | None = None) -> Tensor:
        """``ln p(x_t | x_<t, features)`` of samples ``[B, T, 1]``, ``[B, T]`` in nats: of the noise that led to them.

        The noise is found sample by sample, which is slow: a flow that makes samples quickly reads them slowly.
        """
        vectors = self.condition(cond, x.shape[1])
        samples = x if x.dim() == 3 else x[..., None]
        z, log_det = self.body.inverse_and_log_det(samples, None if vectors is None else written_out(vectors))
        return logistic_log_density(z[..., 0], z.new_zeros(()), z.new_zeros(())) + log_det

    @property
    def num_uniforms(self) -> int:
        return 1

    @property
    def num_params(self) -> int:
        return 2

    def init_state(self, batch: int, memory: Any = None) -> GeneratorState:
        conditioner = self.conditioner.init_state(batch) if self.conditioner is not None else ()
        return GeneratorState(conditioner, (), self.body.init_state(batch, memory))

    def elements(self, u: Tensor, values: Tensor) -> Tensor:
        return logistic(u)[..., 0]

    def judge(self, params: Tensor, reference: Tensor, elements: Tensor) -> dict[str, Tensor]:
        """``E_z[ln p(x_t | z_<t) - ln q(x_t | z_<t)]`` for the samples x that the reference p makes of the noise z."""
        p, q = reference.double(), params.double()
        x = reference[..., 0] + reference[..., 1].exp() * elements
        full, quick = (logistic_log_density(x, each[..., 0], each[..., 1]) for each in (p, q))
        return {"divergence": full - quick}

    def _leaves_products(self) -> bool:
        return True  # the layers of all flows take thousands of channels

    def step(self, x: Tensor, state: GeneratorState, features: Tensor | None) -> tuple[Tensor, GeneratorState]:
        return self._in_stretches(self.affine_params, x if x.dim() == 3 else x[..., None], state, features)

    def generate(
        self, u: Tensor, state: GeneratorState, features: Tensor | None, temperature: Tensor | float = 1.0
    ) -> tuple[Tensor, GeneratorState]:
        def draw(u: Tensor, state: Any, cond: Conditioning | None) -> tuple[Tensor, Any]:
            return self.draw(u, state, cond, temperature)

        return self._in_stretches(draw, u, state, features)

    def affine_params(self, z: Tensor, state: Any, cond: Conditioning | None) -> tuple[Tensor, Any]:
        """Means and log-scales of the samples that follow given noise, ``[B, T, 1] → [B, T, 2]``; the body's state."""
        made, state = self.body.affine(z, state, cond)
        return torch.cat(made, dim=-1), state

    def draw(self, u: Tensor, state: Any, cond: Conditioning | None, temperature: Tensor | float) -> tuple[Tensor, Any]:
        """Samples from uniforms, ``[B, T, 1] → [B, T]``; the body's state."""
        x, state = self.body.step(temperature * logistic(u), state, cond)
        return x[..., 0].clamp(-1, 1), state

    def _in_stretches(
        self,
        run: Callable[[Tensor, Any, Conditioning | None], tuple[Tensor, Any]],
        given: Tensor,
        state: GeneratorState,
        features: Tensor | None,
    ) -> tuple[Tensor, GeneratorState]:
        """``run`` over a block, stretch by stretch."""
        conditioner, body, made = state.conditioner, state.body, []
        for start, stop, first, last in self._stretches(given.shape[1], features):
            frames = None if features is None else features[:, first:last]
            cond, conditioner = self._stream_conditioning(frames, conditioner, stop - start)
            part, body = run(given[:, start:stop], body, cond)
            made.append(part)
        return torch.cat(made, dim=1), GeneratorState(conditioner, (), body)

    def _stretches(self, samples: int, features: Tensor | None) -> Iterator[tuple[int, int, int, int]]:
        """First and last sample, first and last frame of each stretch of a block."""
        net = self.conditioner
        if net is None or features is None:
            for start in range(0, max(samples, 1), self.block):
                yield start, min(start + self.block, samples), 0, 0
            return
        up, frames = net.spec.up, features.shape[1]
        self.alignment.require_fit(frames, samples)
        ahead, block = frames * up - samples, max(1, self.block // up)
        for first in range(0, max(frames, 1), block):
            last = min(first + block, frames)
            yield max(0, first * up - ahead), max(0, last * up - ahead), first, last
