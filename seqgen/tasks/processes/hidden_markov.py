"""Hidden Markov models as known sources of symbols: drawn from noise, with exact probabilities of whole sequences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen import noise
from seqgen.errors import SeqgenError

Symbols = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

_STREAM = noise.name_to_stream("seqgen.processes.hidden_markov")


@dataclass(frozen=True)
class HiddenMarkov:
    """``p(x) = Σ_z π(z_1) e(x_1 | z_1) Π_t a(z_t | z_{t-1}) e(x_t | z_t)`` over S states and A symbols.

    Attributes:
        initial: π, ``[S]``. transition: a, ``[S, S]``, from the row's state. emission: e, ``[S, A]``. Rows sum to 1.

    Source: Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77 (2), 1989, section III (the forward procedure).
    """

    initial: Reals
    transition: Reals
    emission: Reals

    @staticmethod
    def of_seed(states: int, symbols: int, *, sharpness: float, seed: int) -> HiddenMarkov:
        """Probabilities drawn by chance: each row is ``w^sharpness`` of exponential w, normalised.

        A sharpness of 1 is uniform over the simplex; the larger it is, the surer is each step.

        Raises:
            SeqgenError: for sizes that make no model.
        """
        if min(states, symbols) < 1 or not 0 <= sharpness <= 100:
            raise SeqgenError(
                f"{states} states, {symbols} symbols, sharpness {sharpness:g}",
                remedy="give one state and one symbol at least, and a sharpness from 0 to 100",
            )
        count = states + states * states + states * symbols
        waiting = -np.log(noise.uniforms(seed, _STREAM, np.arange(count)) + 2.0**-25)
        weights = np.exp(sharpness * np.log(waiting + 1e-12))
        initial, transition, emission = np.split(weights, [states, states + states * states])
        return HiddenMarkov(
            _normalised(initial),
            _normalised(transition.reshape(states, states)),
            _normalised(emission.reshape(states, symbols)),
        )

    def draw(self, u: Reals) -> Symbols:
        """Sequences, a function of uniforms: ``[N, T, 2]`` (a state and a symbol for each element) ``→ [N, T]``."""
        drawn = np.empty(u.shape[:2], np.int64)
        state = np.zeros(len(u), np.int64)
        for t in range(u.shape[1]):
            rows = self.transition[state] if t else np.broadcast_to(self.initial, (len(u), len(self.initial)))
            state = inverted(rows, u[:, t, 0])
            drawn[:, t] = inverted(self.emission[state], u[:, t, 1])
        return drawn

    def log_prob(self, x: Symbols) -> Reals:
        """``ln p(x)`` of whole sequences in nats, by the forward procedure: ``[N, T] → [N]``."""
        forward = np.broadcast_to(self.initial, (len(x), len(self.initial)))
        total = np.zeros(len(x))
        for t in range(x.shape[1]):
            forward = (forward @ self.transition if t else forward) * self.emission[:, x[:, t]].T  # [N, S]
            mass = forward.sum(axis=1)
            total += np.log(mass)
            forward = forward / mass[:, None]
        return total


def every_sequence(symbols: int, length: int) -> Symbols:
    """All sequences over an alphabet in lexical order, ``[symbols^length, length]``.

    Example:
        >>> every_sequence(2, 2).tolist()
        [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    powers = symbols ** np.arange(length - 1, -1, -1, dtype=np.int64)
    return np.arange(symbols**length, dtype=np.int64)[:, None] // powers % symbols


def _normalised(weights: Reals) -> Reals:
    made: Reals = weights / weights.sum(axis=-1, keepdims=True)
    return made


def inverted(rows: Reals, u: Reals) -> Symbols:
    """Indices drawn from ``rows [N, K]`` by inverting their cumulative sums at ``u [N]``."""
    cumulative = rows.cumsum(axis=1)
    within = cumulative[:, :-1] <= u[:, None] * cumulative[:, -1:]
    drawn: Symbols = within.sum(axis=1, dtype=np.int64)
    return drawn
