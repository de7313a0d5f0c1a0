"""Linear probes: how well labels can be read off frozen features by logistic regression.

    p(label | x) = softmax(W (x - mean) / std + b),    W, b by maximum likelihood with a penalty |W|² / 2C

Mean and std are those of the training examples. Every baseline is judged by the same probe on the same examples.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.data.directory import Utterance
from seqgen.errors import SeqgenError

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[Any]


@dataclass(frozen=True)
class Examples:
    """Labelled feature vectors.

    Attributes:
        x: ``[N, C]``. labels: ``[N]``, names, or numbers where a regression tells them.
        groups: ``[N]``, number of the utterance that each is from.
    """

    x: Floats
    labels: Labels
    groups: npt.NDArray[np.int64]

    def thinned(self, most: int, seed: int) -> Examples:
        """At most so many examples, drawn without replacement; all where there are no more."""
        if len(self.x) <= most:
            return self
        kept = thinned(len(self.x), most, seed)
        return Examples(self.x[kept], self.labels[kept], self.groups[kept])


def thinned(count: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Numbers of at most so many of ``count`` examples, drawn without replacement, in their order."""
    return np.sort(np.random.Generator(np.random.Philox(seed)).permutation(count)[:most])


@dataclass(frozen=True)
class ProbeConfig:
    """Options of a probe.

    Attributes:
        penalty: C, the inverse weight of the penalty. iterations: of the optimiser at most.
        standardised: whether features have mean 0 and deviation 1 over the training examples.
        most: training examples at most. seed: of which ones.
    """

    penalty: float = 1.0
    iterations: int = 300
    standardised: bool = True
    most: int = 50_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.penalty <= 0 or self.iterations < 1 or self.most < 2:
            raise SeqgenError(f"probe: {self}", remedy="give a penalty above 0, 1 iteration and 2 examples or more")


@dataclass(frozen=True)
class Judgement:
    """Judgement of features by a probe.

    Attributes:
        right: ``[M]``, 1 for each test example whose label was read off it. groups: ``[M]``, utterances of them.
        training: accuracy on the training examples. converged: whether the optimiser came to an end.
        surprise: ``[M]``, ``-ln p(label | x)`` in nats; infinite for labels that were never trained.
    """

    right: npt.NDArray[np.float64]
    groups: npt.NDArray[np.int64]
    training: float
    converged: bool
    surprise: npt.NDArray[np.float64]

    def by_group(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Right examples of each utterance, and how many it has: what an interval over utterances is made of."""
        _, place = np.unique(self.groups, return_inverse=True)
        return np.bincount(place, self.right), np.bincount(place).astype(np.float64)


def standardised(
    train: Examples, test: Examples, config: ProbeConfig
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Features of both, less the training ones' mean and by their deviation where the options say so.

    Raises:
        SeqgenError: for features that are not numbers.
    """
    if not (np.isfinite(train.x).all() and np.isfinite(test.x).all()):
        raise SeqgenError("the features hold NaN or infinity", remedy="check the encoder")
    mean, deviation = np.zeros(train.x.shape[1], np.float64), np.ones(train.x.shape[1], np.float64)
    if config.standardised:
        mean, deviation = train.x.mean(0, dtype=np.float64), train.x.std(0, dtype=np.float64)
    deviation[deviation < 1e-8] = 1  # a channel that never moves tells nothing
    return (train.x - mean) / deviation, (test.x - mean) / deviation


def probe(train: Examples, test: Examples, config: ProbeConfig) -> Judgement:
    """Fit on the training examples, judge on the test ones; labels that were never trained are never right.

    Raises:
        SeqgenError: for fewer than two labels, and for features that are not numbers.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    train = train.thinned(config.most, config.seed)
    if len(np.unique(train.labels)) < 2:
        raise SeqgenError("the training examples have one label", remedy="give data with two labels or more")
    x, given = standardised(train, test, config)
    model = LogisticRegression(C=config.penalty, max_iter=config.iterations)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, train.labels)
    converged = not any(issubclass(one.category, ConvergenceWarning) for one in caught)
    told = model.predict_log_proba(given)  # [M, labels]
    right = model.classes_[told.argmax(axis=1)] == test.labels
    surprise = -np.where(model.classes_ == test.labels[:, None], told, -np.inf).max(axis=1)
    fitted = model.predict(x) == train.labels
    return Judgement(right.astype(np.float64), test.groups, float(fitted.mean()), converged, surprise)


def parted(
    utterances: Sequence[Utterance], labels: Sequence[str], share: float
) -> tuple[list[Utterance], list[Utterance]]:
    """Utterances for training and for the test: of each label the share that hashes of the ids put first.

    What an utterance is used for does not depend on the order they come in. A label of one utterance is trained alone.

    Raises:
        SeqgenError: for a share that leaves nothing on one side.
    """
    if not 0 < share < 1:
        raise SeqgenError(f"--split {share:g}", remedy="give the share of the training examples, between 0 and 1")
    train, test = [], []
    for label in sorted(set(labels)):
        mine = [one for one, own in zip(utterances, labels, strict=True) if own == label]
        mine.sort(key=lambda one: hashlib.sha256(one.id.encode()).digest())
        count = min(max(1, round(share * len(mine))), max(1, len(mine) - 1))
        train += mine[:count]
        test += mine[count:]
    if not test:
        raise SeqgenError("each label has one utterance: none is left for a test", remedy="give --train, or more data")
    return train, test
