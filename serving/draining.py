"""A web server that lets streams end before it does."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable

import uvicorn

from serving.app import App

_LOOK = 0.05  # seconds between two looks at what is still going on


def _news(record: logging.LogRecord) -> bool:
    """Not that an upgrade was answered by HTTP: uvicorn 0.54 takes each such refusal for a mistake, a line apiece."""
    return record.getMessage() != "ASGI callable returned without completing handshake."


class DrainingServer(uvicorn.Server):
    """Asked to stop, it takes no more connections, waits until no stream is under way, and only then says goodbye.

    Args:
        config: its ``timeout_graceful_shutdown`` is how many seconds that may take. app: whose streams they are.
        started: called once connections are taken.

    uvicorn itself would close every WebSocket at once, in the middle of its sound.
    """

    def __init__(self, config: uvicorn.Config, app: App, *, started: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        logging.getLogger("uvicorn.error").addFilter(_news)
        self._app, self._told = app, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections."""
        await super().startup(sockets)
        if self.started:
            self._told()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let streams end, then stop."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        self._app.drain()
        patience = self.config.timeout_graceful_shutdown
        until = time.monotonic() + (float("inf") if patience is None else patience)
        while self._app.crew.sounding and time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(_LOOK)
        await asyncio.sleep(_LOOK)  # for the last words of what has just ended
        if patience is not None:
            self.config.timeout_graceful_shutdown = max(1, round(until - time.monotonic()))
        await super().shutdown(sockets)
