"""Synthesis filters, from what is learnt back to speech: the all-pole filter of an excitation, its coefficients as a
stream, and the sum of bands."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqgen.audio.filter_bank import FilterBank
from seqgen.audio.prediction import PCM_HIGH, PCM_LOW, LinearPrediction, predicted
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable


class FrameCoefficients(Streamable[Tensor]):
    """Stream of predictor coefficients for every sample, in step with a conditioning network of the given latency.

    Vector ``v`` of a stream is that of frame ``(v - latency) // hop``. The state holds the coefficients of the frames
    that wait; before the first frame they are those of silence.

    Shapes: ``[B, F, bands + speakers] → [B, F·hop, order]``.
    """

    def __init__(self, prediction: LinearPrediction, *, speakers: int, latency: int) -> None:
        super().__init__()
        self.prediction = prediction
        features = prediction.spec
        self.waiting = -(-latency // features.hop)
        self.spec = StreamSpec(
            in_dim=features.bands + speakers,
            out_dim=prediction.order,
            up=features.hop,
            latency=latency,
            context=self.waiting + 1,
        )

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        features = self.prediction.spec
        silence = torch.full((batch, self.waiting, features.n_mels), features.silence, device=self._like.device)
        return self.prediction.coefficients(silence).to(self._like.dtype)

    def step(self, x: Tensor, state: Tensor, cond: Conditioning | None = None) -> tuple[Tensor, Tensor]:
        features = self.prediction.spec
        made = self.prediction.coefficients(x[..., : features.n_mels])
        line = torch.cat([state, made.to(state.dtype)], dim=1)  # whole numbers below 2^15: exact in float32
        batch, length, order = line.shape
        each = line[:, :, None].expand(batch, length, features.hop, order).reshape(batch, -1, order)
        start = self.waiting * features.hop - self.spec.latency
        return each[:, start : start + x.shape[1] * features.hop], line[:, x.shape[1] :]


class LinearSynthesis(Streamable[Tensor]):
    """All-pole filter ``x_t = clip16(e_t + x̂_t)`` with ``x̂_t`` predicted from the last ``order`` outputs, newest
    first in the state.

    Shapes: excitation ``[B, T, 1]`` and coefficients ``cond [B, T, order]``, PCM units → PCM ``[B, T, 1]``.

    Source: see :mod:`seqgen.audio.prediction`.
    """

    def __init__(self, order: int) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=1, out_dim=1, cond_dim=order, context=None)

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        return self.zeros(batch, self.spec.cond_dim)

    def step(self, x: Tensor, state: Tensor, cond: Conditioning | None = None) -> tuple[Tensor, Tensor]:
        assert cond is not None
        made = [x[:, :0]]
        for t in range(x.shape[1]):
            guess = predicted(state.double(), cond[:, t].double()).to(x.dtype)
            pcm = (x[:, t, 0] + guess).clamp(PCM_LOW, PCM_HIGH)[:, None]
            state = torch.cat([pcm, state[:, :-1]], dim=1)
            made.append(pcm[:, None])
        return torch.cat(made, dim=1), state


class BandsState(NamedTuple):
    """State of a sum of bands: the last numbers, oldest first, ``[B, P]``, and the band that is next, int64 ``[B]``."""

    past: Tensor
    phase: Tensor


class BandSynthesis(Streamable[BandsState]):
    """Sum of bands: samples of the numbers that a filter bank cut them into, one for each number and of those before it
    alone.

    Shapes: numbers, the bands of a place one after the other, ``[B, T, 1]`` → ``[B, T, 1]``.

    Source: see :mod:`seqgen.audio.filter_bank`.
    """

    def __init__(self, bank: FilterBank) -> None:
        super().__init__()
        weights = bank.synthesis()
        self.bands, self.reach = weights.shape
        self.register_buffer("weights", torch.from_numpy(weights.astype(np.float32)), persistent=False)
        self.spec = StreamSpec(in_dim=1, out_dim=1, context=self.reach + 1)

    weights: Tensor

    def init_state(self, batch: int, memory: Any = None) -> BandsState:
        past = self.zeros(batch, self.reach)
        return BandsState(past, torch.zeros(batch, dtype=torch.int64, device=past.device))

    def step(self, x: Tensor, state: BandsState, cond: Conditioning | None = None) -> tuple[Tensor, BandsState]:
        count = x.shape[1]
        line = torch.cat([state.past, x[..., 0]], dim=1)
        at = state.phase[:, None] + torch.arange(count, device=x.device)
        rows = self.weights[at - torch.div(at, self.bands, rounding_mode="floor") * self.bands]  # [B, T, P]
        windows = torch.stack([line[:, t : t + self.reach] for t in range(count)], dim=1) if count else rows
        made = (rows * windows).sum(dim=2, keepdim=True)
        phase = state.phase + count
        phase = phase - torch.div(phase, self.bands, rounding_mode="floor") * self.bands
        return made, BandsState(line[:, count:], phase)
