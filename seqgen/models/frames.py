"""The conditioning network of a vocoder: log-mel frames or codes (and a speaker) to one vector per sample."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.audio.periodicity import HIGHEST, LOWEST
from seqgen.errors import SeqgenError
from seqgen.nets.layers import Activation, CausalConv1d, Dense
from seqgen.spec import Facts, FeatureSpec, FrameSpec, StreamSpec
from seqgen.stream.combinators import Interpolate, Residual, Serial
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable
from seqgen.stream.lazy_interpolation import LazyInterpolation


def _block(channels: int) -> Residual:
    return Residual(
        Serial(
            CausalConv1d(channels, channels, kernel=3),
            Activation("relu", dim=channels),
            Dense(channels, channels),
        )
    )


PERIOD = 2
"""Channels that tell a period."""


class FrameConditioner(Streamable[tuple[Any, ...]]):
    """Conditioning network of frames, ``Interpolate(hop) ∘ Dense ∘ residual blocks ∘ relu(look-ahead convolution +
    speaker embedding)``.

    All but the interpolation runs at the frame rate. The up-sampling factor is the features' hop. A fresh stream is
    one that has heard silence for ever: the initial state is what silent frames leave behind, which is also what a
    training segment sees before the start of its recording. Frames of another kind than log-mel, codes say, are read as
    they are, and silence is zeros. Where it is ``periodic``, the first two channels are no network's: they are the
    logarithm of the period in samples that the frame's pitch tells, the longest where there is none, and its clarity.

    Shapes: ``[B, F, channels + n_speakers]`` (log-mel in nats, then the speaker one-hot) → ``[B, F·hop, out_dim]``;
    latency ``look_ahead·hop + hop - hop//2`` samples.

    Example:
        >>> spec = FeatureSpec(sample_rate=8000, n_fft=64, window=40, hop=20, n_mels=8)
        >>> net = FrameConditioner(FrameConditioner.Config(channels=16), features=spec, speakers=0, out_dim=6)
        >>> net.spec.up, net.spec.latency
        (20, 50)
    """

    @dataclass(frozen=True)
    class Config:
        """``channels`` of the frame network, ``blocks`` residual blocks, ``look_ahead`` frames of future context."""

        channels: int = 128
        blocks: int = 2
        look_ahead: int = 2

    @classmethod
    def build(cls, options: Config, facts: Facts, *, out_dim: int, periodic: bool = False) -> FrameConditioner:
        """Construct the network for a task's frames and speakers.

        Raises:
            SeqgenError: for data without frames, and frames without the pitch that is to be told.
        """
        features = facts.features if facts.features is not None else facts.frames
        if features is None:
            raise SeqgenError(
                f"frames: the model takes {out_dim} conditioning channels, the data have no frames",
                remedy="set conditioned: false",
            )
        return cls(options, features=features, speakers=facts.num_speakers, out_dim=out_dim, periodic=periodic)

    @classmethod
    def examples(cls) -> Iterable[FrameConditioner]:
        features = FeatureSpec(sample_rate=8000, n_fft=64, window=12, hop=4, n_mels=6)
        small = cls.Config(channels=5, blocks=1, look_ahead=1)
        mel = [cls(small, features=features, speakers=speakers, out_dim=4) for speakers in (0, 3)]
        pitched = FeatureSpec(sample_rate=400, n_fft=32, window=8, hop=4, n_mels=3, pitch=True)
        told = cls(small, features=pitched, speakers=2, out_dim=4, periodic=True)
        return [*mel, cls(small, features=FrameSpec(channels=2, hop=3), speakers=2, out_dim=4), told]

    def __init__(
        self,
        config: Config,
        *,
        features: FeatureSpec | FrameSpec,
        speakers: int,
        out_dim: int,
        periodic: bool = False,
    ) -> None:
        super().__init__()
        if config.channels < 1 or config.blocks < 0 or config.look_ahead < 0:
            raise SeqgenError(f"frames: got {config}", remedy="choose channels >= 1, blocks >= 0 and look_ahead >= 0")
        self.channels, self.silence, self.scale = _read_as(features)
        self.speakers = speakers
        self.enter = CausalConv1d(
            self.channels, config.channels, kernel=2 * config.look_ahead + 1, look_ahead=config.look_ahead
        )
        self.speaker = nn.Linear(speakers, config.channels, bias=False) if speakers else None
        told = PERIOD if periodic else 0
        self.rest = Serial(
            Activation("relu", dim=config.channels),
            *(_block(config.channels) for _ in range(config.blocks)),
            Dense(config.channels, out_dim - told),
            Interpolate(features.hop, dim=out_dim - told),
        )
        self.period = Period(features, config.look_ahead) if periodic else None
        # What interpolates a period beside the rest; in a network without one it is the last layer.
        self.wider = Interpolate(features.hop, dim=out_dim) if periodic else None
        inner = Serial(self.enter, self.rest).spec
        self.spec = StreamSpec(
            in_dim=self.channels + speakers,
            out_dim=out_dim,
            up=inner.up,
            latency=inner.latency,
            context=inner.context,
        )

    def init_state(self, batch: int, memory: Any = None) -> tuple[Any, ...]:
        silence = self.zeros(1, self.spec.context or 1, self.spec.in_dim)
        silence[..., : self.channels] = self.silence
        *rest, _ = self.rest.init_state(1)
        fresh: tuple[Any, ...] = (self.enter.init_state(1), (*rest, self.interpolate.init_state(1)))
        if self.period is not None:
            fresh = (*fresh, self.period.init_state(1))
        return _repeat(self.advance(silence, fresh), batch)

    def step(
        self, x: Tensor, state: tuple[Any, ...], cond: Conditioning | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        made, (first, (*rest, waiting), *period) = self.frames(x, state)
        y, waiting = self.interpolate.step(made, waiting)  # [B, F·hop, out_dim]
        return y, (first, (*rest, waiting), *period)

    def lazy(
        self, x: Tensor, state: tuple[Any, ...], start: int, stop: int
    ) -> tuple[LazyInterpolation, tuple[Any, ...]]:
        """Vectors ``start … stop - 1`` of :meth:`step`, not multiplied out."""
        made, (first, (*rest, waiting), *period) = self.frames(x, state)
        vectors, waiting = self.interpolate.lazy(made, waiting, start, stop)
        return vectors, (first, (*rest, waiting), *period)

    def frames(self, x: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """Points that :meth:`step` interpolates, ``[B, F, out_dim]``; the interpolation's own state stays as it was."""
        y, first = self._enter(x, state[0])
        *layers, _ = self.rest.layers
        after = []
        for layer, inner in zip(layers, state[1][:-1], strict=True):
            y, inner = layer.step(y, inner)  # type: ignore[operator]
            after.append(inner)
        rest = (*after, state[1][-1])
        if self.period is None:
            return y, (first, rest)
        told, period = self.period.step(x, state[2])
        return torch.cat([told, y], dim=2), (first, rest, period)

    @property
    def interpolate(self) -> Interpolate:
        """The last layer."""
        last = self.rest.layers[-1] if self.wider is None else self.wider
        assert isinstance(last, Interpolate)
        return last

    def advance(self, x: Tensor, state: tuple[Any, ...], cond: Conditioning | None = None) -> tuple[Any, ...]:
        made, (first, (*rest, waiting), *period) = self.frames(x, state)
        return first, (*rest, self.interpolate.advance(made, waiting)), *period

    def _enter(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        scaled = (x[..., : self.channels] - self.silence) * self.scale
        entered, state = self.enter.step(scaled, state)
        if self.speaker is not None:
            entered = entered + self.speaker(x[..., self.channels :])
        return entered, state


class Period(Streamable[Tensor]):
    """Stream of the period that frames tell, so many frames later: its logarithm in samples, ``ln(rate / f)`` with f
    the lowest pitch of all where there is none, and its clarity.

    Shapes: frames ``[B, F, bands + …] → [B, F, 2]``.

    Raises:
        SeqgenError: for frames that tell no pitch.
    """

    def __init__(self, features: FeatureSpec | FrameSpec, delay: int) -> None:
        super().__init__()
        if not isinstance(features, FeatureSpec) or not features.pitch:
            raise SeqgenError(
                "the model looks one period back, the frames tell no pitch",
                remedy="set `pitch: true` among the features",
            )
        self.place, self.silence = features.n_mels, features.silence
        self.longest, self.span = math.log(features.sample_rate / LOWEST), math.log(HIGHEST / LOWEST)
        self.delay = delay
        self.spec = StreamSpec(in_dim=features.bands, out_dim=PERIOD, context=delay + 1)

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        period, clarity = self.zeros(batch, self.delay, 1) + self.longest, self.zeros(batch, self.delay, 1)
        return torch.cat([period, clarity], dim=2)

    def step(self, x: Tensor, state: Tensor, cond: Conditioning | None = None) -> tuple[Tensor, Tensor]:
        weighed, clarity = (1 - x[..., self.place : self.place + 2] / self.silence).split(1, dim=-1)
        # The pitch is told times the clarity squared, see seqgen.audio.periodicity.
        pitch = torch.where(clarity > 0, weighed / clarity.clamp_min(1e-3).square(), 0.0).clamp(0, 1)
        line = torch.cat([state, torch.cat([self.longest - self.span * pitch, clarity], dim=2)], dim=1)
        return line[:, : x.shape[1]], line[:, x.shape[1] :]


def _read_as(frames: FeatureSpec | FrameSpec) -> tuple[int, float, float]:
    """Channels of a frame, what silence has in each, and what its distance from that is multiplied with: log-mel
    silence becomes 0 and full scale about 1, whatever the floor."""
    if isinstance(frames, FeatureSpec):
        return frames.bands, frames.silence, 1 / abs(frames.silence)
    return frames.channels, 0.0, 1.0


def _repeat(state: Any, batch: int) -> Any:
    if isinstance(state, Tensor):
        return state.repeat(batch, *[1] * (state.dim() - 1))
    children = [_repeat(child, batch) for child in state]
    return type(state)(*children) if hasattr(state, "_fields") else tuple(children)


def with_speaker(features: Tensor, speaker: Tensor, speakers: int) -> Tensor:
    """Append the one-hot speaker to every frame: ``[B, F, M], int64 [B] → [B, F, M + speakers]``."""
    if speakers == 0:
        return features
    hot = torch.nn.functional.one_hot(speaker, speakers).to(features.dtype)
    return torch.cat([features, hot[:, None].expand(-1, features.shape[1], -1)], dim=2)
