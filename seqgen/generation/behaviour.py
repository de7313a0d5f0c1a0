"""Behaviour of an autoregressive density: what goes on inside it while it reads a sequence, be it data or its own."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen import noise
from seqgen.distributions.contract import full
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.nets.bidirectional import at
from seqgen.noise import Key


class Behaviour(NamedTuple):
    """Behaviour along a sequence.

    Attributes:
        params: of each element's distribution, ``[B, T, num_params]``.
        sequence: inner activations of every layer, each normalised over its channels (mean 0, variance 1), and beside
            them the outputs (probabilities of symbols; other distributions' parameters as they are), ``[B, T, C]``.
    """

    params: Tensor
    sequence: Tensor


class Stretch(NamedTuple):
    """Stretch of each row in which the two modes can differ.

    Attributes:
        start: elements before it, which both modes are given, ``[B]``. lengths: of the stretch, ``[B]``.
    """

    start: Tensor
    lengths: Tensor

    def of(self, sequence: Tensor) -> Tensor:
        """The stretch of each row, from place 0 on: ``[B, T, C] → [B, T, C]``; what lies behind it means nothing."""
        length = sequence.shape[1]
        place = self.start[:, None] + torch.arange(length, device=sequence.device)[None]
        return at(sequence, place.clamp_max(length - 1))


def channels(generator: AutoRegressive) -> int:
    """Channels of a behaviour sequence; 0 where the body shows nothing of its inside."""
    inside = sum(generator.body.observed_dims)
    return inside and inside + generator.num_params


def behaviour(generator: AutoRegressive, x: Tensor, cond: Any = None) -> Behaviour:
    """Behaviour while reading ``x [B, T]`` (or ``[B, T, 1]``), differentiable in the parameters, and in real ``x``.

    That of a free-running pass is this function of the elements that were drawn: a state depends on nothing but them.
    """
    params, inside = generator.observed(x, cond)
    params = full(params)
    outputs = params.softmax(dim=-1) if generator.vocab_size else params
    states = [F.layer_norm(full(one), one.shape[-1:]) for one in inside]
    return Behaviour(params, torch.cat([*states, outputs], dim=-1))


def stretch(batch: Any, warm_up: int = 0) -> Stretch:
    """The stretch of each row of a batch behind what it only hears, and behind ``warm_up`` elements at least."""
    skip = getattr(batch, "skip", None)
    start = torch.full_like(batch.lengths, warm_up) if skip is None else skip.clamp_min(warm_up)
    return Stretch(start, (batch.lengths - start).clamp_min(0))


def uniforms(batch: Any, generator: AutoRegressive, rng: Key) -> Tensor:
    """Noise for one free-running pass over a batch, ``[B, T, num_uniforms]``."""
    rows, length = batch.x.shape[:2]
    u = noise.block(rng.seed, rng.stream, 0, rows * length * generator.num_uniforms)
    return torch.from_numpy(u).view(rows, length, -1).to(generator.body.zeros(0))


def free_running(generator: AutoRegressive, batch: Any, start: Tensor, u: Tensor) -> Tensor:
    """Sequences of a batch's length that are its rows up to ``start [B]``, and go on with what is drawn: shaped as
    ``batch.x``."""
    given = torch.arange(batch.x.shape[1], device=start.device)[None] < start[:, None]
    made = generator.fill(batch.x, given, u, batch.cond)
    return made if batch.x.dim() == 2 else made[..., None]
