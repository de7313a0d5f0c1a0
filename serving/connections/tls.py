"""TLS handshakes of connections, which count in the budget from their first moment on."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from serving.connections.budget import ConnectionBudget, State
from serving.connections.http1 import HttpConnection, peer_of


class TlsHandshake(asyncio.Protocol):
    """Connection until its TLS handshake is done, which is then handed on.

    The event loop's own handshake knows of no budget: who connects and says nothing would be held for a minute.

    Args:
        context: of the server. make: makes the connection behind it. budget: of connections.
    """

    def __init__(self, context: ssl.SSLContext, make: Callable[[], HttpConnection], budget: ConnectionBudget) -> None:
        self._context, self._make, self._budget = context, make, budget
        self._transport: asyncio.Transport
        self._early = bytearray()  # what came with the last bytes of the handshake
        self._task: asyncio.Task[None] | None = None

    def peer(self) -> str:
        return peer_of(self._transport)

    def state(self) -> tuple[State, object]:
        return State.HEAD, None

    def drop(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()  # until there is somebody to read a handshake
        if self._budget.enter(self):
            self._task = asyncio.get_running_loop().create_task(self._shake_hands())
        else:
            self._transport.abort()  # nobody could read why

    def data_received(self, data: bytes) -> None:
        self._early += data

    async def _shake_hands(self) -> None:
        seconds = self._budget.limits.head
        try:
            secure = await asyncio.get_running_loop().start_tls(
                self._transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=seconds,
            )
        except OSError:  # no TLS, or nobody left
            secure = None
        finally:
            self._budget.leave(self)
        if secure is None or secure.is_closing():
            self._transport.abort()
            return
        connection = self._make()
        secure.set_protocol(connection)
        connection.connection_made(secure)
        if self._early:
            connection.data_received(bytes(self._early))
