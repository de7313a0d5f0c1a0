"""Diversity of sequences: closed forms, and self-BLEU against its definition written out."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from seqgen.metrics.diversity import distinct, duplicates, self_bleu


def bleu(row: list[int], others: list[list[int]], order: int) -> float:
    """By the definition: clipped precisions of n-grams up to ``order``, their geometric mean."""
    product = 1.0
    for k in range(1, order + 1):
        mine = Counter(tuple(row[i : i + k]) for i in range(len(row) - k + 1))
        theirs = [Counter(tuple(one[i : i + k]) for i in range(len(one) - k + 1)) for one in others]
        product *= sum(min(n, max(one[g] for one in theirs)) for g, n in mine.items()) / sum(mine.values())
    return product ** (1 / order)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_self_bleu_is_the_mean_over_rows_against_all_others(order: int) -> None:
    rows = np.random.default_rng(order).integers(0, 3, (12, 9))
    every = rows.tolist()
    expected = [bleu(row, every[:i] + every[i + 1 :], order) for i, row in enumerate(every)]
    assert self_bleu(rows, order) == pytest.approx(np.mean(expected), rel=1e-12)


def test_the_same_over_and_over_and_nothing_in_common() -> None:
    same = np.tile(np.arange(6), (5, 1))
    assert self_bleu(same) == pytest.approx(1)
    assert duplicates(same) == pytest.approx(0.8)
    assert distinct(same, 2) == pytest.approx(1 / 5)
    apart = np.arange(24).reshape(4, 6)
    assert self_bleu(apart) == 0
    assert duplicates(apart) == 0
    assert distinct(apart, 3) == 1
    assert math.isclose(distinct(apart, 7), 0)  # no 7-gram in rows of 6


def test_one_row_is_like_no_other() -> None:
    with pytest.raises(ValueError, match="1 rows of 6 symbols; expected two or more, of 4 or more"):
        self_bleu(np.arange(6)[None])
    with pytest.raises(ValueError, match="2 rows of 3 symbols"):
        self_bleu(np.zeros((2, 3), np.int64))
