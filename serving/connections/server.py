"""Web server that lets streams end before it stops."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from serving.connections.budget import ConnectionBudget
from serving.connections.http1 import HttpConnection, WebSocketConnection
from serving.connections.tls import TlsHandshake

_LOOK = 0.05  # seconds between two looks at what is still going on


_LONGEST_MESSAGE = 1 << 20  # of a WebSocket
_AT_ONCE = 32  # connections accepted before the budget sees them: more of them would take all descriptors
_QUEUE = 1024  # connections that the system may keep until they are accepted
_TOLD_ELSEWHERE = frozenset({
    "ASGI callable returned without completing handshake.",  # an upgrade refused by HTTP: no mistake
    "Invalid HTTP request received.",  # stands in the access log, with who sent it
    "Invalid UTF-8 sequence received from client.",  # as close code 1007
})  # fmt: skip


def _news(record: logging.LogRecord) -> bool:
    """Filter against lines of uvicorn that every client can bring about; what was cut on purpose is told in one."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ConnectionAbortedError):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args, record.exc_info = "an answer was cut: %s", (str(error),), None
    return record.getMessage() not in _TOLD_ELSEWHERE


def configuration(
    app: ASGIApp, budget: ConnectionBudget, count: Callable[[str, int], None], **options: Any
) -> uvicorn.Config:
    """Configuration of the web server: its connections are within a budget, and ``count`` is told of those refused."""
    http = partial(HttpConnection, budget, count)
    return uvicorn.Config(
        app,
        http=cast(Any, http),
        ws=cast(Any, partial(WebSocketConnection, budget, count)),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=_AT_ONCE,
        lifespan="on",
        ws_max_size=_LONGEST_MESSAGE,
        ws_per_message_deflate=False,  # sound hardly shrinks, and packing delays it
        **options,
    )


def _handshake(context: ssl.SSLContext, make: Any, budget: ConnectionBudget, **given: Any) -> TlsHandshake:
    return TlsHandshake(context, partial(make, **given), budget)


class DrainingServer(uvicorn.Server):
    """Web server that, asked to stop, takes no more connections and waits until no stream is under way.

    Args:
        config: its ``timeout_graceful_shutdown`` is how many seconds that may take. budget: of connections.
        drain: called once, to have nobody admitted any more. streaming: tells whether a stream is under way.
        started: called once connections are taken.

    uvicorn itself would close every WebSocket at once, in the middle of its sound.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        budget: ConnectionBudget,
        drain: Callable[[], None],
        streaming: Callable[[], bool],
        started: Callable[[], None] = lambda: None,
    ) -> None:
        # A client whose player pauses reads neither sound nor the pings behind it, and is alive all the same; silent
        # and stalled ones are found by the endpoint.
        config.ws_ping_timeout = None
        super().__init__(config)
        logging.getLogger("uvicorn.error").addFilter(_news)
        self._drain, self._streaming, self._report_started = drain, streaming, started
        self._budget = budget

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections; the budget sees those of TLS before their handshakes."""
        context, plain = self.config.ssl, self.config.http_protocol_class
        if context is not None:
            made = partial(_handshake, context, plain, self._budget)
            self.config.http_protocol_class, self.config.ssl = cast(Any, made), None
        try:
            await super().startup(sockets)
        finally:
            self.config.ssl = context
        if self.started:
            for listener in sockets or []:
                listener.listen(_QUEUE)
            self._report_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let streams end, then stop."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        self._drain()
        patience = self.config.timeout_graceful_shutdown
        until = time.monotonic() + (float("inf") if patience is None else patience)
        while self._streaming() and time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(_LOOK)
        await asyncio.sleep(_LOOK)  # for the last words of what has just ended
        if patience is not None:
            self.config.timeout_graceful_shutdown = max(1, round(until - time.monotonic()))
        await super().shutdown(sockets)
