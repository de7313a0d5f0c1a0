"""Subscale generation: a waveform as B interleaved lanes, made side by side by one set of weights.

Lane s holds every B-th sample, ``u_{Bi+s}`` for lane steps i = 0, 1, …; with ``F`` the look-ahead horizon

    p(u) = Π_s Π_i p(u_{Bi+s} | u_{Bk+s}, k < i ;  u_{Bk+z}, z < s, k <= i + F ;  features)

The body runs along each lane, and :class:`~seqgen.generation.subscale.context.LaneContext` tells it of the lanes
before. A lane may start when the lane before is ``F + 1`` steps ahead. So at step τ the samples ``(i, s)`` with ``i = τ
- s·(F + 1)`` are made together, one of each lane under way, in ``L/B + (B - 1)·(F + 1)`` steps for L samples.

That streams: the samples ``B·i … B·i + B - 1`` are all there after step ``i + D``, ``D = (B - 1)·(F + 1)``, so what is
given out is ``D·B`` samples behind what is being made (``latency``), and their noise is used that early (``ahead``).

Source: Kalchbrenner et al., "Efficient Neural Audio Synthesis", arXiv 1802.08435, section 4, equation 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import lcm
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgen import registry
from seqgen.audio.codec import Bytes16
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.generation import examples
from seqgen.generation.autoregressive import AutoRegressive, draw
from seqgen.generation.contract import DensityExample, FeedbackGenerator, Generator, GeneratorState
from seqgen.generation.subscale.context import LaneContext
from seqgen.generation.subscale.stagger import LanesState, Stagger, Waiting, chosen, together
from seqgen.spec import Facts, StreamSpec
from seqgen.stream.conditioning import Frames
from seqgen.stream.state import map_leaves

_SILENT = Bytes16.silence  # bytes of a zero sample


@dataclass(frozen=True)
class SubscaleConfig:
    """Options of subscale generation.

    Attributes:
        lanes: B, samples made together; 1 means one after the other, without lanes.
        horizon: F, lane steps of look-ahead into the lanes before.
        channels, blocks: of the network that reads those lanes.
        unit: PCM steps that are one unit of its input.
    """

    lanes: int = 1
    horizon: int = 8
    channels: int = 64
    blocks: int = 2
    unit: float = 256.0

    def __post_init__(self) -> None:
        if self.lanes < 1 or self.horizon < 0 or self.channels < 1 or self.blocks < 0 or not self.unit > 0:
            raise SeqgenError(
                f"subscale: got {self}",
                remedy="give lanes and channels from 1, a horizon and blocks from 0, and a positive unit",
            )


class _Scored(NamedTuple):
    """State of scoring between two stretches; rows are lane-major, ``lane · B + row of the batch``."""

    previous: Tensor
    body: Any
    context: Any


class Subscale(FeedbackGenerator):
    """A generator of 16-bit samples whose lanes run side by side.

    A recording that is scored ends: beyond its last sample the lanes before are 0. Its length is filled up with silence
    to a multiple of the lanes; what is filled up is not scored. A stream knows no end and goes on.

    Args:
        config: see :class:`SubscaleConfig`; at least two lanes.
        plain: body, distribution and conditioning network; the body is that of one lane.

    Raises:
        SeqgenError: for a body that does not read samples as two bytes, or takes no conditioning; or for lanes that do
            not divide the hop.

    Example:
        >>> subscale = Subscale(SubscaleConfig(lanes=8, horizon=8), plain)  # doctest: +SKIP
        >>> subscale.steps(8000), subscale.ahead                           # doctest: +SKIP
        (1063, 504)
    """

    @dataclass(frozen=True)
    class Config(SubscaleConfig):
        """Options of a subscale density: those of the lanes, and of the autoregressive density along each lane."""

        body: Component = field(kw_only=True)
        distribution: Component = field(default_factory=lambda: Component("categorical"))
        conditioner: Component = field(default_factory=lambda: Component("frames"))

    @classmethod
    def examples(cls) -> Iterator[DensityExample]:
        for lanes, horizon in ((2, 1), (4, 0)):
            small = SubscaleConfig(lanes=lanes, horizon=horizon, channels=3, blocks=1)
            for body in examples.networks(registry.MODELS):
                drawn, spec = examples.distribution(body.spec), body.spec
                if drawn is not None and _fits(spec.cond_every, spec):
                    plain = AutoRegressive.over(body, drawn, examples.CONDITIONER, examples.facts(spec))
                    yield examples.scored(cls(small, plain), drawn)

    @classmethod
    def build(cls, options: Config, facts: Facts, *, source: str = "config") -> Generator:
        """Construct all networks for what the facts tell of the data; a single lane is the plain density itself."""
        inner = AutoRegressive.Config(options.body, options.distribution, options.conditioner)
        plain = AutoRegressive.build(inner, facts, source=source)
        return cls(options, plain) if options.lanes > 1 else plain

    def __init__(self, config: SubscaleConfig, plain: Generator) -> None:
        spec = plain.body.spec
        if not isinstance(plain, AutoRegressive) or not _fits(plain.symbols_per_sample, spec):
            raise SeqgenError(
                "subscale: the model does not read conditioned samples as two bytes",
                remedy="choose a conditioned model over bytes with codec bytes16, or lanes: 1",
            )
        if plain.hop % config.lanes:
            raise SeqgenError(
                f"subscale: {config.lanes} lanes do not divide the hop of {plain.hop} samples",
                remedy="choose lanes that do, so that frames are whole lane steps",
            )
        per, speakers = plain.symbols_per_sample, plain.speakers
        super().__init__(plain.body, plain.conditioner, symbols_per_sample=per, speakers=speakers)
        self.config, self.distribution, self.start = config, plain.distribution, int(plain.start)
        self.context = LaneContext(
            lanes=config.lanes,
            horizon=config.horizon,
            channels=config.channels,
            blocks=config.blocks,
            out_dim=spec.cond_dim,
        )

    @property
    def stagger(self) -> Stagger:
        """Numbers of the samples that each lane makes, step by step."""
        return Stagger(self.config.lanes, self.config.horizon)

    @property
    def ahead(self) -> int:
        return self.stagger.depth * self.config.lanes

    @property
    def lanes(self) -> int:
        return self.config.lanes

    @property
    def latency(self) -> int:
        """The conditioning network's look-ahead, up to whole lane steps, and what lanes are ahead of each other."""
        return self.look_ahead + -self.look_ahead % self.config.lanes + self.ahead

    def steps(self, samples: int) -> int:
        """Steps, of one sample of every lane under way, that ``samples`` samples take."""
        return -(-samples // self.config.lanes) + self.stagger.depth if samples else 0

    def init_state(self, batch: int, memory: Any = None) -> GeneratorState:
        lanes, depth = self.config.lanes, self.stagger.depth
        assert self.conditioner is not None
        waiting = self.conditioner.zeros(batch, self.latency - self.look_ahead, self.conditioner.spec.out_dim)
        number = torch.zeros(batch, depth, lanes, 2, dtype=torch.int64, device=waiting.device)
        state = LanesState(
            number[:, 0, 0, 0] - self.config.horizon,
            number + number.new_tensor(_SILENT),
            waiting.new_zeros(batch, depth, lanes, 2, self.num_params),
            self._apart(self.body.init_state(batch * lanes)),
            self._apart(self.context.init_state(batch * lanes)),
        )
        previous = number[:, 0, :, 0] + self.start
        return GeneratorState(Waiting(self.conditioner.init_state(batch), waiting), previous, state)

    def step(self, x: Tensor, state: GeneratorState, features: Tensor | None) -> tuple[Tensor, GeneratorState]:
        return self._run(x, state, features, 1.0, score=True)

    def generate(
        self, u: Tensor, state: GeneratorState, features: Tensor | None, temperature: Tensor | float = 1.0
    ) -> tuple[Tensor, GeneratorState]:
        return self._run(u, state, features, temperature, score=False)

    def _run(
        self, given: Tensor, state: GeneratorState, features: Tensor | None, temperature: Tensor | float, *, score: bool
    ) -> tuple[Tensor, GeneratorState]:
        """Distributions of given elements, or with noise given what is drawn."""
        samples = self._samples(given.shape[1]) - self.ahead
        if samples < 0 or samples % self.config.lanes:
            raise SeqgenError(
                f"got noise or elements of {samples + self.ahead} samples",
                remedy=f"give those of a multiple of {self.config.lanes}, and of {self.ahead} more that lie ahead",
            )
        cond, conditioner = self._stream_conditioning(features, state.conditioner, samples)
        if samples == 0:
            empty = state.body.params if score else state.body.made
            return empty[:, :0].flatten(1, 3), state._replace(conditioner=conditioner)
        stagger, begin = self.stagger, self._begin(state.body)
        vectors, numbers = (stagger.skew(x)[:, begin:] for x in (cond, given.unflatten(1, (-1, 2))))
        previous, lanes, made, params = state.previous, state.body, [], []
        for t in range(vectors.shape[1]):
            feed = numbers[:, t]
            done, told, previous, lanes = self.advance(vectors[:, t], feed, previous, lanes, temperature, score=score)
            made.append(done)
            params.append(told)
        count = samples // self.config.lanes
        distributions, pending = stagger.unskew(torch.stack(params, dim=1), lanes.params, count)
        after = GeneratorState(conditioner, previous, lanes._replace(params=pending))
        return (distributions.flatten(1, 3) if score else torch.stack(made[-count:], dim=1).flatten(1)), after

    def advance(
        self,
        cond: Tensor,
        given: Tensor,
        previous: Tensor,
        state: LanesState,
        temperature: Tensor | float,
        *,
        score: bool,
    ) -> tuple[Tensor, Tensor, Tensor, LanesState]:
        """One step: a sample of every lane under way.

        Shapes: ``cond [B, lanes, C]``; ``given [B, lanes, 2]`` elements with ``score``, else noise with one axis more;
        ``previous [B, lanes]`` → bytes ``[B, lanes, 2]`` of the lane step that is complete now, each lane's
        distributions ``[B, lanes, 2, P]``, its last byte, and the state (whose ``params`` are moved on by the caller).
        """
        stagger, lanes = self.stagger, self.config.lanes
        lane = torch.arange(lanes, device=cond.device)
        at = state.tape[:, None] - stagger.lag * lane
        reading, making = at >= -self.config.horizon, at >= 0
        # What lane s reads, horizon steps ahead of itself, the lane before it made in the last step.
        seen = self._units(state.made[:, stagger.depth - 1 - stagger.lag * (lane - 1).clamp_min(0)])
        entering = self.context.inputs(seen.flatten(0, 1), lane.expand_as(at).flatten())
        context, read = self.context.step(entering[:, None], together(state.context))
        told = context + cond.flatten(0, 1)[:, None]
        feed, before, body = given.flatten(0, 1), previous.flatten(), together(state.body)
        if score:
            drawn = feed
            params, body = self.body.step(torch.cat([before[:, None], feed[:, :1]], dim=1), body, told)
        else:
            drawn, params, body = draw(self.body, self.distribution, feed, before, body, told, temperature=temperature)
        drawn, params = drawn.unflatten(0, (-1, lanes)), params.unflatten(0, (-1, lanes))
        made = stagger.entered(state.made, torch.where(making[..., None], drawn, drawn.new_tensor(_SILENT)))
        after = LanesState(
            (state.tape + 1).clamp_max(stagger.depth),
            made[:, 1:],
            state.params,
            chosen(making, self._apart(body), state.body),
            chosen(reading, self._apart(read), state.context),
        )
        return made[:, 0], params, torch.where(making, drawn[..., 1], previous), after

    def _stream_conditioning(self, features: Tensor | None, state: Any, samples: int) -> tuple[Tensor | None, Any]:
        """Vectors of the samples that are given out and of those ahead."""
        if features is None or self.conditioner is None:
            raise SeqgenError("a conditioned generator got no features", remedy="give [B, frames, channels]")
        self.alignment.require_fit(features.shape[1], samples)
        made, network = self.conditioner.step(features, state.network)
        vectors, waiting = self.window(state.vectors, made, samples)
        return vectors, Waiting(network, waiting)

    def window(self, waiting: Tensor, made: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """Vectors of those that wait and those just made: the ones of ``samples`` samples and of what is ahead of
        them, and the ones that wait then."""
        line, kept = torch.cat([waiting, made], dim=1), waiting.shape[1]
        first = line.shape[1] - kept - samples
        return line[:, first : first + samples + self.ahead], line[:, line.shape[1] - kept :]

    def _begin(self, state: LanesState) -> int:
        """Steps of a fresh stream that lie behind this one."""
        tape = int(state.tape[0])
        if bool((state.tape != tape).any()):
            raise SeqgenError(
                "subscale: rows of one batch are at different steps of their start", remedy="step such rows apart"
            )
        return tape + self.config.horizon

    def _apart(self, state: Any) -> Any:
        """Leaves ``[B·lanes, …]`` as ``[B, lanes, …]``."""
        return map_leaves(lambda leaf: leaf.unflatten(0, (-1, self.config.lanes)), state)

    def log_prob(self, x: Tensor, cond: Frames | None = None) -> Tensor:
        """``ln p`` of every byte in nats, all lanes at once.

        Shapes: int64 ``x [B, 2·samples]``, frames of it and of the look-ahead → ``[B, 2·samples]``.

        Raises:
            SeqgenError: where the features are too short for ``x``.
        """
        assert cond is not None
        lanes, batch, length = self.config.lanes, x.shape[0], x.shape[1] // 2
        elements = self._fold(_filled(x, lanes).unflatten(1, (-1, 2)))
        count = elements.shape[1]
        values = self._units(elements.unflatten(0, (lanes, batch)))
        # Without gradients nothing of a stretch is needed later, so memory does not grow with the recording.
        size = count if torch.is_grad_enabled() else self._stretch()
        state, parts = self._start(batch), [x.new_zeros(batch, 0, dtype=cond.features.dtype)]
        for first in range(0, count, size):
            last = min(first + size, count)
            vectors = self._condition(cond, (first * lanes, min(last * lanes, length)))
            context, state = self._look_ahead(values, (first, last), state)
            piece = elements[:, first:last].flatten(1)
            line = torch.cat([state.previous[:, None], piece], dim=1)
            params, body = self.body.step(line[:, :-1], state.body, context + vectors)
            state = _Scored(line[:, -1], body, state.context)
            scored = self.distribution.log_prob(params, piece).unflatten(1, (-1, 2))
            parts.append(self._unfold(scored).flatten(1))
        return torch.cat(parts, dim=1)[:, : x.shape[1]]

    def _start(self, batch: int) -> _Scored:
        every = self.config.lanes * batch
        previous = torch.full((every,), self.start, dtype=torch.int64, device=self._device())
        return _Scored(previous, self.body.init_state(every), self.context.init_state(every))

    def _stretch(self) -> int:
        """Lane steps that are whole frames, about ``block`` samples."""
        whole = lcm(self.hop, self.config.lanes)
        return max(1, self.block // whole) * whole // self.config.lanes

    def _condition(self, cond: Frames, part: tuple[int, int]) -> Tensor:
        """Conditioning of samples ``[first, last)``, first at the start of a frame: ``[lanes·B, n, C]``."""
        assert self.conditioner is not None
        frame = cond.left + part[0] // self.hop
        behind = min(frame, self.conditioner.spec.context or frame)
        vectors = self.condition(Frames(cond.features[:, frame - behind :], cond.speaker, behind), part[1] - part[0])
        assert isinstance(vectors, Tensor)
        return self._fold(_filled(vectors, self.config.lanes, each=1))

    def _look_ahead(self, values: Tensor, part: tuple[int, int], state: _Scored) -> tuple[Tensor, _Scored]:
        """Context of lanes at lane steps ``[first, last)``; ``values [lanes, B, n]`` → ``[lanes·B, steps, C]``."""
        lanes, horizon = values.shape[0], self.config.horizon
        first = part[0] + horizon if part[0] else 0
        seen = torch.nn.functional.pad(values, (0, horizon))[:, :, first : part[1] + horizon].permute(1, 2, 0)
        lane = torch.arange(lanes, device=values.device)
        entering = self.context.inputs(seen.expand(lanes, -1, -1, -1), lane).flatten(0, 1)
        context, after = self.context.step(entering, state.context)
        return context[:, context.shape[1] - (part[1] - part[0]) :], state._replace(context=after)

    def _fold(self, x: Tensor) -> Tensor:
        """Samples to lanes: ``[B, n·lanes, …] → [lanes·B, n, …]``, lane-major."""
        return x.unflatten(1, (-1, self.config.lanes)).movedim(2, 0).flatten(0, 1)

    def _unfold(self, x: Tensor) -> Tensor:
        """Lanes to samples: the inverse of :meth:`_fold`."""
        return x.unflatten(0, (self.config.lanes, -1)).movedim(0, 2).flatten(1, 2)

    def _units(self, elements: Tensor) -> Tensor:
        """Bytes ``[…, 2]`` of samples as real numbers, silence as 0: ``(256·c + f - 32768) / unit``."""
        pcm = 256 * elements[..., 0] + elements[..., 1] - 32768
        return pcm.to(self.context.zeros(0).dtype) / self.config.unit


def _fits(symbols_per_sample: int, spec: StreamSpec) -> bool:
    """Whether a body reads conditioned samples as two bytes."""
    return (symbols_per_sample, spec.vocab_size) == (2, 256) and spec.cond_dim > 0


def _filled(x: Tensor, lanes: int, *, each: int = 2) -> Tensor:
    """``[B, samples·each, …]`` filled up to a multiple of the lanes: elements with silence, all else with 0."""
    missing = -x.shape[1] % (each * lanes)
    if x.dtype == torch.int64:
        silence = x.new_tensor(_SILENT).repeat(missing // each)
        return torch.cat([x, silence.expand(x.shape[0], -1)], dim=1)
    return torch.cat([x, x.new_zeros(x.shape[0], missing, *x.shape[2:])], dim=1)
