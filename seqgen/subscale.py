"""Subscale generation: a waveform as B interleaved lanes, made side by side by one set of weights.

Lane s holds every B-th sample, ``u_{Bi+s}`` for lane steps i = 0, 1, …; with ``F`` the look-ahead horizon

    p(u) = Π_s Π_i p(u_{Bi+s} | u_{Bk+s}, k < i ;  u_{Bk+z}, z < s, k <= i + F ;  features)

The body runs along each lane, and :class:`seqgen.models.lanes.LaneContext` tells it of the lanes before. A lane may
start when the lane before is ``F + 1`` steps ahead. So at step τ the samples ``(i, s)`` with ``i = τ - s·(F + 1)`` are
made together, one of each lane under way, in ``L/B + (B - 1)·(F + 1)`` steps for L samples.

Source: Kalchbrenner et al., "Efficient Neural Audio Synthesis", arXiv 1802.08435, section 4, equation 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.generator import Generator
from seqgen.models.lanes import LaneContext
from seqgen.models.wavernn import SILENCE
from seqgen.sample import AutoRegressive
from seqgen.stream.state import map_leaves, rows

_BLOCK = 8000  # samples of a stretch that is scored without gradients


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


class _Lanes(NamedTuple):
    """Everything of the lanes between two stretches; rows are lane-major, ``lane · B + row of the batch``."""

    previous: Tensor
    body: Any
    context: Any


class Subscale(nn.Module):
    """A generator of 16-bit samples whose lanes run side by side.

    A recording ends: beyond its last sample the lanes before are 0. Its length is filled up with silence to a multiple
    of the lanes; what is filled up is neither scored nor returned.

    Args:
        config: see :class:`SubscaleConfig`; at least two lanes.
        plain: body, emission and conditioning network; the body is that of one lane.

    Raises:
        SeqgenError: for a body that does not read samples as two bytes, or takes no conditioning.

    Example:
        >>> subscale = Subscale(SubscaleConfig(lanes=8, horizon=8), plain)  # doctest: +SKIP
        >>> subscale.steps(8000)                                           # doctest: +SKIP
        1063
    """

    def __init__(self, config: SubscaleConfig, plain: Generator) -> None:
        super().__init__()
        spec = plain.body.spec
        fits = (plain.per_sample, spec.symbols) == (2, 256) and spec.cond_dim > 0
        if not isinstance(plain, AutoRegressive) or not fits:
            raise SeqgenError(
                "subscale: the model does not read conditioned samples as two bytes",
                remedy="choose a conditioned wavernn with data.codec bytes16, or subscale.lanes 1",
            )
        self.config, self.plain = config, plain
        self.context = LaneContext(
            lanes=config.lanes,
            horizon=config.horizon,
            channels=config.channels,
            blocks=config.blocks,
            out_dim=spec.cond_dim,
        )

    @property
    def per_sample(self) -> int:
        """Elements that make one audio sample."""
        return self.plain.per_sample

    @property
    def latency(self) -> int:
        """Audio samples of look-ahead of the conditioning network."""
        return self.plain.latency

    def steps(self, samples: int) -> int:
        """Steps, of one sample of every lane under way, that ``samples`` samples take."""
        lanes, lag = self.config.lanes, self.config.horizon + 1
        return -(-samples // lanes) + (lanes - 1) * lag if samples else 0

    def log_prob(self, x: Tensor, features: Tensor, speaker: Tensor, *, left: int = 0) -> Tensor:
        """``ln p`` of every byte in nats, all lanes at once; see :meth:`seqgen.sample.AutoRegressive.log_prob`.

        Shapes: int64 ``x [B, 2·samples]``, ``features [B, left + frames + look-ahead, M]``, int64 ``speaker [B]`` →
        ``[B, 2·samples]``.

        Raises:
            SeqgenError: where the features are too short for ``x``.
        """
        lanes, batch, length = self.config.lanes, x.shape[0], x.shape[1] // 2
        elements = self._fold(_filled(x, lanes).unflatten(1, (-1, 2)))
        count = elements.shape[1]
        values = self._units(elements.unflatten(0, (lanes, batch)))
        # Without gradients nothing of a stretch is needed later, so memory does not grow with the recording.
        size = count if torch.is_grad_enabled() else self._stretch()
        state, parts = self._start(batch), [x.new_zeros(batch, 0, dtype=features.dtype)]
        for first in range(0, count, size):
            last = min(first + size, count)
            cond = self._condition(features, speaker, left, (first * lanes, min(last * lanes, length)))
            context, state = self._look_ahead(values, (first, last), state)
            piece = elements[:, first:last].flatten(1)
            line = torch.cat([state.previous[:, None], piece], dim=1)
            params, body = self.plain.body.step(line[:, :-1], state.body, context + cond)
            state = _Lanes(line[:, -1], body, state.context)
            scored = self.plain.emission.log_prob(params, piece).unflatten(1, (-1, 2))
            parts.append(self._unfold(scored).flatten(1))
        return torch.cat(parts, dim=1)[:, : x.shape[1]]

    @torch.no_grad()
    def sample(
        self, u: Tensor, features: Tensor, speaker: Tensor, temperature: Tensor | float = 1.0, *, staggered: bool = True
    ) -> Tensor:
        """Draw whole recordings: the lanes side by side, each ``F + 1`` steps behind the one before.

        ``staggered=False`` finishes one lane before it starts the next, which is the definition; the same ``u`` give
        the same bytes.

        Shapes: ``u [B, 2·samples, draws]`` in the order of the samples, ``features [B, frames + look-ahead, M]``, int64
        ``speaker [B]`` → int64 ``[B, 2·samples]``.

        Raises:
            SeqgenError: where the features are too short for that many samples.
        """
        length = u.shape[1] // 2
        cond = self._condition(features, speaker, 0, (0, length))
        each = self._fold(_filled(u, self.config.lanes).unflatten(1, (-1, 2)))
        run = self._staggered if staggered else self._lane_after_lane
        made = run(each, cond, length, temperature)
        return self._unfold(made).flatten(1)[:, : u.shape[1]]

    def _lane_after_lane(self, u: Tensor, cond: Tensor, length: int, temperature: Tensor | float) -> Tensor:
        """``u [lanes·B, n, 2, draws]``, ``cond [lanes·B, n, C]`` → bytes ``[lanes·B, n, 2]``."""
        lanes, count = self.config.lanes, u.shape[1]
        batch = u.shape[0] // lanes
        values = cond.new_zeros(batch, count, lanes)
        made = []
        for lane in range(lanes):
            part = slice(lane * batch, (lane + 1) * batch)
            ahead = torch.nn.functional.pad(values, (0, 0, 0, self.config.horizon))
            context = self.context(self.context.inputs(ahead, torch.full((batch,), lane, device=u.device)))
            given = context[:, self.config.horizon :] + cond[part]
            start = self.plain.init_state(batch)
            drawn = self.plain.draw(u[part].flatten(1, 2), start.previous, start.body, given, temperature)[0]
            made.append(drawn.unflatten(1, (-1, 2)))
            exists = torch.arange(count, device=u.device) * lanes + lane < length
            values[:, :, lane] = self._units(made[-1]) * exists
        return torch.cat(made)

    def _staggered(self, u: Tensor, cond: Tensor, length: int, temperature: Tensor | float) -> Tensor:
        """The same, one sample of every lane under way at a time."""
        lanes, count, lag = self.config.lanes, u.shape[1], self.config.horizon + 1
        batch = u.shape[0] // lanes
        u, cond = u.unflatten(0, (lanes, batch)), cond.unflatten(0, (lanes, batch))
        made = torch.zeros(lanes, batch, count, 2, dtype=torch.int64, device=u.device)
        values = cond.new_zeros(batch, count + self.config.horizon, lanes)
        state = self._start(batch)
        for tau in range(-self.config.horizon, self.steps(length)):
            # Where each lane is; those that do not make samples yet read what they will look back on.
            at = tau - lag * torch.arange(lanes, device=u.device)
            reading, making = ((at >= first) & (at < count) for first in (-self.config.horizon, 0))
            lane, at = reading.nonzero()[:, 0], at[reading]
            part = slice(int(lane[0]) * batch, (int(lane[-1]) + 1) * batch)
            entering = self.context.inputs(values[:, at + self.config.horizon].transpose(0, 1), lane)
            context, after = self.context.step(entering.flatten(0, 1)[:, None], rows(state.context, part))
            state = state._replace(context=_replaced(state.context, part, after))
            # A lane that makes samples is further than one that only reads: it comes first.
            lane, at = lane[: int(making.sum())], at[: int(making.sum())]
            if len(lane) == 0:
                continue
            part = slice(part.start, part.start + len(lane) * batch)
            given = context[: len(lane) * batch] + cond[lane, :, at].flatten(0, 1)[:, None]
            drawn, previous, body = self.plain.draw(
                u[lane, :, at].flatten(0, 1), state.previous[part], rows(state.body, part), given, temperature
            )
            state = _Lanes(_replaced(state.previous, part, previous), _replaced(state.body, part, body), state.context)
            made[lane, :, at] = drawn.unflatten(0, (-1, batch))
            # What fills up the last step is there for nobody.
            exists = (at * lanes + lane < length)[:, None]
            values[:, at, lane] = (self._units(made[lane, :, at]) * exists).t()
        return made.flatten(0, 1)

    def _start(self, batch: int) -> _Lanes:
        every = self.config.lanes * batch
        fresh = self.plain.init_state(every)
        return _Lanes(fresh.previous, fresh.body, self.context.init_state(every))

    def _stretch(self) -> int:
        """Lane steps that are whole frames, about ``_BLOCK`` samples."""
        whole = lcm(self.plain.hop, self.config.lanes)
        return max(1, _BLOCK // whole) * whole // self.config.lanes

    def _condition(self, features: Tensor, speaker: Tensor, left: int, part: tuple[int, int]) -> Tensor:
        """Conditioning of samples ``[first, last)``, first at the start of a frame: ``[lanes·B, n, C]``."""
        assert self.plain.conditioner is not None
        frame = left + part[0] // self.plain.hop
        behind = min(frame, self.plain.conditioner.spec.context or frame)
        cond = self.plain.condition(features[:, frame - behind :], speaker, left=behind, vectors=part[1] - part[0])
        assert cond is not None
        return self._fold(_filled(cond, self.config.lanes, each=1))

    def _look_ahead(self, values: Tensor, part: tuple[int, int], state: _Lanes) -> tuple[Tensor, _Lanes]:
        """What lanes are told at lane steps ``[first, last)``; ``values [lanes, B, n]`` → ``[lanes·B, steps, C]``."""
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


def _filled(x: Tensor, lanes: int, *, each: int = 2) -> Tensor:
    """``[B, samples·each, …]`` filled up to a multiple of the lanes: elements with silence, all else with 0."""
    missing = -x.shape[1] % (each * lanes)
    if x.dtype == torch.int64:
        silence = x.new_tensor([SILENCE, 0]).repeat(missing // each)
        return torch.cat([x, silence.expand(x.shape[0], -1)], dim=1)
    return torch.cat([x, x.new_zeros(x.shape[0], missing, *x.shape[2:])], dim=1)


def _replaced(state: Any, part: slice, piece: Any) -> Any:
    """A state tree with the rows of ``part`` replaced."""
    return map_leaves(lambda old, new: torch.cat([old[: part.start], new, old[part.stop :]]), state, piece)
