"""Whole-number frequencies of an entropy coder, made of a model's probabilities.

Source: Witten, Neal and Cleary, "Arithmetic coding for data compression", Communications of the ACM 30, 1987.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError

PRECISION = 24
TOTAL = 1 << PRECISION
"""Sum of the frequencies of an alphabet."""
LARGEST = 1 << 17  # values of an alphabet: more would take a share of the frequencies that can be felt

Probabilities = npt.NDArray[np.float64]


def frequencies(probabilities: Probabilities) -> npt.NDArray[np.float64]:
    """Frequencies ``f_k = 1 + ⌊p_k (2^24 - V)⌋``, the likeliest value's larger by what is missing from ``2^24``.

    None is 0, so whatever a model holds for impossible can be coded, at 24 bits at most. The loss against ``p`` is
    ``V / 2^24`` nats at most plus what rounding down costs, which is about as much: 0.00004 bits of an element of 256
    values. Whole numbers to the last one, so the coder's own arithmetic plays no part in which they are.

    Shapes: ``[n, V] → [n, V]``, whole numbers as float64; rows of ``p`` need not add up to 1 exactly.

    Raises:
        SeqgenError: for probabilities that are no numbers, or an alphabet beyond 2^17.

    Example:
        >>> frequencies(np.array([[0.75, 0.25, 0.0]])).tolist()
        [[12582911.0, 4194304.0, 1.0]]
    """
    size = probabilities.shape[1]
    if size > LARGEST:
        raise SeqgenError(f"an alphabet of {size} values", remedy=f"code values digit by digit, {LARGEST} at most each")
    mass = probabilities.sum(axis=1, keepdims=True)
    if not (np.isfinite(mass).all() and (mass > 0).all() and (probabilities >= 0).all()):
        raise SeqgenError("the model's probabilities are no numbers", remedy="train it anew: its weights have diverged")
    made: npt.NDArray[np.float64] = np.floor(probabilities * ((TOTAL - size) / mass)) + 1
    likeliest = probabilities.argmax(axis=1)
    made[np.arange(len(made)), likeliest] += TOTAL - made.sum(axis=1)
    return made
