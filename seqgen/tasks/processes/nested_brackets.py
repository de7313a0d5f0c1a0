"""Nested brackets as a known source of symbols: what may close is told by a stack, however long ago it was opened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqgen.errors import SeqgenError
from seqgen.tasks.processes.hidden_markov import Reals, Symbols


@dataclass(frozen=True)
class NestedBrackets:
    """Brackets of K kinds, nested up to a depth, with M fillers between them.

        a filler      with probability f, each of them alike
        otherwise     an opening bracket with probability o, each kind alike; else the one that closes the last opened

    o is 1 at depth 0 and 0 at the largest depth. Symbols: K opening brackets, K closing ones, M fillers.

    Attributes:
        kinds: K. fillers: M. filler_share: f. opening: o. depth: the largest.

    Raises:
        SeqgenError: for numbers that make no such source.
    """

    kinds: int = 3
    fillers: int = 4
    filler_share: float = 0.3
    opening: float = 0.5
    depth: int = 8

    def __post_init__(self) -> None:
        shares = 0 <= self.filler_share < 1 and 0 < self.opening < 1 and (self.fillers > 0 or not self.filler_share)
        if not shares or min(self.kinds, self.depth) < 1 or self.fillers < 0:
            raise SeqgenError(
                f"nested brackets: got {self}",
                remedy="give a kind, a depth of 1 or more and shares below 1; fillers where they have a share",
            )

    @property
    def symbols(self) -> int:
        """Size of the alphabet."""
        return 2 * self.kinds + self.fillers

    def draw(self, u: Reals) -> Symbols:
        """Sequences, a function of uniforms: ``[N, T] → [N, T]``."""
        rows = np.arange(len(u))
        stack, level = np.zeros((len(u), self.depth), np.int64), np.zeros(len(u), np.int64)
        drawn = np.empty(u.shape, np.int64)
        for t in range(u.shape[1]):
            share = self.filler_share
            filler = u[:, t] < share
            v = np.clip((u[:, t] - share) / (1 - share), 0, None)  # uniform again, where there is no filler
            opening = self._opening(level)
            opens = ~filler & (v < opening)
            closes = ~filler & ~opens
            kind = np.minimum(v / np.maximum(opening, 1e-12) * self.kinds, self.kinds - 1).astype(np.int64)
            top = stack[rows, np.maximum(level - 1, 0)]
            which = np.minimum(u[:, t] / max(share, 1e-12) * self.fillers, self.fillers - 1).astype(np.int64)
            drawn[:, t] = np.where(filler, 2 * self.kinds + which, np.where(opens, kind, self.kinds + top))
            stack[rows[opens], level[opens]] = kind[opens]
            level += opens.astype(np.int64) - closes
        return drawn

    def probabilities(self, x: Symbols) -> Reals:
        """``p(x_t | x_<t)`` of every symbol, ``[N, T] → [N, T]``; 0 where it cannot stand.

        After a symbol that cannot stand it is gone on thus: what opens is open, what closes the wrong kind closes the
        last opened, what closes nothing is passed over.
        """
        rows = np.arange(len(x))
        stack, level = np.zeros((len(x), x.shape[1] + 1), np.int64), np.zeros(len(x), np.int64)
        found = np.empty(x.shape)
        for t in range(x.shape[1]):
            symbol = x[:, t]
            opens, filler = symbol < self.kinds, symbol >= 2 * self.kinds
            closes = ~opens & ~filler
            top = stack[rows, np.maximum(level - 1, 0)]
            opening, brackets = self._opening(level), 1 - self.filler_share
            fits = (level > 0) & (symbol - self.kinds == top)
            bracket = np.where(opens, opening / self.kinds, (1 - opening) * fits)
            found[:, t] = np.where(filler, self.filler_share / max(self.fillers, 1), brackets * bracket)
            stack[rows[opens], level[opens]] = symbol[opens]
            level = np.maximum(level + opens.astype(np.int64) - closes, 0)
        return found

    def _opening(self, level: Symbols) -> Reals:
        """o at these depths."""
        made: Reals = np.where(level == 0, 1.0, np.where(level >= self.depth, 0.0, self.opening))
        return made
