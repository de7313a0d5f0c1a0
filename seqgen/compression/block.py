"""Coding of a block: B rows side by side, element by element; the one loop that encoder and decoder run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqgen.compression.coder import Coder, Values
from seqgen.compression.contract import Predictor, State


def code(predictor: Predictor, coder: Coder, state: State, given: Values, counts: Values) -> tuple[Values, State]:
    """Elements ``[B, T]`` of a block and the states behind them; row b has ``counts[b]`` of them, T at most.

    What is ``given [B, T]`` counts where the coder writes. A row that ends before others goes on with element 0, so
    that the batch keeps its shape, and its state is that of its own end.

    A predictor of sequences of one length codes rows cut into such, all side by side; the last one of a row is filled
    up with element 0. What comes out may be other than what was given where its bijection does not give it back.
    """
    if predictor.length:
        return _sequences(predictor, coder, given, counts), state
    return _elements(predictor, coder, state, given, counts)


def _sequences(predictor: Predictor, coder: Coder, given: Values, counts: Values) -> Values:
    rows, length = len(given), predictor.length
    padded = np.pad(given, ((0, 0), (0, -given.shape[1] % length)))  # [B, n·D]
    own = np.arange(padded.shape[1] // length) * length < counts[:, None]  # [B, n]
    sequences = padded.reshape(rows, -1, length)[own]  # [S, D]
    full = np.full(len(sequences), length)
    noise, _ = _elements(predictor, coder, predictor.init(len(sequences)), predictor.to_noise(sequences), full)
    coded = np.zeros_like(padded.reshape(rows, -1, length))
    coded[own] = predictor.from_noise(noise)
    found: Values = coded.reshape(rows, -1)[:, : given.shape[1]]
    return found


def _elements(predictor: Predictor, coder: Coder, state: State, given: Values, counts: Values) -> tuple[Values, State]:
    coded = np.zeros_like(given)
    kept = state
    for t in range(given.shape[1]):
        params, after = predictor.predict(state)
        rows = np.flatnonzero(counts > t)
        coded[rows, t] = _element(predictor, coder, params, rows, given[rows, t])
        state = predictor.feed(after, coded[:, t])
        if (ending := counts == t + 1).any():
            kept = predictor.chosen(ending, state, kept)
    return coded, kept


def _element(predictor: Predictor, coder: Coder, params: object, rows: npt.NDArray[np.intp], values: Values) -> Values:
    """One element of some rows, ``[n]``, digit by digit."""
    above, below = np.zeros_like(values), int(np.prod(predictor.radices, dtype=np.int64))
    for digit, radix in enumerate(predictor.radices):
        below //= radix
        probabilities = predictor.probabilities(params, rows, above, digit)
        above = above * radix + coder.code(probabilities, values // below % radix)
    return above
