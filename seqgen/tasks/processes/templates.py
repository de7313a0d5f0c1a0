"""Noisy templates as a known source of symbols: a hidden class says what slow curve a sequence wanders about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.tasks.processes.hidden_markov import Reals, Symbols, inverted

_STREAM = noise.name_to_stream("seqgen.processes.templates")


@dataclass(frozen=True)
class Templates:
    """Sequences of T symbols of K levels about one of C slow curves m_c, all classes alike:

        p(x_t = j | x_t-1, c) ∝ exp(-½ (j - µ_t)² / σ²),    µ_t = m_c(t) + a (x_t-1 - m_c(t - 1))

    with ``σ / √(1 - a²)`` in the place of σ for the first one. Curves are random sums of the first ``harmonics`` of the
    length, of a standard deviation of ``amplitude`` levels about the middle.

    Attributes:
        classes: C. symbols: K. length: T. harmonics, amplitude: of the curves. coefficient: a. deviation: σ, in levels.
        seed: of the curves.

    Raises:
        SeqgenError: for numbers that make no such source.
    """

    classes: int = 8
    symbols: int = 8
    length: int = 64
    harmonics: int = 3
    amplitude: float = 1.5
    coefficient: float = 0.7
    deviation: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = min(self.classes, self.length, self.harmonics) >= 1 and self.symbols >= 2
        if not sizes or self.deviation <= 0 or self.amplitude < 0 or not 0 <= self.coefficient < 1:
            raise SeqgenError(
                f"templates: got {self}",
                remedy="give 1 or more of everything, 2 symbols or more, a deviation above 0 and a coefficient from 0 "
                "to below 1",
            )

    @cached_property
    def curves(self) -> Reals:
        """Levels that the classes wander about, ``[C, T]``."""
        count = 2 * self.classes * self.harmonics
        size, phase = noise.uniforms(self.seed, _STREAM, np.arange(count)).reshape(2, self.classes, self.harmonics, 1)
        turns = np.arange(1, self.harmonics + 1)[:, None] * np.arange(self.length) / self.length  # [H, T]
        waves = ((0.5 + size) * np.cos(2 * np.pi * (turns + phase))).sum(axis=1)  # [C, T]
        power = ((0.5 + size) ** 2).sum(axis=1) / 2  # [C, 1]
        made: Reals = (self.symbols - 1) / 2 + self.amplitude * waves / np.sqrt(power)
        return made

    def labels(self, u: Reals) -> Symbols:
        """Classes of sequences, by the first of their uniforms: ``[N, 1 + T] → [N]``."""
        found: Symbols = np.minimum(u[:, 0] * self.classes, self.classes - 1).astype(np.int64)
        return found

    def draw(self, u: Reals) -> Symbols:
        """Sequences, a function of uniforms: ``[N, 1 + T] → [N, T]``."""
        curves = self.curves[self.labels(u)]  # [N, T]
        drawn = np.empty((len(u), self.length), np.int64)
        for t in range(self.length):
            drawn[:, t] = inverted(np.exp(self._log_shares(t, drawn[:, t - 1], curves)), u[:, 1 + t])
        return drawn

    def log_prob(self, x: Symbols) -> Reals:
        """``ln p(x | c)`` of whole sequences under each class in nats: ``[N, T] → [N, C]``."""
        found = np.zeros((len(x), self.classes))
        for t in range(self.length):
            shares = self._log_shares(t, x[:, None, t - 1], self.curves[None])  # [N, C, K]
            found += np.take_along_axis(shares, x[:, None, t, None], axis=2)[..., 0]
        return found

    def _log_shares(self, t: int, before: Symbols, curves: Reals) -> Reals:
        """``ln p(x_t = j | x_t-1, c)``: symbols before ``[…]`` and curves ``[…, T] → […, K]``."""
        if t:
            middle, deviation = curves[..., t] + self.coefficient * (before - curves[..., t - 1]), self.deviation
        else:
            middle, deviation = curves[..., 0], self.deviation / math.sqrt(1 - self.coefficient**2)
        heights = -0.5 * ((np.arange(self.symbols) - middle[..., None]) / deviation) ** 2
        made: Reals = heights - np.logaddexp.reduce(heights, axis=-1, keepdims=True)
        return made
