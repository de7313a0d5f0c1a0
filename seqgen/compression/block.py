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
    """
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


def _element(
    predictor: Predictor, coder: Coder, params: object, rows: npt.NDArray[np.intp], values: Values
) -> Values:
    """One element of some rows, ``[n]``, digit by digit."""
    above, below = np.zeros_like(values), int(np.prod(predictor.radices, dtype=np.int64))
    for digit, radix in enumerate(predictor.radices):
        below //= radix
        probabilities = predictor.probabilities(params, rows, above, digit)
        above = above * radix + coder.code(probabilities, values // below % radix)
    return above
