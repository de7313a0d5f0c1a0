"""The contract of a source: where the batches of a split come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor


class Source(ABC):
    """Batches of one split of the data: without end for training, once over the whole for validation and evaluation.

    A batch is a dataclass of the task. The batch of a number is a function of the number, so training resumes at any
    step by asking for it; a source that depends on what was learnt (an environment) keeps that in its state.
    """

    @abstractmethod
    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Any]:
        """Rows ``rank::world`` of the global batches ``start … stop - 1``, in order."""

    @abstractmethod
    def whole(self) -> Iterable[Any]:
        """Every example once, the same in every process."""

    def observe(self, objective: Any, step: int) -> None:
        """Look at what was learnt after a step; most sources do not care."""

    def state(self) -> dict[str, Tensor]:
        """State of the source for a checkpoint, by name; nothing where batches are functions of their number."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from the tensors of :meth:`state`."""
