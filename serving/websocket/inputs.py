"""Input of one context in the order of its arrival, until the context's turn comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

PIECE = 1 << 16
"""Bytes of input that are taken at once."""
_OVERHEAD = 128  # bytes that an entry costs beside its input


class End(Enum):
    """Ends that stand between inputs: of an utterance, and of the context."""

    FLUSH = 1
    CLOSE = 2


@dataclass(slots=True)
class _Entry:
    """Entry of a queue; ``cost``: what was reserved for it."""

    item: bytearray | memoryview | End
    cost: int


class InputQueue:
    """Queue of one context's input and ends, which one task takes from; what waits in it is reserved and given back.

    Args:
        reserve: asked for so many bytes of memory before they are kept. free: told how many are not kept any more.

    Attributes:
        taken: bytes of input taken so far.

    Example:
        >>> queue.put(b"ab"), queue.put(b"cd"), queue.put(End.FLUSH)      # doctest: +SKIP
        (True, True, True)
        >>> await queue.take(), await queue.take()                        # doctest: +SKIP
        (b'abcd', <End.FLUSH: 1>)
    """

    def __init__(self, reserve: Callable[[int], bool], free: Callable[[int], None]) -> None:
        self._reserve, self._free = reserve, free
        self._entries: deque[_Entry] = deque()
        self._came = asyncio.Event()
        self.taken = 0

    def put(self, item: bytes | End) -> bool:
        """Add an item; ``False``, and it is not kept, where there is no room for it."""
        last = self._entries[-1] if self._entries else None
        if (
            isinstance(item, bytes)
            and last is not None
            and isinstance(last.item, bytearray)
            and len(last.item) + len(item) <= PIECE
        ):
            if not self._reserve(len(item)):
                return False
            last.item += item
            last.cost += len(item)
            return True
        size = len(item) if isinstance(item, bytes) else 0
        cost = 0 if item is End.CLOSE else _OVERHEAD + size  # there is one, and it must always find room
        if not self._reserve(cost):
            return False
        self._entries.append(_Entry(_kept(item), cost))
        self._came.set()
        return True

    async def take(self) -> bytes | End:
        """Next item: as much input as has come, up to ``PIECE`` bytes, or an end."""
        while not self._entries:
            self._came.clear()
            await self._came.wait()
        first = self._entries[0]
        if isinstance(first.item, End):
            self._drop()
            return first.item
        piece = bytes(first.item[:PIECE])
        if len(first.item) > PIECE:
            first.item = first.item[PIECE:]
        else:
            self._drop()
        self.taken += len(piece)
        return piece

    def clear(self) -> None:
        """Forget what waits."""
        while self._entries:
            self._drop()

    def _drop(self) -> None:
        self._free(self._entries.popleft().cost)


def _kept(item: bytes | End) -> bytearray | memoryview | End:
    """Small input grows by what comes behind it; large input is cut where it lies."""
    if isinstance(item, End):
        return item
    return bytearray(item) if len(item) <= PIECE else memoryview(item)
