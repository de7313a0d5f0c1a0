"""Densities of a target given a source: an encoder's columns, and an autoregressive decoder that is unfolded over them.

    p(y | s) = Π_t p(y_t | y_<t, e_t),    e = unfold(encoder(s))

Dynamic unfolding: from a source of |s| symbols a target of |t̂| = ⌈a·|s| + b⌉ is expected. Position t of the target is
conditioned on one column of the source: on column t (padding), or on the one at ⌊(t + ½)·|s|/|t̂|⌋ (stretching); where
the source has no such column, and from |t̂| on, on zeros. So a target may be longer than was expected, until its stop
symbol.

A straight line says little of where in a long source the symbols of a position stand. With ``rate_jitter`` (ρ) and
``shift_jitter`` (σ) a training meets lines that are as wrong as they will be for longer sources:

    column ⌊(t + ½)·e^(ρ·u_1)/a + σ·u_2⌋,    u_1, u_2 uniform in [-1, 1], one pair a source

A body that attends (``spec.memory_dim``) is given all columns as its memory instead, and nothing is unfolded.

Source: Kalchbrenner et al., "Neural machine translation in linear time", arXiv 1610.10099, section 3.1 (representation)
and 3.2 (dynamic unfolding); stretching and its random lines are ours.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from seqgen import config, registry
from seqgen.config import Component
from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.generation import examples
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.contract import Density, DensityExample, GeneratorState
from seqgen.models.encoder import Encoder
from seqgen.nets.layers import Identity
from seqgen.spec import Facts
from seqgen.stream.conditioning import Memory
from seqgen.stream.contract import Streamable

_ROUNDING = 1e-9  # of a·|s|, which is a whole number more often than its floating-point product


@dataclass(frozen=True)
class Sources:
    """Sources that targets are conditioned on.

    Attributes:
        symbols: int64 ``[B, S]``. lengths: int64 ``[B]``; what stands behind them is padding.
    """

    symbols: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Unfolding:
    """Length that is expected of a target, ``⌈factor·|s| + offset⌉``, and how a source is resized to it.

    Attributes:
        factor, offset: a and b. stretch: whether columns are spread over the expected length; otherwise column t goes
            to position t.
        rate_jitter, shift_jitter: ρ and σ of the random lines of a training, where columns are stretched; σ in symbols
            of the source.

    Raises:
        SeqgenError: for numbers that expect no length, and for random lines without stretching.

    Example:
        >>> Unfolding(1.2, 1).expected(torch.tensor([5, 6]))
        tensor([7, 9])
    """

    factor: float = 1.2
    offset: float = 0.0
    stretch: bool = False
    rate_jitter: float = 0.0
    shift_jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.factor < 100 or not 0 <= self.offset < 10_000:
            raise SeqgenError(
                f"unfolding to {self.factor:g}·|s| + {self.offset:g} symbols",
                remedy="give a factor above 0 and an offset that is not negative",
            )
        if min(self.rate_jitter, self.shift_jitter) < 0 or (self.jitters and not self.stretch):
            raise SeqgenError(
                f"unfolding with jitter, rate {self.rate_jitter:g} and shift {self.shift_jitter:g}",
                remedy="give numbers that are not negative, and stretch: true",
            )

    @property
    def jitters(self) -> bool:
        """Presence of random lines in training."""
        return self.rate_jitter > 0 or self.shift_jitter > 0

    def expected(self, lengths: Tensor) -> Tensor:
        """Expected lengths |t̂| of targets, int64 ``[B]``."""
        return torch.ceil(self.factor * lengths.double() + self.offset - _ROUNDING).long()

    def unfold(self, columns: Tensor, lengths: Tensor) -> Tensor:
        """Columns by the target's positions: ``[B, S, C] → [B, max |t̂|, C]``."""
        expected = self.expected(lengths)[:, None]  # [B, 1]
        place = torch.arange(expected.max(), device=lengths.device)[None]  # [1, L]
        source = place.expand(lengths.shape[0], -1)  # [B, L]
        if self.stretch:
            source = (2 * source + 1) * lengths[:, None] // (2 * expected)
        return _chosen(columns, source, (place < expected) & (source < lengths[:, None]))

    def unfold_jittered(self, columns: Tensor, lengths: Tensor) -> Tensor:
        """Columns by the target's positions along random lines, ``[B, S, C] → [B, L, C]``; L is as long as the longest
        line of the batch has columns."""
        chance = 2 * torch.rand(2, len(lengths), 1, device=lengths.device, dtype=torch.float64) - 1  # [2, B, 1]
        slope = torch.exp(self.rate_jitter * chance[0]) / self.factor  # [B, 1], symbols of the source a position
        positions = int(torch.ceil((lengths[:, None] + self.shift_jitter) / slope).max())
        place = torch.arange(positions, device=lengths.device)[None] + 0.5  # [1, L]
        source = torch.floor(place * slope + self.shift_jitter * chance[1]).long()  # [B, L]
        return _chosen(columns, source, (source >= 0) & (source < lengths[:, None]))


