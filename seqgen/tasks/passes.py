"""Sources of a fixed number of examples, in passes that follow each other without a gap, each in another order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.tasks.turns import passes
from seqgen.train.batch import rows
from seqgen.train.source import Source

Numbers = npt.NDArray[np.int64]


class Passes(Source):
    """Source of examples that are numbered: all of them come in each pass.

    Args:
        rows: of a batch. seed: of the orders.
    """

    def __init__(self, *, rows: int, seed: int) -> None:
        self.rows, self.seed = rows, seed

    @abstractmethod
    def __len__(self) -> int:
        """Examples that there are."""

    @abstractmethod
    def batch(self, numbers: Numbers) -> Any:
        """The examples of these numbers."""

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Any]:
        for chosen in passes(len(self), self.rows, seed=self.seed, start=start, stop=stop):
            yield rows(self.batch(chosen), rank, world)  # padded as the whole batch is

    def whole(self) -> Iterator[Any]:
        numbers = np.arange(len(self))
        return (self.batch(numbers[first : first + self.rows]) for first in range(0, len(numbers), self.rows))


def padded(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Arrays ``[n, …]`` side by side, zeros behind the end of each.

    Example:
        >>> padded([np.array([1, 2]), np.array([3])]).tolist()
        [[1, 2], [3, 0]]
    """
    longest = max(map(len, arrays))
    return np.stack([np.pad(one, ((0, longest - len(one)), *((0, 0),) * (one.ndim - 1))) for one in arrays])
