"""Batches as dataclasses: rows of them, and their way to a device, whatever fields they have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def mapped(batch: Any, function: Callable[[Any], Any], *, shared: bool = True) -> Any:
    """The batch with ``function`` applied to every field that has one entry per row: tensors and tuples.

    Fields that are dataclasses themselves are gone through likewise; all others (numbers, ``None``) stay. What the rows
    have in common says so by ``shared_by_rows``; without ``shared`` it stays too.
    """
    changes = {}
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        if dataclasses.is_dataclass(value):
            if shared or not shared_by_rows(value):
                changes[field.name] = mapped(value, function, shared=shared)
        elif isinstance(value, (Tensor, tuple)):
            changes[field.name] = function(value)
    return dataclasses.replace(batch, **changes)


def shared_by_rows(value: Any) -> bool:
    """Whether a field of a batch is what its rows have in common (what is known of a matrix, say), and is never cut."""
    return getattr(value, "shared_by_rows", False)


def rows(batch: Any, part: int, parts: int) -> Any:
    """Rows ``part, part + parts, …`` of every field of a batch (tensors batch first, tuples by row).

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Batch:
        ...     x: Tensor
        ...     ids: tuple[str, ...]
        >>> rows(Batch(torch.arange(4), ("a", "b", "c", "d")), 1, 2)
        Batch(x=tensor([1, 3]), ids=('b', 'd'))
    """
    return batch if parts == 1 else mapped(batch, lambda value: value[part::parts], shared=False)


def to_device(batch: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The batch on ``device``, its floating-point tensors as ``dtype``."""

    def moved(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, dtype if value.is_floating_point() else value.dtype, non_blocking=True)

    return mapped(batch, moved)
