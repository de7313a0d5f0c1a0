"""Ridge probes: how much of a number's variance a linear regression on frozen features explains.

    y ≈ w·(x - mean) / std + b,    w, b of the least ½ Σ (y - …)² + |w|² / 2C

Mean and std are those of the training examples, and the penalty is as in :mod:`seqgen.analysis.linear_probe`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.analysis.linear_probe import Examples, ProbeConfig, standardised
from seqgen.errors import SeqgenError

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Regression:
    """Judgement of features by how well a number is told from them.

    Attributes:
        spread: ``[M]``, squared distance of each test example's number from the mean of the training ones.
        error: ``[M]``, squared distance from what was told. groups: ``[M]``, utterances of the examples.
        training: share of the training examples' variance that is explained. converged: always; it is solved exactly.
    """

    spread: Reals
    error: Reals
    groups: npt.NDArray[np.int64]
    training: float
    converged: bool = True

    def by_group(self) -> tuple[Reals, Reals]:
        """Squared distances that are explained in each utterance, and the most that could be: the ratio of their sums
        is the share of the variance that is explained, and an interval over utterances is made of them."""
        _, place = np.unique(self.groups, return_inverse=True)
        return np.bincount(place, self.spread - self.error), np.bincount(place, self.spread)


def ridge(train: Examples, test: Examples, config: ProbeConfig) -> Regression:
    """Fit on the training examples, whose labels are numbers, and judge on the test ones.

    Shares are of the squared distance from the training mean, so that nothing of the test is known beforehand; where
    a regression is worse than that mean they are below 0.

    Raises:
        SeqgenError: for labels that are all alike, and for features or labels that are no numbers.

    Example:
        >>> x, groups = np.arange(6, dtype=np.float32)[:, None], np.arange(6)
        >>> found = ridge(Examples(x, 2.0 * x[:, 0], groups), Examples(x, 2.0 * x[:, 0], groups), ProbeConfig(1e6))
        >>> explained, spread = found.by_group()
        >>> round(explained.sum() / spread.sum(), 3)
        1.0
    """
    train = train.thinned(config.most, config.seed)
    y, theirs = (np.asarray(one.labels, np.float64) for one in (train, test))
    if not (np.isfinite(y).all() and np.isfinite(theirs).all()):
        raise SeqgenError("the numbers to be told hold NaN or infinity", remedy="leave such examples out")
    if len(y) < 2 or y.std() == 0:
        raise SeqgenError("the training examples have one number", remedy="give data in which it varies")
    x, given = standardised(train, test, config)
    middle, mean = x.mean(axis=0), y.mean()
    centred = x - middle
    weights = np.linalg.solve(centred.T @ centred + np.eye(x.shape[1]) / config.penalty, centred.T @ (y - mean))  # [C]
    fitted, told = ((one - middle) @ weights + mean for one in (x, given))
    training = 1 - np.square(y - fitted).sum() / np.square(y - mean).sum()
    return Regression(np.square(theirs - mean), np.square(theirs - told), test.groups, float(training))
