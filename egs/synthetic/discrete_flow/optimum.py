"""Optimum of bipartite flows over two positions, found by going through every table of shifts.

A layer of a location-only flow over two positions is a table: how far one symbol is moved for each value of the other.
A shift that all values have in common changes no entropy, so there are K^(K-1) tables of a layer, 625 for K = 5. The
best factorised base of the noise has its marginals, and the likelihood is then the negative sum of their entropies.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import numpy.typing as npt

from seqgen.tasks.processes.finite_targets import Dirichlet
from seqgen.tasks.processes.hidden_markov import every_sequence

Reals = npt.NDArray[np.float64]


def optima(p: Reals) -> tuple[float, float]:
    """Least nats of a block of probabilities ``[K, K]`` under one layer and under two, over a factorised base."""
    size = len(p)
    tables = np.pad(every_sequence(size, size - 1), ((0, 0), (1, 0)))  # [K^(K-1), K]
    symbols = np.arange(size)
    sources = (symbols - tables[:, :, None]) % size  # [N, x0, z1]: which x1 becomes z1
    moved = np.take_along_axis(np.broadcast_to(p, sources.shape), sources, axis=2)  # [N, x0, z1]
    second = (symbols[:, None] - tables[:, None]) % size  # [N, z0, z1]: which x0 becomes z0
    two = min(_nats(np.take_along_axis(np.broadcast_to(one, second.shape), second, axis=1)).min() for one in moved)
    return float(_nats(moved).min()), float(two)


def _nats(p: Reals) -> Reals:
    """Sums of the entropies of both marginals, ``[N, K, K] → [N]``."""
    found: Reals = sum(_entropies(p.sum(axis=axis)) for axis in (1, 2))  # type: ignore[assignment]
    return found


def _entropies(p: Reals) -> Reals:
    found: Reals = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)
    return found


def of_seed(seed: int) -> tuple[float, float]:
    """Optima of the full-rank distribution of a seed, K = 5."""
    return optima(Dirichlet(Dirichlet.Config(seed=seed)).table.reshape(5, 5))


if __name__ == "__main__":
    print(json.dumps([of_seed(seed) for seed in range(int(sys.argv[1]))]))
