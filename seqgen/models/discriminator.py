"""The contract of a sequence discriminator: a whole sequence of vectors in, one logit out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self, final

from torch import Tensor, nn


class SequenceDiscriminator(nn.Module, ABC):
    """A network that says by one logit how probably a sequence of vectors is of the first of two kinds.

    It may look both ways. Rows of a batch have lengths of their own, and are judged each by itself: what stands behind
    a row's end changes nothing, and nothing is normalised over a batch, whose composition would tell the kind.

    Args:
        in_dim: channels of a vector.

    Laws, checked by :func:`seqgen.models.verify.verify` for every registered one: rows, padding, shape.
    """

    def __init__(self, *, in_dim: int) -> None:
        super().__init__()
        self.in_dim = in_dim

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """Small instances that the laws are run over; by default one over vectors of three channels."""
        return [cls(cls.Config(in_dim=3))]  # type: ignore[attr-defined,call-arg]  # classes take their Config

    @abstractmethod
    def logits(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``x [B, T, in_dim]``, int64 ``lengths [B]`` → ``[B]``; the logit of a row of length 0 is finite."""

    @final  # type: ignore[misc]  # nn.Module declares forward as a field
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """:meth:`logits`, called as torch's modules are."""
        return self.logits(x, lengths)