def _chosen(columns: Tensor, source: Tensor, real: Tensor) -> Tensor:
    """Columns ``source [B, L]`` where they are ``real``, zeros elsewhere: ``[B, S, C] → [B, L, C]``."""
    index = source.clamp(0, columns.shape[1] - 1)[..., None].expand(-1, -1, columns.shape[2])
    return columns.gather(1, index) * real[..., None]


class SourceDensity(Density):
    """Density of targets given sources, ``p(y | s)``: exact likelihood in one pass, and sampling by the same ``step``.

    Args:
        decoder: autoregressive density over the symbols of a target, whose features are unfolded columns, or which has
            a memory: what :mod:`seqgen.generation.decoding` works on. unfolding: of columns over positions.
    """

    def __init__(self, decoder: AutoRegressive, unfolding: Unfolding) -> None:
        super().__init__()
        self.decoder, self.unfolding = decoder, unfolding
        self.attends = decoder.body.spec.memory_dim > 0

    @property
    def num_uniforms(self) -> int:
        return self.decoder.num_uniforms

    @final
    def begin(self, cond: Sources) -> tuple[GeneratorState, Tensor | None]:
        """Fresh streams of targets, and the columns of their positions, ``[B, max |t̂|, C]``; ``None`` where the body
        attends.

        Raises:
            SeqgenError: for a source without symbols.
        """
        if not cond.symbols.shape[1] or int(cond.lengths.min()) < 1:
            raise SeqgenError("a source without symbols", remedy="give sources of one symbol or more")
        return self._begun(cond)

    @abstractmethod
    def _begun(self, cond: Sources) -> tuple[GeneratorState, Tensor | None]:
        """Result of :meth:`begin` for sources that have symbols."""

    @final
    def log_prob(self, x: Tensor, cond: Sources | None = None) -> Tensor:
        """``ln p(y_t | y_<t, s)`` in nats of every symbol, by teacher forcing in one pass: ``[B, T] → [B, T]``."""
        state, columns = self.begin(_given(cond))
        params, _ = self.decoder.step(x, state, fitted(columns, x.shape[1]))  # [B, T, V]
        return self.decoder.distribution.log_prob(params, x)

    @final
    def sample(self, u: Tensor, cond: Sources | None = None, temperature: Tensor | float = 1.0) -> Tensor:
        state, columns = self.begin(_given(cond))
        values, _ = self.decoder.generate(u, state, fitted(columns, u.shape[1]), temperature)
        return values


