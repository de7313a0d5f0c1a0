"""Synthesis filter, from excitation back to speech: its coefficients as a stream, and the all-pole filter itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

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
