"""Evaluation of networks that complete a matrix: figures of a method, with intervals over users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from seqgen.noise import Key
from seqgen.objectives.contract import Measure, Objective
from seqgen.tasks.ratings.batches import RatingSource
from seqgen.tasks.table import Figure, figure

_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step
Shares = Mapping[str, tuple[float, float]]  # amount and weight by an id


class Measured(NamedTuple):
    """Figures by name, and what they are made of: the amount and weight of each rating, and of each user."""

    figures: dict[str, Figure]
    ratings: dict[str, Shares]
    users: dict[str, Shares]


def measured(source: RatingSource, objective: Objective, seed: int) -> Measured:
    """Figures that a method measures on the whole of a source.

    Ratings of one user are no independent examples, so an interval is one over users.
    """
    rows: dict[str, dict[str, tuple[float, float]]] = {}
    kinds: dict[str, Measure] = {}
    owners: list[int] = []
    for index, batch in enumerate(source.whole()):
        owners += batch.user.tolist()
        for name, one in objective.measure(batch, Key(seed, _EVALUATION + index), index).items():
            shares = zip(one.amounts.tolist(), one.weights.tolist(), strict=True)
            rows.setdefault(name, {}).update(zip(batch.ids, shares, strict=True))
            kinds[name] = one
    numbers, owner = np.unique(owners, return_inverse=True)
    names = [source.names[0][number] for number in numbers]
    found = Measured({}, dict(rows), {})
    for name, one in rows.items():
        amounts, weights = (np.bincount(owner, weights=column) for column in np.array(list(one.values())).T)
        found.figures[name] = figure(amounts, weights, kinds[name])
        found.users[name] = dict(zip(names, zip(amounts.tolist(), weights.tolist(), strict=True), strict=True))
    return found
