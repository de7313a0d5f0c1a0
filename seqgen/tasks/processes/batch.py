"""Batches of rows that a process draws."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from seqgen.stream.conditioning import Frames


@dataclass(frozen=True)
class Batch:
    """B rows of a process.

    Attributes:
        x: ``[B, T]`` int64 symbols, or real samples ``[B, T, 1]``. lengths: ``[B]``, T for each row.
        ids: the rows by their numbers. cond: frames that they are conditioned on, where the process has any.
        skip: ``[B]``, elements that are heard only. label: ``[B]`` int64, hidden classes, where the process has any.
    """

    x: Tensor
    lengths: Tensor
    ids: tuple[str, ...]
    cond: Frames | None = None
    skip: Tensor | None = None
    label: Tensor | None = None


def numbered(rows: range) -> tuple[str, ...]:
    """Names of rows that sort as their numbers do."""
    return tuple(f"{row:06d}" for row in rows)
