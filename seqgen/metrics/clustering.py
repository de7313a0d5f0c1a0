"""Agreement of a clustering with known classes: adjusted Rand index, normalised mutual information, purity,
boundaries."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]


def contingency(found: Labels, known: Labels) -> npt.NDArray[np.int64]:
    """Counts of elements by cluster and class, ``[N]``, ``[N] → [clusters, classes]``."""
    _, rows = np.unique(found, return_inverse=True)
    _, columns = np.unique(known, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1), np.int64)
    np.add.at(table, (rows, columns), 1)
    return table


def adjusted_rand_index(found: Labels, known: Labels) -> float:
    """Share of pairs of elements on which both partitions agree, adjusted for chance: 1 where the partitions are the
    same, 0 in the mean over random ones of these sizes.

    Source: Hubert and Arabie, "Comparing partitions", Journal of Classification 2, 1985, equation 5.

    Example:
        >>> adjusted_rand_index(np.array([0, 0, 1, 1]), np.array([5, 5, 3, 3]))
        1.0
    """
    table = contingency(found, known)
    together, rows, columns = (_pairs(counts) for counts in (table, table.sum(axis=1), table.sum(axis=0)))
    expected = rows * columns / max(_pairs(np.array([len(found)])), 1)
    most = 0.5 * (rows + columns)
    return 1.0 if most == expected else float((together - expected) / (most - expected))


def normalised_mutual_information(found: Labels, known: Labels) -> float:
    """``2 I(found; known) / (H(found) + H(known))``, from 0 to 1; 1 where both have one part only.

    Source: Vinh, Epps and Bailey, "Information theoretic measures for clusterings comparison", JMLR 11, 2010, table 2
    (normalised by the sum).
    """
    joint = contingency(found, known) / len(found)
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    total = _entropy(rows) + _entropy(columns)
    return 1.0 if total == 0 else float(2 * (total - _entropy(joint.ravel())) / total)


def purity(found: Labels, known: Labels) -> float:
    """Share of elements that are of the commonest class of their cluster, from that of the commonest class to 1.

    Example:
        >>> purity(np.array([0, 0, 0, 1]), np.array([7, 7, 8, 8]))
        0.75
    """
    return float(contingency(found, known).max(axis=1).sum() / len(found))


class Boundaries(NamedTuple):
    """Agreement of found boundaries with known ones: precision, recall and their harmonic mean, ``f1``."""

    precision: float
    recall: float
    f1: float


def boundaries(found: Labels, known: Labels, *, tolerance: int) -> Boundaries:
    """Agreement of boundaries, positions in ascending order, each known one being found at most once and within
    ``tolerance`` of its place.

    Example:
        >>> boundaries(np.array([10, 21, 50]), np.array([11, 20]), tolerance=2).recall
        1.0
    """
    hits, at = 0, 0
    for place in known.tolist():
        while at < len(found) and found[at] < place - tolerance:
            at += 1
        if at < len(found) and found[at] <= place + tolerance:
            hits, at = hits + 1, at + 1
    precision, recall = hits / max(len(found), 1), hits / max(len(known), 1)
    return Boundaries(precision, recall, 2 * hits / max(len(found) + len(known), 1))


def _pairs(counts: npt.NDArray[np.int64]) -> float:
    return float((counts * (counts - 1) // 2).sum())


def _entropy(probabilities: npt.NDArray[np.float64]) -> float:
    inside = probabilities[probabilities > 0]
    return float(-(inside * np.log(inside)).sum())
