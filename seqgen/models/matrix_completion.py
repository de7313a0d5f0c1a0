"""The contract of matrix completion: entries of a matrix of ratings, from those that are observed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self, final

from torch import Tensor, nn

from seqgen.models.observed_matrix import ObservedMatrix
from seqgen.noise import Key

EXAMPLE_SHAPE = (8, 6)  # users and items of the matrix that the laws are run over


class MatrixCompletion(nn.Module, ABC):
    """A network that predicts entries of a matrix of users and items.

    Ratings are standardised: less their mean, over their standard deviation. The prediction of an entry never looks at
    the entry itself, observed or not. Users that came after training stand behind those of training; what they have
    rated is all that is known of them.

    Laws, checked by :func:`seqgen.models.verify.verify` for every registered one: rows, the entry itself, evidence.
    """

    @classmethod
    @abstractmethod
    def examples(cls) -> Iterable[Self]:
        """Small instances for a matrix of ``EXAMPLE_SHAPE`` that the laws are run over."""

    def require_fit(self, observed: ObservedMatrix) -> None:
        """Refuse training data that the network cannot learn from; by default none.

        Raises:
            SeqgenError: saying what does not fit.
        """

    def warnings(self, observed: ObservedMatrix) -> list[str]:
        """Likely mistakes in how the network fits the training data, a line each; by default none."""
        return []

    @abstractmethod
    def predictions(self, user: Tensor, item: Tensor, observed: ObservedMatrix, key: Key) -> Tensor:
        """Ratings as they are learnt: int64 ``[B]`` twice → ``[B]``. Whatever is drawn is keyed by ``key``."""

    def estimates(self, user: Tensor, item: Tensor, observed: ObservedMatrix, key: Key) -> Tensor:
        """Ratings as well as the network can tell them, for evaluation; by default its predictions."""
        return self.predictions(user, item, observed, key)

    @final  # type: ignore[misc]  # nn.Module declares forward as a field
    def forward(self, user: Tensor, item: Tensor, observed: ObservedMatrix, key: Key) -> Tensor:
        """:meth:`predictions`, called as torch's modules are."""
        return self.predictions(user, item, observed, key)