class EncoderDecoder(SourceDensity):
    """Density of targets given sources by an encoder and an autoregressive decoder.

    Args:
        encoder: source to columns. body: previous symbol in, logits of the next one out; conditioned on columns, or
            attending to them. unfolding: of columns over positions.
        start: the symbol before the first one.

    Raises:
        SeqgenError: for a body that reads no columns, or columns of another width.
    """

    @dataclass(frozen=True)
    class Config:
        """Options of a density of targets given sources.

        Attributes:
            encoder, body: registered models. unfolding: columns over positions, for a body that does not attend.
        """

        encoder: Component
        body: Component
        unfolding: Unfolding = field(default_factory=Unfolding)

    @classmethod
    def examples(cls) -> Iterator[DensityExample]:
        generator = torch.Generator().manual_seed(0)
        sources = Sources(torch.randint(5, (2, 6), generator=generator), torch.tensor([6, 3]))
        yield DensityExample(translator(5, 3), torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]]), sources, torch.arange(3))
        for index, body in enumerate(examples.networks(registry.MODELS)):
            spec = body.spec
            width = spec.memory_dim or spec.cond_dim
            if width and spec.vocab_size == spec.out_dim and spec.cond_every == 1:
                encoder = examples.SmallEncoder(vocab_size=5, out_dim=width)
                density = cls(encoder, body, Unfolding(1.2, 1, stretch=index % 2 == 1))
                x = torch.randint(spec.vocab_size, (2, 11), generator=generator)
                yield DensityExample(density, x, sources, torch.arange(spec.vocab_size))

    @classmethod
    def build(cls, options: Config, facts: Facts, *, source: str = "config") -> EncoderDecoder:
        """Construct encoder and body."""
        encoder, body = (
            config.construct(one, registry.MODELS, source=source) for one in (options.encoder, options.body)
        )
        for made, kind, name in ((encoder, Encoder, options.encoder.name), (body, Streamable, options.body.name)):
            if not isinstance(made, kind):
                raise SeqgenError(
                    f"{source}: '{name}' is no {'encoder' if kind is Encoder else 'body of a decoder'}",
                    remedy="see `seqgen info`, which lists the models",
                )
        return cls(encoder, body, options.unfolding, start=int(facts.start))

    def __init__(self, encoder: Encoder, body: Streamable[Any], unfolding: Unfolding, *, start: int = 0) -> None:
        spec = body.spec
        attends = spec.memory_dim > 0
        width = spec.memory_dim if attends else spec.cond_dim
        if width != encoder.out_dim or spec.cond_every != 1 or not spec.vocab_size:
            raise SeqgenError(
                f"the encoder gives columns of {encoder.out_dim} channels, the body takes {width or 'none'}",
                remedy="give a body over symbols that is conditioned on such columns, or attends to them",
            )
        drawn, columns = Categorical(Categorical.Config(spec.vocab_size)), None if attends else Identity(width)
        super().__init__(AutoRegressive(body, drawn, columns, start=start, symbols_per_sample=1), unfolding)
        self.encoder = encoder

    def _begun(self, cond: Sources) -> tuple[GeneratorState, Tensor | None]:
        columns = self.encoder(cond.symbols, cond.lengths)  # [B, S, C]
        batch = len(columns)
        if self.attends:
            return self.decoder.init_state(batch, Memory(columns, cond.lengths)), None
        unfold = self.unfolding.unfold_jittered if self.training and self.unfolding.jitters else self.unfolding.unfold
        return self.decoder.init_state(batch), unfold(columns, cond.lengths)


def translator(source_symbols: int, symbols: int) -> EncoderDecoder:
    """A small density of targets given sources with fresh weights, for the laws of what needs one."""
    encoder = examples.SmallEncoder(vocab_size=source_symbols, out_dim=4)
    return EncoderDecoder(encoder, examples.SmallBody(vocab_size=symbols, cond_dim=4), Unfolding())


def fitted(columns: Tensor | None, positions: int) -> Tensor | None:
    """Columns of so many positions, with zeros behind the last one: ``[B, L, C] → [B, positions, C]``."""
    if columns is None:
        return None
    missing = max(0, positions - columns.shape[1])
    return torch.nn.functional.pad(columns[:, :positions], (0, 0, 0, missing))


def _given(cond: Sources | None) -> Sources:
    if cond is None:
        raise SeqgenError("a target without its source", remedy="give sources as conditioning")
    return cond
