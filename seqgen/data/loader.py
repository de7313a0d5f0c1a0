"""Loading of numbered items, in this process or in others, in order and from any place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader

from seqgen.errors import SeqgenError

ItemT_co = TypeVar("ItemT_co", covariant=True)


class Numbered(Protocol[ItemT_co]):
    """Anything that gives item ``k`` when asked for it."""

    def __getitem__(self, number: int, /) -> ItemT_co: ...


@dataclass(frozen=True)
class _Failure:
    problem: str
    remedy: str


class _Guarded:
    """Hands a :class:`SeqgenError` over as a value: torch would turn it into a page of traceback on its way."""

    def __init__(self, items: Numbered[Any]) -> None:
        self.items = items

    def __getitem__(self, number: int) -> Any:
        try:
            return self.items[number]
        except SeqgenError as error:
            return _Failure(error.problem, error.remedy)


def loader(batches: Numbered[ItemT_co], start: int, stop: int, workers: int = 0) -> Iterator[ItemT_co]:
    """Items ``start … stop - 1`` in order, prefetched by ``workers`` processes (0: made in this one).

    Raises:
        SeqgenError: as the item itself would.

    Example:
        >>> for batch in loader(batches, start=resumed_step, stop=100_000, workers=2):  # doctest: +SKIP
        ...     train(batch)
    """
    source: DataLoader[Any] = DataLoader(
        _Guarded(batches),  # type: ignore[arg-type]  # a dataset to torch is what has __getitem__
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        generator=torch.Generator(),  # else torch draws from, and so moves, the global generator
    )
    for item in source:
        if isinstance(item, _Failure):
            raise SeqgenError(item.problem, remedy=item.remedy)
        yield item
