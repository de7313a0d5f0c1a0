"""WebSocket stream of a client, to be awaited."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from serving.client.errors import ServerError
from serving.client.protocol import ClientProtocol

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection


class AsyncClientStream:
    """Open stream as :class:`serving.client.stream.ClientStream`, to be awaited; a task of its own listens."""

    def __init__(self, dial: Callable[[], Awaitable[ClientConnection]], protocol: ClientProtocol) -> None:
        self._dial, self._protocol = dial, protocol
        self._socket: ClientConnection
        self._heard: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._failure: Exception | None = None
        self._sending = asyncio.Lock()
        self._listener: asyncio.Task[None]

    @property
    def ready(self) -> dict[str, Any]:
        """Server's ``ready`` message, as :attr:`ClientStream.ready`."""
        return self._protocol.ready

    async def open(self) -> None:
        """Connect."""
        await self._connect()
        self._listener = asyncio.create_task(self._listen())

    @property
    def told(self) -> deque[dict[str, Any]]:
        """Times of words, phones and marks that ``init`` asked for, each before the sound that it begins in; take them
        out by ``popleft``."""
        return self._protocol.told

    @property
    def heard(self) -> dict[str, Any]:
        """Fields of ``cancelled``: how much of the utterance had been sent."""
        return self._protocol.heard

    async def send(self, block: bytes | npt.NDArray[Any]) -> None:
        """Input for the stream, as :meth:`ClientStream.send` takes it."""
        await self._say(lambda: self._protocol.say(block))

    async def finish(self) -> None:
        """The utterance is complete."""
        await self._say(self._protocol.finish)

    async def cancel(self) -> None:
        """Nothing more is wanted."""
        await self._say(self._protocol.cancel)

    async def close(self) -> None:
        """End the connection."""
        self._listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listener
        await self._socket.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self._failure is not None and self._heard.empty():
                raise self._failure
            sound = await self._heard.get()
            if isinstance(sound, Exception):
                raise sound
            if sound is None:
                return
            yield sound

    async def _say(self, change: Callable[[], None]) -> None:
        if self._failure is not None:
            raise self._failure
        change()
        await self._send_due()

    async def _send_due(self) -> None:
        async with self._sending:
            await self._send_all()

    async def _send_all(self) -> None:
        """Send what there is credit for; a connection that breaks over it is the listener's business."""
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed, OSError):
            while (message := self._protocol.due()) is not None:
                await self._socket.send(message)

    async def _listen(self) -> None:
        """Take what the server says until the stream fails."""
        from websockets.exceptions import WebSocketException

        while True:
            try:
                sound = self._protocol.receive(await self._socket.recv())
            except (WebSocketException, OSError, ServerError) as error:
                if not await self._go_on(error):
                    return
                continue
            if sound or sound is None:
                self._heard.put_nowait(sound)
            else:
                await self._send_due()

    async def _go_on(self, error: Exception) -> bool:
        """Go on with another connection; ``False`` where the stream is over."""
        if self._protocol.cancelled:
            self._heard.put_nowait(None)
            return False
        try:
            await asyncio.sleep(self._protocol.retry_delay(error))
            async with self._sending:
                await self._socket.close()
                await self._connect()
        except Exception as final:
            self._failure = final
            self._heard.put_nowait(final)
            return False
        return True

    async def _connect(self) -> None:
        """Connect, and say what is to be said first.

        Raises:
            Exception: where that fails for good.
        """
        from websockets.exceptions import WebSocketException

        while True:
            try:
                self._socket = await self._dial()
                await self._socket.send(self._protocol.opening_message())
                return await self._send_all()
            except (WebSocketException, OSError, ServerError) as error:
                await asyncio.sleep(self._protocol.retry_delay(error))
