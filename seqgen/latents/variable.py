"""Latent-variable models: an encoder, a family of posteriors, a prior over codes and a density given a code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from seqgen import config, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density, Generator
from seqgen.latents import examples
from seqgen.latents.contract import Posterior, Prior, Setting
from seqgen.models.encoder import Encoder, inside
from seqgen.noise import Key
from seqgen.spec import Facts, FrameSpec
from seqgen.stream.conditioning import Frames


class LatentVariable(nn.Module):
    """Latent-variable model ``p(x) = Σ_z p(z) p(x | z)`` with an encoder for its inference.

        columns = encoder(x),    params = W columns + b,    z ~ posterior(params)
        p(x | z) = decoder(x, cond = z),    p(z) = prior

    A code has N positions, one for every ``encoder.down`` elements of x (the last one for what is left). The decoder is
    any density that takes frames: position n of the code, as the posterior makes a frame of it, is that of elements
    ``n·down … (n+1)·down - 1``, beside the one-hot of the speaker where there are several.

    Args:
        encoder: elements to columns. posterior: family of q(z | x). prior: p(z). decoder: p(x | z).
        speakers: voices told apart by a one-hot behind the code; 0 for one voice.

    Raises:
        SeqgenError: for parts that do not fit each other.

    Source: Kingma and Welling, "Auto-encoding variational Bayes", arXiv 1312.6114.
    """

    @dataclass(frozen=True)
    class Config:
        """Parts of the model, registered ones: ``encoder`` among the models, ``posterior``, ``prior``, and ``decoder``
        among the densities."""

        encoder: Component
        posterior: Component
        prior: Component
        decoder: Component

    @classmethod
    def examples(cls) -> Iterator[LatentVariable]:
        """Small models, one for each registered family of posteriors."""
        yield from examples.models(cls)

    @classmethod
    def build(cls, options: Config, facts: Facts, *, source: str = "config") -> LatentVariable:
        """Construct the parts for what the facts tell of the data."""
        encoder: Encoder = config.construct(options.encoder, registry.MODELS, source=f"{source}: encoder")
        posterior: Posterior = config.construct(options.posterior, registry.POSTERIORS, source=f"{source}: posterior")
        given = config.options(options.prior, registry.PRIORS, source=f"{source}: prior")
        prior = registry.PRIORS.load(options.prior.name).build(given, dim=posterior.dim, examples=facts.examples)
        if options.decoder.name not in registry.DENSITIES:
            raise registry.unknown("density", options.decoder.name, list(registry.DENSITIES), f"{source}: decoder")
        if not isinstance(encoder, Encoder):
            raise SeqgenError(
                f"{source}: encoder '{options.encoder.name}' gives no columns of a whole sequence",
                remedy="choose an encoder",
            )
        facts = replace(facts, features=None, frames=cls.frame_spec(encoder, posterior, facts.symbols_per_sample))
        kind = registry.DENSITIES.load(options.decoder.name)
        inner = config.options(options.decoder, registry.DENSITIES, source=f"{source}: decoder")
        decoder = kind.build(inner, facts, source=f"{source}: decoder")
        return cls(encoder, posterior, prior, decoder, speakers=facts.num_speakers)

    @staticmethod
    def frame_spec(encoder: Encoder, posterior: Posterior, symbols_per_sample: int) -> FrameSpec:
        """Positions of a code as the frames that a decoder is conditioned on.

        Raises:
            SeqgenError: for positions that are no whole number of samples.
        """
        hop, rest = divmod(encoder.down, symbols_per_sample)
        if rest:
            raise SeqgenError(
                f"a position of the code stands for {encoder.down} elements, a sample has {symbols_per_sample}",
                remedy=f"give an encoder whose stride is a multiple of {symbols_per_sample}",
            )
        return FrameSpec(channels=posterior.channels, hop=hop)

    def __init__(
        self, encoder: Encoder, posterior: Posterior, prior: Prior, decoder: Density, *, speakers: int = 0
    ) -> None:
        super().__init__()
        if posterior.conjugate != prior.conjugate:
            raise SeqgenError(
                f"{type(posterior).__name__} under {type(prior).__name__}: one infers codes as the other does not",
                remedy="choose recognition potentials with a conjugate prior, and another posterior without",
            )
        self.encoder, self.posterior, self.prior, self.decoder = encoder, posterior, prior, decoder
        self.head = nn.Linear(encoder.out_dim, posterior.num_params)
        self.speakers = speakers

    def encoded(self, batch: Any, rng: Key | None = None) -> tuple[Tensor, Setting]:
        """Outputs for each position ``[B, N, num_params]``, and the setting that the posterior is looked at in; the key
        is that of what the prior draws while training."""
        columns = self.encoder(batch.x, batch.lengths)  # [B, N, out_dim]
        params = self.head(columns)  # [B, N, num_params]
        real = inside(self.positions(batch.lengths), params.shape[1])  # [B, N]
        setting = Setting(self.prior, None, real)
        setting = setting._replace(inferred=self.posterior.infer(params, setting))
        with torch.no_grad():
            code = self.posterior.code(params.detach(), setting)
        return params, setting._replace(given=self.prior.given(code, numbers(batch), rng))

    def positions(self, elements: Any) -> Any:
        """Positions of a code, for so many elements."""
        return -(-elements // self.encoder.down)

    def log_likelihood(self, batch: Any, z: Tensor, frames: Tensor | None = None) -> Tensor:
        """``ln p(x_t | x_<t, z)`` of every element of a batch, padding included: ``z [S, B, N, dim] → [S, B, T]``
        nats; ``frames [S, B, N, channels]`` are those of z, where gradients pass through them another way."""
        samples = len(z)
        frames = self.posterior.frames(z) if frames is None else frames
        x = batch.x.repeat(samples, *[1] * (batch.x.dim() - 1))  # [S·B, T]
        cond = self.conditions(frames.flatten(0, 1), _speakers(batch, samples))
        return self.decoder.log_prob(x, cond).unflatten(0, (samples, -1))  # [S, B, T]

    def conditions(self, frames: Tensor, speaker: Tensor | None = None) -> Frames:
        """Frames ``[R, N, channels]`` of codes as what the decoder takes, with as many behind them as that looks
        ahead."""
        ahead = self.decoder.right if isinstance(self.decoder, Generator) else 0
        frames = torch.cat([frames, frames[:, -1:].expand(-1, ahead, -1)], dim=1)
        if speaker is None:
            speaker = torch.zeros(len(frames), dtype=torch.int64, device=frames.device)
        return Frames(frames, speaker)

    def num_uniforms(self, elements: int) -> int:
        """Uniforms that a sequence of so many elements takes with its code."""
        return self.positions(elements) * self.prior.num_uniforms + elements * self.decoder.num_uniforms

    @torch.no_grad()
    def sample(
        self,
        u: Tensor,
        elements: int,
        speaker: Tensor | None = None,
        temperature: Tensor | float = 1.0,
        given: Any = None,
    ) -> Tensor:
        """Sequences from the prior, or from the prior given what it goes by for B rows, a function of the uniforms:
        ``[B, num_uniforms(T)] → [B, T]``."""
        count = self.positions(elements) * self.prior.num_uniforms
        of_code = u[:, :count].unflatten(1, (-1, self.prior.num_uniforms))
        rest = u[:, count:].unflatten(1, (elements, -1))
        return self.decoded(self.prior.sample(of_code, given), rest, speaker, temperature)

    def decoded(self, z: Tensor, u: Tensor, speaker: Tensor | None = None, temperature: Tensor | float = 1.0) -> Tensor:
        """Sequences of given codes ``[B, N, dim]``, a function of the uniforms ``[B, T, decoder.num_uniforms]``, and
        of the codes as differentiable as the decoder's samples are."""
        made = self.decoder.sample(u, self.conditions(self.posterior.frames(z), speaker), temperature)
        return made[:, : u.shape[1]]

    @torch.no_grad()
    def code(self, batch: Any) -> Tensor:
        """The codes that stand for a batch's rows when nothing is drawn, ``[B, N, dim]``."""
        params, setting = self.encoded(batch)
        return self.posterior.code(params, setting)

    @torch.no_grad()
    def reconstruct(self, batch: Any, u: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
        """Sequences of the codes that stand for a batch's own, ``[B, T, decoder.num_uniforms] → [B, T]``."""
        return self.decoded(self.code(batch), u, _speakers(batch, 1), temperature)


def numbers(batch: Any) -> Tensor | None:
    """Numbers of a batch's rows in the training set ``[B]``, -1 of one that is held out, where the task gives them."""
    found: Tensor | None = getattr(batch, "index", None)
    return found


def _speakers(batch: Any, samples: int) -> Tensor | None:
    """Numbers of the speakers of a batch's rows, for each of so many samples."""
    found = getattr(batch, "speaker", None)
    if found is None:
        found = getattr(getattr(batch, "cond", None), "speaker", None)
    return None if found is None else found.repeat(samples)
