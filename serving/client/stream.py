"""WebSocket streams of a client: sending, receiving, and resumption after a broken connection."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from serving.client.backoff import Backoff
from serving.client.errors import ServerError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncConnection
    from websockets.sync.client import ClientConnection

_HEAD = struct.Struct("<I")
_FLUSH = '{"type": "flush"}'


class ClientProtocol:
    """Client's side of the WebSocket protocol without any I/O; one context, number 0.

    It also keeps what is to be sent again after the connection broke.
    """

    def __init__(self, init: dict[str, Any], backoff: Backoff) -> None:
        self.ready: dict[str, Any] = {}
        self._init, self._backoff = init, backoff
        self._kept: list[str | bytes] = []  # said since the end of the last utterance that came whole
        self._utterance = self._received = 0

    def record(self, message: str | bytes) -> str | bytes:
        """Message as it is to be sent; kept, to be sent again where the connection breaks."""
        if self._backoff.resumable:
            self._kept.append(message)
        return message

    def opening_messages(self) -> list[str | bytes]:
        """Messages that a fresh connection begins with."""
        init = self._init
        if self.ready:
            init = {"type": "init", "resume": self.ready["resume"]}
            init |= {"utterance": self._utterance, "offset": self._received}
        return [json.dumps(init), *self._kept]

    def retry_delay(self, error: Exception) -> float:
        """Seconds to wait before another connection.

        Raises:
            Exception: ``error``, where another would not help or there were enough.
        """
        return self._backoff.delay(error)

    def receive(self, message: str | bytes) -> bytes | None:
        """Sound of a message, ``None`` at the end of the utterance, ``b""`` for what is neither.

        Raises:
            ServerError: for an error message.
        """
        if isinstance(message, bytes):
            self._received += len(message) - _HEAD.size
            self._backoff.progress()
            return message[_HEAD.size :]
        fields = json.loads(message)
        if fields["type"] == "error":
            raise ServerError(fields["message"], code=fields["code"])
        if fields["type"] == "ready":
            self.ready = fields
        if fields["type"] == "flushed":
            self._backoff.progress()
            end = self._kept.index(_FLUSH) + 1 if _FLUSH in self._kept else 0
            self._utterance = fields["utterance"] + any(isinstance(said, bytes) for said in self._kept[:end])
            self._kept, self._received = self._kept[end:], 0
        return None if fields["type"] in ("flushed", "closed", "cancelled") else b""


def _pack(block: bytes | npt.NDArray[Any]) -> bytes:
    """Binary message: float32 of frames or samples as they are, any other array as 16-bit samples."""
    if isinstance(block, np.ndarray):
        block = block.astype("<f4" if block.dtype.kind == "f" else "<i2").tobytes()
    return _HEAD.pack(0) + block


class ClientStream:
    """Open stream: :meth:`send` blocks, :meth:`finish` the utterance, iterate over its sound; then another one."""

    def __init__(
        self, dial: Callable[[], AbstractContextManager[ClientConnection]], protocol: ClientProtocol, timeout: float
    ) -> None:
        self._dial, self._protocol, self._timeout = dial, protocol, timeout
        self._connection = ExitStack()
        self._socket: ClientConnection
        self._connect()

    @property
    def ready(self) -> dict[str, Any]:
        """Fields of the server's ``ready`` message: ``sample_rate``, ``synthetic``, ``resume``, …"""
        return self._protocol.ready

    def send(self, block: bytes | npt.NDArray[Any]) -> None:
        """Samples ``[N]`` or frames ``[F, bands]`` in the encoding that ``init`` named."""
        self._say(_pack(block))

    def finish(self) -> None:
        """The utterance is complete."""
        self._say(_FLUSH)

    def cancel(self) -> None:
        """Nothing more is wanted."""
        self._socket.send('{"type": "cancel"}')

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def __iter__(self) -> Iterator[bytes]:
        from websockets.exceptions import ConnectionClosed

        while True:
            try:
                sound = self._protocol.receive(self._socket.recv(timeout=self._timeout))
            except (ConnectionClosed, OSError, ServerError) as error:
                self._go_on(error)
                continue
            if sound is None:
                return
            if sound:
                yield sound

    def _connect(self) -> None:
        from websockets.exceptions import WebSocketException

        while True:
            try:
                self._socket = self._connection.enter_context(self._dial())
                for message in self._protocol.opening_messages():
                    self._socket.send(message)
                return
            except (WebSocketException, OSError, ServerError) as error:
                self._connection.close()
                time.sleep(self._protocol.retry_delay(error))

    def _say(self, message: str | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            self._socket.send(self._protocol.record(message))
        except (ConnectionClosed, OSError) as error:
            self._go_on(error)

    def _go_on(self, error: Exception) -> None:
        """Go on with another connection, where that may help."""
        time.sleep(self._protocol.retry_delay(error))
        self._connection.close()
        self._connect()


class AsyncClientStream:
    """Open stream as :class:`ClientStream`, to be awaited."""

    def __init__(self, dial: Callable[[], Awaitable[AsyncConnection]], protocol: ClientProtocol) -> None:
        self._dial, self._protocol = dial, protocol
        self._socket: AsyncConnection

    @property
    def ready(self) -> dict[str, Any]:
        """As :attr:`ClientStream.ready`."""
        return self._protocol.ready

    async def open(self) -> None:
        """Connect."""
        from websockets.exceptions import WebSocketException

        while True:
            try:
                self._socket = await self._dial()
                for message in self._protocol.opening_messages():
                    await self._socket.send(message)
                return
            except (WebSocketException, OSError, ServerError) as error:
                await asyncio.sleep(self._protocol.retry_delay(error))

    async def send(self, block: bytes | npt.NDArray[Any]) -> None:
        """As :meth:`ClientStream.send`."""
        await self._say(_pack(block))

    async def finish(self) -> None:
        """The utterance is complete."""
        await self._say(_FLUSH)

    async def cancel(self) -> None:
        """Nothing more is wanted."""
        await self._socket.send('{"type": "cancel"}')

    async def close(self) -> None:
        """End the connection."""
        await self._socket.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        from websockets.exceptions import ConnectionClosed

        while True:
            try:
                sound = self._protocol.receive(await self._socket.recv())
            except (ConnectionClosed, OSError, ServerError) as error:
                await self._go_on(error)
                continue
            if sound is None:
                return
            if sound:
                yield sound

    async def _say(self, message: str | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._socket.send(self._protocol.record(message))
        except (ConnectionClosed, OSError) as error:
            await self._go_on(error)

    async def _go_on(self, error: Exception) -> None:
        await asyncio.sleep(self._protocol.retry_delay(error))
        await self._socket.close()
        await self.open()
