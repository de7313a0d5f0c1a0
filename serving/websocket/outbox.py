"""Outgoing messages of one WebSocket connection: replies that nobody waits to send, and sound that waits its turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from starlette.types import Message, Send

from serving.http.responses import ClientDisconnected

MAX_REPLIES = 256
"""Replies that may wait for a client that does not read; beyond, nothing more of it is read."""


class Outbox:
    """Outbox of a connection, emptied by one task.

    A reply passes all sound that waits, so that whoever hears a client never waits for its reading. Sound of a context
    has been sent when :meth:`sound` returns: what the context says next comes behind it.

    Args:
        send: of the connection. stall: seconds that sending one message may take.
    """

    def __init__(self, send: Send, stall: float) -> None:
        self._send, self._stall = send, stall
        self._replies: deque[str] = deque()
        # By whose it is; with who is told when it has been sent.
        self._sounds: dict[object, tuple[bytes, asyncio.Future[None], Callable[[], None]]] = {}
        self._end: Message | None = None
        self._work = asyncio.Event()
        self._sent = asyncio.Event()

    def tell(self, text: str) -> None:
        """Send a reply as soon as may be."""
        self._replies.append(text)
        self._work.set()

    def close(self, code: int, reason: str) -> None:
        """Close the connection behind the replies."""
        self._end = {"type": "websocket.close", "code": code, "reason": reason}
        self._work.set()

    async def sound(self, owner: object, message: bytes, done: Callable[[], None] = lambda: None) -> None:
        """Send sound; returns when that is done, which ``done`` is told before anything else. An owner sends one
        message at a time."""
        sent = asyncio.get_running_loop().create_future()
        self._sounds[owner] = message, sent, done
        self._work.set()
        try:
            await sent
        finally:
            self.forget(owner)

    def forget(self, owner: object) -> None:
        """Sound of an owner that still waits is not to be sent any more."""
        self._sounds.pop(owner, None)

    async def room(self) -> None:
        """Wait until few replies are left to be sent."""
        while len(self._replies) > MAX_REPLIES:
            self._sent.clear()
            await self._sent.wait()

    async def run(self) -> None:
        """Send what there is until the connection is closed.

        Raises:
            ClientDisconnected: for a client that is gone, or does not read.
        """
        while True:
            if self._replies:
                await self._put({"type": "websocket.send", "text": self._replies.popleft()})
                self._sent.set()
            elif self._end is not None:
                return await self._put(self._end)
            elif self._sounds:
                data, sent, done = self._sounds.pop(next(iter(self._sounds)))
                await self._put({"type": "websocket.send", "bytes": data})
                done()
                if not sent.done():
                    sent.set_result(None)
            else:
                self._work.clear()
                await self._work.wait()

    async def _put(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._stall):
                await self._send(message)
        except TimeoutError:
            raise ClientDisconnected from None
        except (OSError, RuntimeError) as error:  # the latter is the server's word for sending after the close
            raise ClientDisconnected from error
