"""Listener for clients of the Wyoming protocol: who may come, how many, and their end with the server's."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable, Iterable

from seqgen.errors import SeqgenError
from serving.connections.budget import ConnectionBudget, ConnectionLimits, State
from serving.http.protocol import RequestLimits
from serving.speech.wyoming import Conversation
from serving.speech.wyoming_protocol import WyomingError
from serving.voices.cache import VoiceCache
from serving.workers.pool import WorkerPool

LIMITS = ConnectionLimits(total=64, each=32, head=3600.0)
"""Limits of connections: clients keep them open for their next request, so the idle are dropped late, or for others."""
_LINGER = 2.0  # seconds for what was sent last to leave
_LAST_WORDS, _LOOK = 0.5, 0.02  # seconds that a request has when the server stops, and between two looks at it
_UNREAD = 1 << 15  # bytes of a client that wait to be parsed


class WyomingListener:
    """Listener on a bound socket, which speaks for whoever may come.

    Args:
        listener: the socket. cache, pool, limits: of the server. count: told route and status of every request.
        allowed: addresses and networks of other machines that may come; this machine may.

    Attributes:
        limits: of one request. budget: of connections.
    """

    def __init__(
        self,
        listener: socket.socket,
        cache: VoiceCache,
        pool: WorkerPool,
        limits: RequestLimits,
        count: Callable[[str, int], None],
        *,
        allowed: Iterable[str] = (),
    ) -> None:
        self._listener, self._cache, self._pool, self._count = listener, cache, pool, count
        self._allowed = [ipaddress.ip_network(text, strict=False) for text in allowed]
        self.limits, self.budget = limits, ConnectionBudget(LIMITS)
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], Conversation] = {}

    async def start(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_server(self._meet, sock=self._listener, limit=_UNREAD)

    def close(self) -> None:
        """Take no more connections; those that there are go on."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """End every conversation; one whose sound has just ended says so before."""
        self.close()
        until = time.monotonic() + _LAST_WORDS
        while any(one.busy for one in self._tasks.values()) and time.monotonic() < until:
            await asyncio.sleep(_LOOK)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversation = Conversation(self._cache, self._pool, self.limits, reader, writer, self._count)
        self._tasks[task] = conversation
        connection = _WyomingConnection(writer, conversation)
        try:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if refusal := self._refusal(connection):
                await conversation.part(refusal)
            else:
                await conversation.run()
        except asyncio.CancelledError:
            pass  # the server stops, and nobody waits for this task but its end
        finally:
            self.budget.leave(connection)
            await _closed(writer)
            self._tasks.pop(task, None)

    def _refusal(self, connection: _WyomingConnection) -> WyomingError | None:
        """Reason to let a client go at once; it enters the budget where there is none."""
        if not self._may_come(connection.peer()):
            return WyomingError("forbidden", "this address may not come here (--wyoming-allow)")
        if not self.budget.enter(connection):
            return WyomingError("overloaded", "all connections are taken; try again in a second")
        return None

    def _may_come(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        return address.is_loopback or any(address in network for network in self._allowed)


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, at once where what was sent last is not read soon."""
    writer.close()
    try:
        async with asyncio.timeout(_LINGER):
            await writer.wait_closed()
    except OSError:  # a TimeoutError is one
        writer.transport.abort()


class _WyomingConnection:
    """Connection as its budget sees it."""

    def __init__(self, writer: asyncio.StreamWriter, conversation: Conversation) -> None:
        self._writer, self._conversation = writer, conversation

    def peer(self) -> str:
        return str((self._writer.get_extra_info("peername") or ("",))[0])

    def state(self) -> tuple[State, object]:
        return (State.HEAD if self._conversation.idle else State.ANSWER), None

    def drop(self) -> None:
        self._writer.transport.abort()


def require_allowed(listener: socket.socket, allowed: Iterable[str]) -> None:
    """Refuse an address that other machines reach where nobody has said which of them may come.

    Raises:
        SeqgenError: unless the address is this machine's own.
    """
    host = listener.getsockname()[0]
    if not any(True for _ in allowed) and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        raise SeqgenError(
            f"{host} is reached by other machines, and Wyoming knows no keys",
            remedy="say which may come by --wyoming-allow ADDRESS (Home Assistant's, or a network; 0.0.0.0/0 for any)",
        )
