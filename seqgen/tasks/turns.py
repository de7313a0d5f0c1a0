"""Turns of what there is: batches of numbers below a count, each number once a turn, in another order every time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from seqgen import noise

_ORDER = noise.name_to_stream("seqgen.pairs.order")


def turns(count: int, rows: int, *, seed: int, start: int, stop: int) -> Iterator[npt.NDArray[np.int64]]:
    """Numbers ``[rows]`` of the batches ``start … stop - 1``; what does not fill a batch is other numbers each turn.

    Example:
        >>> [len(batch) for batch in turns(7, 3, seed=0, start=0, stop=3)]
        [3, 3, 3]
    """
    each = count // rows  # whole batches of a turn
    order, current = np.zeros(0, np.int64), -1
    for number in range(start, stop):
        turn, place = divmod(number, each)
        if turn != current:
            order, current = shuffled(count, seed, turn), turn
        yield order[place * rows : (place + 1) * rows]


def passes(count: int, rows: int, *, seed: int, start: int, stop: int) -> Iterator[npt.NDArray[np.int64]]:
    """Numbers ``[rows]`` of the batches ``start … stop - 1``, where turns follow each other without a gap: a batch may
    have the last numbers of one and the first of the next.

    Example:
        >>> batches = list(passes(4, 3, seed=0, start=0, stop=4))
        >>> sorted(np.concatenate(batches)[:4].tolist())
        [0, 1, 2, 3]
    """
    orders = dict[int, npt.NDArray[np.int64]]()
    for number in range(start, stop):
        turn, places = np.divmod(np.arange(number * rows, (number + 1) * rows), count)
        needed = range(turn[0], turn[-1] + 1)
        orders = {one: orders[one] if one in orders else shuffled(count, seed, one) for one in needed}
        yield np.array([orders[one][place] for one, place in zip(turn, places, strict=True)])


def shuffled(count: int, seed: int, turn: int) -> npt.NDArray[np.int64]:
    """The numbers below ``count`` in an order of its own for each (seed, turn)."""
    places = turn * count + np.arange(count, dtype=np.int64)
    return np.argsort(noise.words(seed, _ORDER, places), kind="stable")
