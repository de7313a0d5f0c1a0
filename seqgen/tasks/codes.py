"""What the codes of a latent-variable model tell of known classes: a linear probe, and the nearest codes' votes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import nn

from seqgen.analysis.linear_probe import Examples, ProbeConfig, probe
from seqgen.latents.variable import LatentVariable
from seqgen.tasks.table import Figure, ratio

_NEIGHBOURS = 5
_UNIT = "%"


def classes_told(
    networks: Mapping[str, nn.Module], learnt: Iterable[Any], judged: Iterable[Any], *, most: int
) -> dict[str, Figure]:
    """Accuracies in percent of telling the class of a row from its code, by logistic regression and by the votes of the
    five nearest codes, where there is a model with latent variables and rows have labels.

    Args:
        learnt: batches whose codes the classifiers are given, ``most`` rows of them. judged: batches that they are
            judged on.
    """
    model = next((one for one in networks.values() if isinstance(one, LatentVariable)), None)
    if model is None:
        return {}
    given, held = _examples(model, learnt, most), _examples(model, judged, 0)
    if given is None or held is None or len(np.unique(given.labels)) < 2:
        return {}
    linear = probe(given, held, ProbeConfig(most=max(most, 2))).right
    return {"class_by_linear_probe": _share(linear), "class_by_nearest_codes": _share(_votes(given, held))}


def _examples(model: LatentVariable, batches: Iterable[Any], most: int) -> Examples | None:
    """Codes of rows with their labels, of the first ``most`` rows where that is not 0."""
    codes, labels, count = [], [], 0
    for batch in batches:
        if batch.label is None:
            return None
        codes.append(model.code(batch).flatten(1).cpu().float().numpy())
        labels.append(batch.label.cpu().numpy())
        count += len(labels[-1])
        if most and count >= most:
            break
    x, y = (np.concatenate(parts)[: most or None] for parts in (codes, labels))
    return Examples(x, y.astype(str), np.arange(len(x)))


def _votes(given: Examples, held: Examples) -> np.ndarray[Any, np.dtype[np.float64]]:
    """1 for each row whose nearest codes are mostly of its class."""
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(min(_NEIGHBOURS, len(given.x))).fit(given.x, given.labels)
    return (model.predict(held.x) == held.labels).astype(np.float64)


def _share(right: np.ndarray[Any, np.dtype[np.float64]]) -> Figure:
    return ratio(100 * right, np.ones(len(right)), _UNIT)
