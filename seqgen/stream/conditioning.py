"""Conditioning of a sequence: vectors beside its elements, or the slower frames that they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from seqgen.stream.lazy_interpolation import LazyInterpolation

Conditioning = Tensor | LazyInterpolation
"""Conditioning vectors of a block, ``[B, T, C]``: written out, or still the product that they are."""


def written_out(vectors: Conditioning) -> Tensor:
    """The vectors themselves, ``[B, T, C]``."""
    return vectors.dense() if isinstance(vectors, LazyInterpolation) else vectors


@dataclass(frozen=True)
class Frames:
    """Frames that a stretch of samples is conditioned on.

    Attributes:
        features: ``[B, left + F + right, M]``; frame ``left`` covers the first sample of the stretch, what follows the
            F frames of the stretch is look-ahead.
        speaker: int64 ``[B]``, index of each row's speaker.
        left: frames of context from before the stretch.
    """

    features: Tensor
    speaker: Tensor
    left: int = 0


class Memory(NamedTuple):
    """Columns of an encoder that a stream looks back on as a whole.

    Attributes:
        columns: ``[B, S, C]``. lengths: int64 ``[B]``, columns of each row; those behind are padding.
    """

    columns: Tensor
    lengths: Tensor
