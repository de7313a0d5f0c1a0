"""Errors of symbol sequences against references, and overlap of texts with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_RESAMPLED = 500


class Errors(NamedTuple):
    """Errors of a sequence against the nearest of its references: edits, and symbols of that reference."""

    edits: int
    symbols: int


def edits(made: Sequence[int], reference: Sequence[int]) -> int:
    """Levenshtein distance: the fewest insertions, deletions and substitutions between two sequences.

    Source: Levenshtein, Soviet Physics Doklady 10, 1966.

    Example:
        >>> edits([1, 2, 3], [2, 4, 3, 5])
        3
    """
    row = np.arange(len(reference) + 1)
    wanted = np.asarray(reference)
    place = np.arange(len(reference) + 1)
    for index, symbol in enumerate(made, 1):
        best = np.empty_like(row)
        best[0] = index
        best[1:] = np.minimum(row[1:] + 1, row[:-1] + (wanted != symbol))
        # Insertions: best[j] = min over i <= j of best[i] + (j - i).
        row = np.minimum.accumulate(best - place) + place
    return int(row[-1])


def nearest(made: Sequence[int], references: Sequence[Sequence[int]]) -> Errors:
    """Errors against the reference that gives the lowest rate of them, the first of several."""
    found = [Errors(edits(made, reference), len(reference)) for reference in references]
    return min(found, key=lambda one: one.edits / max(1, one.symbols))


class Overlap(NamedTuple):
    """Overlap of a corpus with its references, from 0 to 100, and half of its 95 % interval over resampled corpora."""

    value: float
    half_width: float


def overlap(name: str, made: Sequence[str], references: Sequence[Sequence[str]]) -> Overlap:
    """BLEU (``bleu``: 13a tokens, up to four) or chrF (``chrf``: up to six characters, β = 2) of a corpus by sacrebleu.

    Args:
        made: texts. references: one or more for each.

    Source: Papineni et al., ACL 2002; Popović, WMT 2015; Post, WMT 2018 (sacrebleu, and its bootstrap).
    """
    from sacrebleu.metrics import BLEU, CHRF  # type: ignore[import-untyped]

    metric: Any = {"bleu": BLEU, "chrf": CHRF}[name]()
    most = max(len(each) for each in references)
    # Every text needs as many references as any other: the first one again says nothing new.
    streams = [[each[index] if index < len(each) else each[0] for each in references] for index in range(most)]
    found = metric.corpus_score(list(made), streams, n_bootstrap=_RESAMPLED if len(made) > 1 else 1)
    return Overlap(float(found.score), float(found._ci) if len(made) > 1 else float("nan"))
