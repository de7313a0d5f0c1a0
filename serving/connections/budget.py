"""Budget of connections: so many in all and from one address, and none held for longer than its state is worth."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

_KEPT_FREE = 192  # descriptors for workers, voices, files and clients of the Wyoming protocol
_LOOK = 1.0  # seconds between two looks at all connections
_BATCH = 16  # part of the waiting that makes room at once: looking for the oldest at every arrival would cost too much


class State(Enum):
    """State of a connection, by what it waits for."""

    HEAD = "head"  # for a request, or the rest of its head
    BODY = "body"  # for the rest of a request's body
    ANSWER = "answer"  # for the application, which has its own limits
    READER = "reader"  # for the client, to read what was sent
    END = "end"  # for what was sent last to leave, after which it closes


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of connections.

    Attributes:
        total: in all. each: from one address (of IPv6, one network of 64 bits).
        head: seconds for a request to come, from the connection's beginning or the end of the answer before.
        body: seconds for its body. reader: seconds without reading what was sent.
        unsent: bytes of control frames that may wait for a client that asks for them and does not read.

    ``body`` and ``reader`` are longer than the application's own limits, which it can tell of.
    """

    total: int = 1024
    each: int = 256
    head: float = 10.0
    body: float = 75.0
    reader: float = 75.0
    unsent: int = 256 << 10

    def seconds(self, state: State) -> float:
        """Longest that a connection may be in a state."""
        held = {State.HEAD: self.head, State.BODY: self.body, State.READER: self.reader, State.END: self.reader}
        return held.get(state, float("inf"))


class Connection(Protocol):
    """Connection as its budget sees it."""

    def peer(self) -> str:
        """Address of the other side; empty for a Unix socket."""

    def state(self) -> tuple[State, object]:
        """Wait of a connection: for what, and a token that is another one each time that the waiting begins anew."""

    def drop(self) -> None:
        """End it at once."""


@dataclass(slots=True)
class _Entry:
    origin: str
    state: tuple[State, object]
    since: float


class ConnectionBudget:
    """Budget of a server's connections; used on its event loop.

    A connection without a request makes room for a new one where there are too many, the oldest first: whoever opens
    thousands and says nothing drops their own. Only where all have requests under way is a new one refused.

    Args:
        limits: see there. proxies: addresses or networks whose connections are of many clients, and count in all only.

    Attributes:
        dropped: connections dropped, by why.
    """

    def __init__(self, limits: ConnectionLimits | None = None, *, proxies: Iterable[str] = ()) -> None:
        self.limits = limits or ConnectionLimits()
        self._proxies = [ipaddress.ip_network(text, strict=False) for text in proxies]
        self._entries: dict[Connection, _Entry] = {}
        self._by_origin: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self.dropped: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """Number of connections."""
        return len(self._entries)

    def enter(self, connection: Connection) -> bool:
        """Take a connection in; ``False`` where there is no room for it, and it has to go."""
        loop = asyncio.get_running_loop()
        origin = self._origin(connection.peer())
        if origin and self._by_origin[origin] >= self.limits.each and not self._make_room(origin):
            return False
        if len(self._entries) >= self.limits.total and not self._make_room(""):
            return False
        self._entries[connection] = _Entry(origin, connection.state(), loop.time())
        self._by_origin[origin] += 1
        if self._timer is None:
            self._timer = loop.call_later(_LOOK, self._look)
        return True

    def leave(self, connection: Connection) -> None:
        """A connection is over. May be repeated."""
        entry = self._entries.pop(connection, None)
        if entry is not None:
            self._by_origin[entry.origin] -= 1
            if not self._by_origin[entry.origin]:
                del self._by_origin[entry.origin]

    def _make_room(self, origin: str) -> bool:
        """Drop the oldest connections that wait for a request, from one origin or, where it is empty, from any."""
        waiting = [
            (entry.since if entry.state == state else float("inf"), number, connection)
            for number, (connection, entry) in enumerate(self._entries.items())
            if (not origin or entry.origin == origin) and (state := connection.state())[0] is State.HEAD
        ]
        for _, _, connection in sorted(waiting, key=lambda row: row[:2])[: max(1, len(waiting) // _BATCH)]:
            self._drop(connection, "crowded")
        if not waiting:
            self.dropped["refused"] += 1
        return bool(waiting)

    def _look(self) -> None:
        """Drop what has been in one state for too long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection, entry in list(self._entries.items()):
            state = connection.state()
            if state != entry.state:
                entry.state, entry.since = state, now
            elif now - entry.since >= self.limits.seconds(state[0]):
                self._drop(connection, state[0].value)
        self._timer = loop.call_later(_LOOK, self._look) if self._entries else None

    def _drop(self, connection: Connection, why: str) -> None:
        self.dropped[why] += 1
        self.leave(connection)
        connection.drop()

    def _origin(self, peer: str) -> str:
        """Key that connections of one address are counted by; empty for those that are counted in all only."""
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return ""
        if any(address in network for network in self._proxies):
            return ""
        return str(address) if address.version == 4 else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def most_connections(wanted: int) -> int:
    """Connections that this process can hold, of so many wanted; takes what descriptors the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _KEPT_FREE
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _KEPT_FREE))
