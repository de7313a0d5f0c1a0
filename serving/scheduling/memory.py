"""Memory budget of a server's requests: bytes are reserved before they are taken, and given back on every way out."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

STREAM_BYTES = 1 << 20
"""Bytes that any stream may take beside what was sent: for its codecs, and for sound that waits for a reader."""
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_PART = 4  # the budget's default is this part of the memory that there is
_LEAST, _MOST = 128 << 20, 4 << 30


class OutOfMemoryBudget(Exception):
    """Error of a request that would take more memory than the requests of a server may hold together."""


class MemoryBudget:
    """Byte budget over all requests of a server; used on its event loop only.

    Args:
        total: bytes that all requests may hold at once; ``None``: any number.

    Attributes:
        held: bytes that are reserved now. refused: reservations that found no room.

    Example:
        >>> budget = MemoryBudget(100)
        >>> with budget.share(60) as share:
        ...     share.try_grow(40), share.try_grow(1), budget.held
        (True, False, 100)
        >>> budget.held
        0
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = total
        self.held = self.refused = 0

    def fits(self, size: int) -> bool:
        """Room for so many bytes now."""
        return self.total is None or self.held + size <= self.total

    def share(self, size: int = 0) -> MemoryShare:
        """Share of one request, to be closed at its end; a context manager.

        Raises:
            OutOfMemoryBudget: where there is no room for that many bytes.
        """
        share = MemoryShare(self)
        share.grow(size)
        return share


class MemoryShare:
    """Share of a memory budget that one request holds."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget, self.size, self._closed = budget, 0, False

    def __enter__(self) -> MemoryShare:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def try_grow(self, size: int) -> bool:
        """Reserve more; ``False``, and nothing is reserved, where there is no room or the share is closed."""
        budget = self._budget
        if self._closed or not budget.fits(size):
            budget.refused += 1
            return False
        self.size += size
        budget.held += size
        return True

    def grow(self, size: int) -> None:
        """More bytes for the share, as :meth:`try_grow` takes them.

        Raises:
            OutOfMemoryBudget: where there is no room.
        """
        if not self.try_grow(size):
            raise OutOfMemoryBudget(f"no room for {size} more bytes of requests")

    def shrink(self, size: int) -> None:
        """Give some back; no more than is held."""
        given = min(size, self.size)
        self.size -= given
        self._budget.held -= given

    def close(self) -> None:
        """Give all of it back. May be repeated."""
        self._closed = True
        self.shrink(self.size)


def default_budget() -> int:
    """Bytes that requests may take where nobody says: a quarter of the memory that this process may use."""
    return min(max(available() // _PART, _LEAST), _MOST)


def available(cgroups: tuple[str, ...] = _CGROUPS) -> int:
    """Bytes of memory that this process may use: the machine's, or less where its control group has less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in cgroups:
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # there is no such group, or it has no limit
            continue
    return min(limits)
