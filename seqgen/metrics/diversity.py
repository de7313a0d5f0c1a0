"""Diversity of sets of symbol sequences: what repeats itself, and how much one sequence is like the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Sequences = npt.NDArray[np.int64]
Gram = tuple[int, ...]


def duplicates(rows: Sequences) -> float:
    """Share of rows ``[N, T]`` that are equal to one before them.

    Example:
        >>> duplicates(np.array([[1, 2], [1, 2], [1, 3], [1, 2]]))
        0.5
    """
    return 1 - len(np.unique(rows, axis=0)) / len(rows)


def distinct(rows: Sequences, order: int) -> float:
    """Distinct n-grams as a share of all n-grams within the rows ``[N, T]``; it falls with N.

    Source: Li et al., "A diversity-promoting objective function for neural conversation models", NAACL 2016, section 5.

    Example:
        >>> distinct(np.array([[1, 2, 1], [1, 2, 2]]), 2)
        0.75
    """
    every = [gram for row in rows.tolist() for gram in _grams(row, order)]
    return len(set(every)) / len(every) if every else 0.0


def self_bleu(rows: Sequences, order: int = 4) -> float:
    """Self-BLEU of rows ``[N, T]``, the mean over rows of BLEU against all others, from 0 to 1:

        BLEU_i = exp( 1/n Σ_k ln p_k ),    p_k = Σ_g min(c_i(g), max_{j≠i} c_j(g)) / Σ_g c_i(g)  over k-grams g

    All rows are of one length, so nothing is brief. A row with no k-gram in common with any other counts 0. It grows
    with N: sets are compared at one size.

    Raises:
        ValueError: for fewer than two rows, or rows shorter than n.

    Source: Zhu et al., "Texygen", arXiv 1802.01886, section 3; Papineni et al., ACL 2002 (modified precision).

    Example:
        >>> self_bleu(np.array([[1, 2, 3], [1, 2, 3], [4, 5, 6]]), order=2)
        0.6666666666666666
    """
    if len(rows) < 2 or rows.shape[1] < order:
        raise ValueError(f"{len(rows)} rows of {rows.shape[1]} symbols; expected two or more, of {order} or more")
    logs = np.zeros(len(rows))
    for k in range(1, order + 1):
        counts = [Counter(_grams(row, k)) for row in rows.tolist()]
        most = _two_most(counts)
        for index, mine in enumerate(counts):
            shared = sum(min(count, _others(most[gram], count)) for gram, count in mine.items())
            logs[index] += (math.log(shared) if shared else -math.inf) - math.log(mine.total())
    return float(np.exp(logs / order).mean())


def _grams(row: Sequence[int], order: int) -> Iterable[Gram]:
    return zip(*(row[offset:] for offset in range(order)), strict=False)


def _two_most(counts: Iterable[Counter[Gram]]) -> dict[Gram, tuple[int, int]]:
    """The largest and the second largest count of each n-gram over the rows."""
    most: dict[Gram, tuple[int, int]] = {}
    for one in counts:
        for gram, count in one.items():
            first, second = most.get(gram, (0, 0))
            most[gram] = (max(first, count), max(second, min(first, count)))
    return most


def _others(most: tuple[int, int], mine: int) -> int:
    """The largest count among the other rows."""
    first, second = most
    return second if mine == first else first
