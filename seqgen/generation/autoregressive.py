"""Generation element by element: a body that reads what it drew, its exact likelihood, and the only sampling loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seqgen import config, registry
from seqgen.config import Component
from seqgen.distributions.categorical import Categorical
from seqgen.distributions.contract import Distribution, LocationScale
from seqgen.errors import SeqgenError
from seqgen.flows.one_hot import one_hot
from seqgen.generation import examples
from seqgen.generation.contract import DensityExample, FeedbackGenerator, GeneratorState
from seqgen.generation.gain import GainNormalized
from seqgen.generation.successive import Successive
from seqgen.models.frames import FrameConditioner
from seqgen.spec import Facts
from seqgen.stream.combinators import Delay
from seqgen.stream.conditioning import Conditioning, Frames, written_out
from seqgen.stream.contract import Streamable
from seqgen.stream.observed import Observed


class AutoRegressive(FeedbackGenerator, Successive):
    """Autoregressive density ``p(x | frames) = Π_t p(x_t | x_<t, cond_t)``: exact likelihood and sampling by the same
    ``step``.

    Args:
        body: previous element in, parameters of the next element's distribution out.
        distribution: of one element.
        conditioner: frames to conditioning vectors, or ``None``.
        start: the element before the first one.
        symbols_per_sample: elements that make one audio sample (2 for interleaved bytes).
        speakers: voices told apart by a one-hot behind the features; 0 for one voice.

    Frames and elements are aligned as in every :class:`Generator`.

    Raises:
        SeqgenError: for a distribution of other parameters than the body gives, or over other elements than it reads.
    """

    @dataclass(frozen=True)
    class Config:
        """Options of an autoregressive density.

        Attributes:
            body: registered model. distribution: of one element, by default a softmax over the body's alphabet.
            conditioner: network from frames to conditioning vectors, where the body takes any.
            gain_normalized: whether the body works on samples divided by a gain that the features tell; for
                real-valued ones (:mod:`seqgen.generation.gain`).
        """

        body: Component
        distribution: Component = field(default_factory=lambda: Component("categorical"))
        conditioner: Component = field(default_factory=lambda: Component("frames"))
        gain_normalized: bool = False

    @classmethod
    def examples(cls) -> Iterator[DensityExample]:
        for gained in (False, True):
            for body in examples.networks(registry.MODELS):
                drawn, facts = examples.distribution(body.spec), examples.facts(body.spec)
                real = isinstance(drawn, LocationScale) and body.spec.cond_dim > 0
                if drawn is not None and real >= gained and not body.spec.memory_dim:
                    inner = GainNormalized(body, drawn) if gained else body
                    yield examples.scored(cls.over(inner, drawn, examples.CONDITIONER, facts), drawn)

    @classmethod
    def build(cls, options: Config, facts: Facts, *, source: str = "config") -> AutoRegressive:
        """Construct body, distribution and conditioning network for what the facts tell of the data."""
        body: Streamable[Any] = config.construct(options.body, registry.MODELS, source=source)
        distribution = _distribution(options.distribution, body.spec.vocab_size, source)
        body = GainNormalized(body, distribution) if options.gain_normalized else body
        return cls.over(body, distribution, options.conditioner, facts, source=source)

    @classmethod
    def over(
        cls,
        body: Streamable[Any],
        distribution: Distribution,
        conditioning: Component,
        facts: Facts,
        *,
        source: str = "config",
    ) -> AutoRegressive:
        """The density over a body, with the conditioning network that it needs."""
        return cls(
            body,
            distribution,
            conditioner(conditioning, body, facts, source=source),
            start=facts.start,
            symbols_per_sample=facts.symbols_per_sample,
            speakers=facts.num_speakers,
        )

    def __init__(
        self,
        body: Streamable[Any],
        distribution: Distribution,
        conditioner: Streamable[Any] | None,
        *,
        start: float,
        symbols_per_sample: int,
        speakers: int = 0,
    ) -> None:
        super().__init__(body, conditioner, symbols_per_sample=symbols_per_sample, speakers=speakers)
        outputs = body.spec.out_dim - body.spec.cools
        if distribution.num_params != outputs:
            raise SeqgenError(
                f"the body gives {outputs} outputs, the distribution takes {distribution.num_params}",
                remedy="choose a distribution that fits the model",
            )
        if distribution.vocab_size != body.spec.vocab_size:
            raise SeqgenError(
                f"the body reads {_values(body.spec.vocab_size)}, the distribution draws "
                f"{_values(distribution.vocab_size)}",
                remedy="choose a distribution over what the model reads: a generator feeds itself",
            )
        self.distribution, self.start, self.vocab_size = distribution, start, distribution.vocab_size
        self.delay = Delay(1, dim=body.spec.in_dim, fill=start, vocab_size=body.spec.vocab_size)

    def log_prob(self, x: Tensor, cond: Frames | None = None) -> Tensor:
        """``ln p(x_t | x_<t, features)`` in nats for every element, by teacher forcing.

        Shapes: ``x [B, T]`` (or ``[B, T, 1]``, or one-hots ``[B, T, K]`` where the body embeds symbols by a
        :class:`~seqgen.nets.layers.SymbolTable`); frames of it and of the look-ahead → ``[B, T]``.

        Raises:
            SeqgenError: where the features are too short for ``x``.
        """
        parts = []
        for piece, params in self._forced(x, cond):
            parts.append(self.distribution.log_prob(params, piece))
        return torch.cat(parts, dim=1)

    def distributions(self, x: Tensor, cond: Frames | None = None) -> Tensor:
        """Parameters of ``p(x_t | x_<t, features)`` for every element, differentiable in ``x``.

        Shapes and what is raised: as for :meth:`log_prob`; ``[B, T, num_params]``.
        """
        return torch.cat([params for _, params in self._forced(x, cond)], dim=1)

    def observed(self, x: Tensor, cond: Frames | None = None) -> tuple[Tensor, list[Tensor]]:
        """:meth:`distributions`, and the body's inner activations ``[B, T, C]`` that led to them, layer by layer.

        Raises:
            SeqgenError: for a body that shows nothing of its inside, and as :meth:`log_prob`.
        """
        seen = Observed(self.body)
        return seen.parted(torch.cat([made for _, made in self._forced(x, cond, seen)], dim=1))

    def fill(self, x: Tensor, given: Tensor, u: Tensor, cond: Frames | None = None) -> Tensor:
        """Sequences that are ``x`` where elements are given, and drawn elsewhere, each from all that stands before it.

        Shapes: ``x [B, T]`` (or ``[B, T, 1]``), ``given`` bool ``[B, T]``, uniforms ``[B, T, num_uniforms]`` → ``[B,
        T]``; frames as for :meth:`log_prob`, those of before the start included.

        Raises:
            SeqgenError: where the features are too short for ``x``.
        """
        state, vectors = self.init_state(len(x)), self.body.spec.conditions(0, x.shape[1])[1]
        values, conditions = x if x.dim() == 2 else x[..., 0], self.condition(cond, vectors)
        made, _, _ = draw(
            self.body, self.distribution, u, state.previous, state.body,
            None if conditions is None else written_out(conditions), temperature=1.0, given=(values, given),
        )  # fmt: skip
        return made

    def _forced(
        self, x: Tensor, cond: Frames | None, body: Streamable[Any] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Elements ``[B, n]`` and what the body (or another in its place) says of each, ``[B, n, num_params]``, block
        by block.

        With gradients the whole is one block; without them nothing of a block is needed later, so memory does not
        grow with T.
        """
        body = self.body if body is None else body
        spec, length = body.spec, x.shape[1]
        size = max(length, 1) if torch.is_grad_enabled() else self._block_size()
        bounds = [(start, min(start + size, length)) for start in range(0, max(length, 1), size)]
        blocks = [last - first for first, last in (spec.conditions(*bound) for bound in bounds)]
        state, delay = body.init_state(x.shape[0]), self.delay.init_state(x.shape[0])
        if x.dim() == 3 and not spec.in_dim:
            delay = one_hot(delay, spec.vocab_size, x.dtype)
        for (start, stop), vectors in zip(bounds, self.conditioning(cond, blocks), strict=True):
            piece = x[:, start:stop]
            before, delay = self.delay.step(piece, delay)
            made, state = body.step(before, state, vectors)
            yield piece[..., 0] if piece.dim() == 3 and spec.in_dim else piece, parameters(self.body, made)

    def _leaves_products(self) -> bool:
        return torch.is_grad_enabled()  # a gradient as large as all vectors is not written then

    def _block_size(self) -> int:
        """Elements of about ``block`` samples, whole frames."""
        return max(1, self.block // self.hop) * self.hop * self.symbols_per_sample

    def init_state(self, batch: int, memory: Any = None) -> GeneratorState:
        spec = self.body.spec
        like = self.body.zeros(batch) if spec.in_dim else torch.zeros(batch, dtype=torch.int64, device=self._device())
        conditioner = self.conditioner.init_state(batch) if self.conditioner is not None else ()
        return GeneratorState(conditioner, like + (self.start if spec.in_dim else int(self.start)),
                              self.body.init_state(batch, memory))  # fmt: skip

    def step(self, x: Tensor, state: GeneratorState, features: Tensor | None) -> tuple[Tensor, GeneratorState]:
        """Distributions of given elements: what :meth:`generate` would draw from."""
        cond, conditioner = self._stream_conditioning(features, state.conditioner, self._samples(x.shape[1]))
        values = x if x.dim() == 2 else x[..., 0]
        line = torch.cat([state.previous[:, None], values], dim=1)
        before = line[:, : x.shape[1]]
        made, body = self.body.step(before[..., None] if self.body.spec.in_dim else before, state.body, cond)
        return parameters(self.body, made), GeneratorState(conditioner, line[:, -1], body)

    def next(self, state: GeneratorState) -> tuple[Tensor, GeneratorState]:
        x = state.previous[:, None]  # [B, 1]
        made, body = self.body.step(x[..., None] if self.body.spec.in_dim else x, state.body, None)
        return parameters(self.body, made)[:, 0], state._replace(body=body)

    def told(self, state: GeneratorState, value: Tensor) -> GeneratorState:
        return state._replace(previous=value.to(state.previous.dtype))

    def generate(
        self, u: Tensor, state: GeneratorState, features: Tensor | None, temperature: Tensor | float = 1.0
    ) -> tuple[Tensor, GeneratorState]:
        """Draw the next elements of every stream; the one loop that feeds a model its own output."""
        cond, conditioner = self._stream_conditioning(features, state.conditioner, self._samples(u.shape[1]))
        values, _, body = draw(
            self.body, self.distribution, u, state.previous, state.body, cond, temperature=temperature
        )
        previous = torch.cat([state.previous[:, None], values], dim=1)[:, -1]
        return values, GeneratorState(conditioner, previous, body)


def parameters(body: Streamable[Any], made: Tensor) -> Tensor:
    """Parameters of distributions among what a body makes, ``[…, out_dim] → […, num_params]``."""
    return made[..., :-1] if body.spec.cools else made


def warmth(body: Streamable[Any], made: Tensor, temperature: Tensor | float) -> Tensor | float:
    """Temperature at which an element is drawn, ``[B, out_dim] → [B]``: that asked for, times what the body makes of
    it."""
    return made[..., -1] * temperature if body.spec.cools else temperature


def draw(
    body: Streamable[Any],
    distribution: Distribution,
    u: Tensor,
    previous: Tensor,
    state: Any,
    cond: Conditioning | None,
    *,
    temperature: Tensor | float,
    given: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Any]:
    """The sampling loop: each element is drawn from what the body says of the one before, then fed to it.

    Shapes: ``u [B, T, num_uniforms]``, the element before ``[B]``, the body's state and conditioning vectors → elements
    ``[B, T]``, their distributions ``[B, T, num_params]``, and the body's state. ``given`` are elements ``[B, T]`` and
    where they take the place of those drawn, bool ``[B, T]``.
    """
    drawn, told = [], []
    for t in range(u.shape[1]):
        first, last = body.spec.conditions(t, t + 1)
        x = previous[:, None] if body.spec.in_dim == 0 else previous[:, None, None]
        made, state = body.step(x, state, None if cond is None else cond[:, first:last])
        params = parameters(body, made)
        previous = distribution.sample(params[:, 0], u[:, t], warmth(body, made[:, 0], temperature))
        if given is not None:
            values, where = given
            previous = torch.where(where[:, t], values[:, t], previous)
        drawn.append(previous)
        told.append(params)
    if not drawn:
        return previous[:, None][:, :0], body.zeros(len(previous), 0, distribution.num_params), state
    return torch.stack(drawn, dim=1), torch.cat(told, dim=1), state


def language_model(symbols: int) -> AutoRegressive:
    """A small density over symbols with fresh weights, for the laws of what needs one."""
    drawn = Categorical(Categorical.Config(symbols))
    return AutoRegressive(examples.body(symbols, symbols), drawn, None, start=0, symbols_per_sample=1)


def conditioner(component: Component, body: Streamable[Any], facts: Facts, *, source: str) -> Streamable[Any] | None:
    """The conditioning network that a body needs, ``None`` for an unconditioned one."""
    if body.spec.cond_dim == 0:
        return None
    options = config.options(component, registry.CONDITIONERS, source=source)
    kind = registry.CONDITIONERS.load(component.name)
    if not body.spec.periodic:
        made: Streamable[Any] = kind.build(options, facts, out_dim=body.spec.cond_dim)
        return made
    if not issubclass(kind, FrameConditioner):
        raise SeqgenError(
            f"{source}: the body looks one period back, which '{component.name}' does not tell",
            remedy="choose the conditioner frames",
        )
    return kind.build(options, facts, out_dim=body.spec.cond_dim, periodic=True)


def _distribution(component: Component, vocab_size: int, source: str) -> Distribution:
    if component == Component("categorical") and vocab_size:
        component = Component("categorical", {"classes": vocab_size})
    made: Distribution = config.construct(component, registry.DISTRIBUTIONS, source=source)
    return made


def _values(vocab_size: int) -> str:
    return f"{vocab_size} symbols" if vocab_size else "real numbers"
