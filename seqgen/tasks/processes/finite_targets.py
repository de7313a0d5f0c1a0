"""Known distributions over blocks of symbols, which can be drawn from exactly and whose probabilities are known."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.tasks.processes.hidden_markov import Reals, Symbols, every_sequence, inverted

_STREAM = noise.name_to_stream("seqgen.finite.dirichlet")
_LARGEST = 20_000_000  # cells of a table


class Target(ABC):
    """A distribution over blocks of D symbols out of K.

    Attributes:
        vocab_size: K. length: D. num_uniforms: that one block takes.
    """

    vocab_size: int
    length: int
    num_uniforms: int = 2

    @classmethod
    @abstractmethod
    def examples(cls) -> Iterable[Self]:
        """Small ones, whose blocks can be gone through."""

    @abstractmethod
    def draw(self, u: Reals) -> Symbols:
        """Blocks, a function of uniforms: ``[N, num_uniforms] → [N, D]``."""

    @abstractmethod
    def log_prob(self, x: Symbols) -> Reals:
        """``ln p(x)`` of blocks in nats, ``[N, D] → [N]``; -∞ of what is never drawn."""

    @property
    @abstractmethod
    def entropy(self) -> float:
        """Nats of a block."""

    @property
    @abstractmethod
    def marginals(self) -> Reals:
        """Probabilities of the symbols of every position, ``[D, K]``."""

    @property
    def factorised(self) -> float:
        """Nats of a block under the best density whose positions are independent: the sum of their entropies."""
        return sum(entropy(row) for row in self.marginals)


class Table(Target):
    """A distribution that is given by the probability of every block in lexical order, ``[K^D]``."""

    def __init__(self, vocab_size: int, length: int) -> None:
        if vocab_size < 2 or length < 1 or vocab_size**length > _LARGEST:
            raise SeqgenError(
                f"a table of {vocab_size}^{length} blocks",
                remedy=f"give two symbols and one position at least, and at most {_LARGEST:,} blocks",
            )
        self.vocab_size, self.length = vocab_size, length

    @property
    @abstractmethod
    def table(self) -> Reals:
        """The probabilities, in lexical order of the blocks."""

    @cached_property
    def _cumulative(self) -> Reals:
        return self.table.cumsum()

    @property
    def _powers(self) -> Symbols:
        return self.vocab_size ** np.arange(self.length - 1, -1, -1, dtype=np.int64)

    def draw(self, u: Reals) -> Symbols:
        # Two 24-bit words: one alone would not reach every cell.
        fine = (u[:, 0] + u[:, 1] * 2.0**-24) * self._cumulative[-1]
        cells = np.minimum(np.searchsorted(self._cumulative, fine, side="right"), len(self._cumulative) - 1)
        drawn: Symbols = cells[:, None] // self._powers % self.vocab_size
        return drawn

    def log_prob(self, x: Symbols) -> Reals:
        with np.errstate(divide="ignore"):
            found: Reals = np.log(self.table[x @ self._powers])
        return found

    @property
    def entropy(self) -> float:
        return entropy(self.table)

    @property
    def marginals(self) -> Reals:
        whole, axes = self.table.reshape((self.vocab_size,) * self.length), range(self.length)
        return np.stack([whole.sum(axis=tuple(one for one in axes if one != axis)) for axis in axes])


class Dirichlet(Table):
    """Full-rank distribution: all probabilities are drawn together, ``p ~ Dir(1, …, 1)``."""

    @dataclass(frozen=True)
    class Config:
        """``vocab_size``: K. ``length``: D. ``seed``: of the probabilities."""

        vocab_size: int = 5
        length: int = 2
        seed: int = 0

    def __init__(self, config: Config) -> None:
        super().__init__(config.vocab_size, config.length)
        self.seed = config.seed

    @classmethod
    def examples(cls) -> Iterable[Dirichlet]:
        return [cls(cls.Config()), cls(cls.Config(vocab_size=3, length=4, seed=1))]

    @cached_property
    def table(self) -> Reals:
        waiting = -np.log(noise.uniforms(self.seed, _STREAM, np.arange(self.vocab_size**self.length)) + 2.0**-25)
        made: Reals = waiting / waiting.sum()
        return made


class Gaussians(Table):
    """Mixture of Gaussians on a circle, cut into squares: two coordinates of ``levels`` steps each around the middle;
    what lies beyond the outermost belongs to them."""

    @dataclass(frozen=True)
    class Config:
        """``levels`` of a coordinate, ``step`` of one; ``components`` at ``radius`` with standard deviation
        ``deviation``."""

        levels: int = 91
        step: float = 0.05
        components: int = 8
        radius: float = 2.0
        deviation: float = 0.1

    def __init__(self, config: Config) -> None:
        super().__init__(config.levels, 2)
        if config.components < 1 or min(config.step, config.deviation) <= 0:
            raise SeqgenError(f"a mixture of {config}", remedy="give one component, and positive sizes")
        self.config = config

    @classmethod
    def examples(cls) -> Iterable[Gaussians]:
        return [cls(cls.Config(levels=9, step=0.5, components=3))]

    @cached_property
    def table(self) -> Reals:
        config = self.config
        edges = (np.arange(1, config.levels) - config.levels / 2) * config.step
        angles = 2 * np.pi * np.arange(config.components) / config.components
        sides = []
        for centres in (config.radius * np.cos(angles), config.radius * np.sin(angles)):
            below = _normal((edges - centres[:, None]) / config.deviation)  # [components, levels - 1]
            sides.append(np.diff(below, axis=1, prepend=0.0, append=1.0))
        made: Reals = np.einsum("ca,cb->ab", *sides).ravel() / config.components
        return made


class Potts(Target):
    """Potts model on a square lattice with open ends: ``p(x) ∝ exp(J Σ_<ij> 1{x_i = x_j})`` over neighbours.

    Blocks are the lattice row by row. The rows are a Markov chain over K^side states, so that blocks are drawn exactly,
    without a burn-in, and Z and the entropy are known.
    """

    @dataclass(frozen=True)
    class Config:
        """``states``: K. ``side``: of the lattice, D = side². ``coupling``: J."""

        states: int = 3
        side: int = 3
        coupling: float = 0.1

    def __init__(self, config: Config) -> None:
        if config.states < 2 or config.side < 1 or config.states**config.side > 1000:
            raise SeqgenError(f"a lattice of {config}", remedy="give two states, and at most 1000 different rows")
        self.vocab_size, self.length, self.num_uniforms = config.states, config.side**2, config.side
        self.side, self.coupling = config.side, config.coupling
        self.rows = every_sequence(config.states, config.side)  # [R, side]
        self._chain()

    @classmethod
    def examples(cls) -> Iterable[Potts]:
        return [cls(cls.Config(side=2, coupling=0.8)), cls(cls.Config(states=2, coupling=-0.5))]

    def _chain(self) -> None:
        """Probabilities of the first row, and of each given the one above."""
        inside = np.exp(self.coupling * (self.rows[:, 1:] == self.rows[:, :-1]).sum(axis=1))  # [R]
        across = np.exp(self.coupling * (self.rows[:, None] == self.rows[None]).sum(axis=2))  # [R, R]
        below, self.steps = np.ones(len(inside)), []
        for _ in range(self.side - 1):
            weights = across * (inside * below)
            below = weights.sum(axis=1)
            self.steps.insert(0, weights / below[:, None])
        self.log_z = math.log(float(inside @ below))
        self.first = inside * below / (inside @ below)

    def draw(self, u: Reals) -> Symbols:
        state = inverted(np.broadcast_to(self.first, (len(u), len(self.first))), u[:, 0])
        drawn = [self.rows[state]]
        for step, uniform in zip(self.steps, u.T[1:], strict=True):
            state = inverted(step[state], uniform)
            drawn.append(self.rows[state])
        return np.concatenate(drawn, axis=1)

    def log_prob(self, x: Symbols) -> Reals:
        lattice = x.reshape(-1, self.side, self.side)
        same = sum((np.diff(lattice, axis=axis) == 0).sum(axis=(1, 2)) for axis in (1, 2))
        made: Reals = self.coupling * np.asarray(same, np.float64) - self.log_z
        return made

    @property
    def entropy(self) -> float:
        """Of the first row, and of each given the one above."""
        state, total = self.first, entropy(self.first)
        for step in self.steps:
            total += float(state @ np.array([entropy(row) for row in step]))
            state = state @ step
        return total

    @property
    def marginals(self) -> Reals:
        """No state is preferred."""
        return np.full((self.length, self.vocab_size), 1 / self.vocab_size)


class Addition(Target):
    """Two numbers of n digits and their sum of n + 1, the last digit of each first: ``x = (a, b, a + b)``, ``D = 3n +
    1``; the two numbers are uniform, the sum follows."""

    vocab_size: ClassVar[int] = 10

    @dataclass(frozen=True)
    class Config:
        """``digits``: n."""

        digits: int = 10

    def __init__(self, config: Config) -> None:
        if not 1 <= config.digits <= 17:
            raise SeqgenError(f"numbers of {config.digits} digits", remedy="give 1 to 17")
        self.digits, self.length, self.num_uniforms = config.digits, 3 * config.digits + 1, 2 * config.digits

    @classmethod
    def examples(cls) -> Iterable[Addition]:
        return [cls(cls.Config(digits=1))]

    def draw(self, u: Reals) -> Symbols:
        terms = np.minimum((u * 10).astype(np.int64), 9)  # [N, 2n]
        return np.concatenate([terms, self._sum(terms)], axis=1)

    def _sum(self, terms: Symbols) -> Symbols:
        """Digits of the sum, ``[N, 2n] → [N, n + 1]``."""
        powers = 10 ** np.arange(self.digits + 1, dtype=np.int64)
        first, second = (part @ powers[:-1] for part in np.split(terms, 2, axis=1))
        digits: Symbols = (first + second)[:, None] // powers % 10
        return digits

    def log_prob(self, x: Symbols) -> Reals:
        right = (self._sum(x[:, : 2 * self.digits]) == x[:, 2 * self.digits :]).all(axis=1)
        return np.where(right, -self.entropy, -np.inf)

    @property
    def entropy(self) -> float:
        return 2 * self.digits * math.log(10)

    @property
    def marginals(self) -> Reals:
        """Of the sum: a carry comes with probability c, ``c' = 0.45 + 0.1 c``, and every digit but the first is as
        likely as any other whatever the carry, for so is a_i + b_i modulo 10."""
        carry = 0.0
        for _ in range(self.digits):
            carry = 0.45 + 0.1 * carry
        first = np.zeros(10)
        first[:2] = 1 - carry, carry
        return np.concatenate([np.full((3 * self.digits, 10), 0.1), first[None]])


def entropy(p: Reals) -> float:
    """``-Σ p ln p`` in nats."""
    real = p[p > 0]
    return float(-(real * np.log(real)).sum())


def _normal(z: Reals) -> Reals:
    """The normal distribution function."""
    return np.vectorize(lambda one: 0.5 * math.erfc(-one / math.sqrt(2)), otypes=[np.float64])(z)  # type: ignore[no-any-return]
