"""Small generators over every registered network, with sequences to score: what the laws of densities are run over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from seqgen import noise
from seqgen.config import Component
from seqgen.distributions.categorical import Categorical
from seqgen.distributions.contract import Distribution
from seqgen.distributions.gaussian import Gaussian
from seqgen.distributions.logistic_mixture import LogisticMixture
from seqgen.generation.contract import DensityExample, Generator
from seqgen.models.encoder import Encoder, inside
from seqgen.nets.gru import GRU
from seqgen.nets.layers import Dense, Embedding
from seqgen.registry import Registry
from seqgen.spec import Facts, FeatureSpec, StreamSpec
from seqgen.stream.combinators import Serial
from seqgen.stream.conditioning import Conditioning, Frames
from seqgen.stream.contract import Streamable

CONDITIONER = Component("frames", {"channels": 4, "blocks": 1, "look_ahead": 1})
_FEATURES = FeatureSpec(sample_rate=8000, n_fft=32, window=8, hop=4, n_mels=3)
_PITCHED = FeatureSpec(sample_rate=400, n_fft=32, window=8, hop=4, n_mels=3, pitch=True)
_ROWS, _SAMPLES = 2, 24
_LEVELS = 64


def networks(table: Registry) -> Iterator[Streamable[Any]]:
    """The small streams that the registered classes of a table give as their examples."""
    for name in table:
        kind = table.load(name)
        if issubclass(kind, Streamable):
            yield from kind.examples()


def body(symbols: int, outputs: int) -> Streamable[Any]:
    """A small recurrent body over symbols."""
    return Serial(Embedding(symbols, 3), GRU(3, 5), Dense(5, outputs))


class SmallEncoder(Encoder):
    """A small encoder: a centred convolution over embedded symbols, or real numbers, added up over each stretch."""

    def __init__(self, *, vocab_size: int, out_dim: int, down: int = 1) -> None:
        super().__init__(vocab_size=vocab_size, out_dim=out_dim, down=down)
        self.table = nn.Embedding(vocab_size, 3) if vocab_size else nn.Linear(1, 3)
        self.convolution = nn.Conv1d(3, out_dim, kernel_size=3, padding=1)

    def columns(self, symbols: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        real = inside(lengths, symbols.shape[1])[..., None]  # [B, S, 1]
        made = self.convolution((self.table(symbols) * real).transpose(1, 2)).transpose(1, 2)
        made = nn.functional.pad(made * real, (0, 0, 0, -made.shape[1] % self.down))
        return made.unflatten(1, (-1, self.down)).sum(dim=2)  # [B, S / down, out_dim]


class SmallBody(Streamable[torch.Tensor]):
    """A small recurrent body over symbols that is conditioned on columns."""

    def __init__(self, *, vocab_size: int, cond_dim: int) -> None:
        super().__init__()
        self.table, self.columns = nn.Embedding(vocab_size, 4), nn.Linear(cond_dim, 4)
        self.layer, self.out = GRU(4, 6), nn.Linear(6, vocab_size)
        self.spec = StreamSpec(in_dim=0, out_dim=vocab_size, cond_dim=cond_dim, context=None, vocab_size=vocab_size)

    def init_state(self, batch: int, memory: Any = None) -> torch.Tensor:
        return self.layer.init_state(batch)

    def step(
        self, x: torch.Tensor, state: torch.Tensor, cond: Conditioning | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        h, after = self.layer.step(self.table(x) + self.columns(cond), state)
        return self.out(h), after


def facts(spec: StreamSpec) -> Facts:
    """Facts of data that a body of this spec can be conditioned on: frames of four samples and two speakers."""
    per, speakers = spec.cond_every if spec.vocab_size else 1, ("ann", "bo")
    features = _PITCHED if spec.periodic else _FEATURES
    return Facts(vocab_size=spec.vocab_size, symbols_per_sample=per, speakers=speakers, features=features)


def distribution(spec: StreamSpec) -> Distribution | None:
    """A distribution of what a body reads that takes as many parameters as it gives; ``None`` where there is none,
    or where it gives no output for each input."""
    if spec.up != spec.down:
        return None
    if spec.vocab_size:
        return Categorical(Categorical.Config(spec.vocab_size)) if spec.out_dim == spec.vocab_size else None
    outputs = spec.out_dim - spec.cools
    if outputs == 2:
        return Gaussian(Gaussian.Config(origin=-1.0))
    mixtures, rest = divmod(outputs, 3)
    return None if rest else LogisticMixture(LogisticMixture.Config(mixtures, _LEVELS, origin=-1.0))


@torch.no_grad()
def scored(generator: Generator, drawn: Distribution | None = None) -> DensityExample:
    """The generator with sequences that it drew itself, and frames for a stretch beyond them."""
    ahead, per = generator.ahead, generator.symbols_per_sample
    line = generator.alignment  # as many samples as a fresh stream makes of whole frames
    samples = line.first_samples(line.frames(_SAMPLES))
    rng = torch.Generator().manual_seed(0)
    cond = None
    if generator.conditioner is not None:
        frames = line.frames(samples + 2 * ahead) + generator.right
        channels = generator.conditioner.spec.in_dim - generator.speakers
        features = torch.randn(_ROWS, frames, channels, generator=rng) - 4
        cond = Frames(features, torch.arange(_ROWS) % 2)
    count = (samples + ahead) * per * generator.num_uniforms
    u = torch.from_numpy(noise.block(0, 0, 0, _ROWS * count)).view(_ROWS, -1, generator.num_uniforms)
    x = generator.sample(u, cond)
    return DensityExample(generator, x[..., None] if x.is_floating_point() else x, cond, values(drawn))


def values(drawn: Distribution | None) -> torch.Tensor | None:
    """Every value of an element, where they can be counted."""
    if drawn is not None and drawn.vocab_size:
        return torch.arange(drawn.vocab_size)
    return torch.linspace(-1, 1, _LEVELS, dtype=torch.float64) if isinstance(drawn, LogisticMixture) else None
