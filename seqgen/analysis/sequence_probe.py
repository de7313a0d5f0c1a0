"""A fresh probe: how well a small network, trained for this alone, tells sequences of two kinds apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen import noise
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.behaviour import behaviour, free_running, stretch, uniforms
from seqgen.models.discriminator import SequenceDiscriminator
from seqgen.models.encoder import inside
from seqgen.nets.bidirectional import both_ways
from seqgen.nets.gru import GRU
from seqgen.noise import Key
from seqgen.objectives.contract import Rows

_HIDDEN, _PASSES, _MOST, _ROWS, _RATE = 32, 60, 1000, 64, 3e-3
_BLOCK = 256  # rows that a generator reads at once


class Sequences(NamedTuple):
    """Sequences of two kinds, row by row of the same lengths: ``first, second [N, T, C]``, ``lengths [N]``."""

    first: Tensor
    second: Tensor
    lengths: Tensor

    def last(self, length: int) -> Sequences:
        """Their last so many places, of rows that are equally long."""
        cut = self.first.shape[1] - length
        return Sequences(self.first[:, cut:], self.second[:, cut:], self.lengths - cut)

    def split(self, rows: int) -> tuple[Sequences, Sequences]:
        """The first so many rows, and the others."""
        heads, tails = ([part[:rows] for part in self], [part[rows:] for part in self])
        return Sequences(*heads), Sequences(*tails)

    def at(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the first kind, then of the second, with their lengths."""
        return torch.cat([self.first[rows], self.second[rows]]), self.lengths[rows].repeat(2)


class Probe(SequenceDiscriminator):
    """A small probe: a gated recurrent layer that reads both ways, and a linear function of the mean of its outputs.

    Its weights are uniform in ``±1/√inputs``, a function of the key.
    """

    def __init__(self, in_dim: int, key: Key) -> None:
        super().__init__(in_dim=in_dim)
        self.onward, self.homeward = GRU(in_dim, _HIDDEN), GRU(in_dim, _HIDDEN)
        self.out = nn.Linear(2 * _HIDDEN, 1)
        start = 0
        with torch.no_grad():
            for parameter in self.parameters():
                u = noise.block(key.seed, key.stream, start, parameter.numel())
                bound = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.0
                parameter.copy_(torch.from_numpy(2 * u - 1).view(parameter.shape) * bound)
                start += parameter.numel()

    def logits(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = both_ways(self.onward, self.homeward, x, inside(lengths, x.shape[1]))  # [B, T, 2·hidden]
        made: Tensor = self.out(h.sum(dim=1) / lengths.clamp_min(1)[:, None])
        return made[:, 0]


def both_modes(generator: AutoRegressive, x: Tensor, key: Key, warm_up: int = 0) -> Sequences:
    """Behaviour sequences of a generator without conditioning while it reads data ``x [N, T]`` (or ``[N, T, 1]``), and
    while it goes on by itself for as long."""
    parts = []
    for index, rows in enumerate(x.split(_BLOCK)):
        batch = Rows(rows, torch.full((len(rows),), x.shape[1]))
        where = stretch(batch, warm_up)
        y = free_running(generator, batch, where.start, uniforms(batch, generator, Key(key.seed, key.stream + index)))
        first, second = (where.of(behaviour(generator, one).sequence) for one in (rows, y))
        parts.append(Sequences(first, second, where.lengths))
    return Sequences(*(torch.cat(one) for one in zip(*parts, strict=True)))


def accuracy(training: Sequences, held_out: Sequences, key: Key) -> Tensor:
    """Share of both kinds that a fresh probe tells rightly of each held-out row, 0, ½ or 1, ``[N]``.

    ½ on average is chance: the kinds are alike as far as the probe can see. The probe is a function of sequences and
    key, and goes through the training rows 60 times, for a thousand updates at most.
    """
    probe = Probe(training.first.shape[-1], key).to(training.first)
    optimiser = torch.optim.Adam(probe.parameters(), _RATE)
    updates = min(_MOST, _PASSES * len(training.lengths) // _ROWS)
    draws = noise.block(key.seed, key.stream + 1, 0, updates * _ROWS).reshape(updates, _ROWS)
    chosen = torch.from_numpy((draws * len(training.lengths)).astype(np.int64))
    with torch.enable_grad():
        for rows in chosen:
            first, second = probe(*training.at(rows)).chunk(2)
            loss = (F.softplus(-first) + F.softplus(second)).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
            optimiser.step()
    with torch.no_grad():
        first, second = probe(*held_out.at(torch.arange(len(held_out.lengths)))).chunk(2)
    return ((first > 0).to(first) + (second <= 0).to(first)) / 2
