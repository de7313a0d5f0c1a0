"""WebSocket stream of a client: whoever sends and whoever reads never wait for each other."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from serving.client.errors import ServerError
from serving.client.protocol import ClientProtocol

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection


class ClientStream:
    """Open stream: :meth:`send` blocks, :meth:`finish` the utterance, iterate over its sound; then another one.

    A thread of its own listens to the server: sound that nobody has asked for yet waits here, and so does input that
    the server has no room for, so an hour may be sent at once and heard afterwards.

    Args:
        dial: connects. protocol: of the stream. timeout: seconds after which a server that says nothing is given up.
    """

    def __init__(
        self, dial: Callable[[], AbstractContextManager[ClientConnection]], protocol: ClientProtocol, timeout: float
    ) -> None:
        self._dial, self._protocol, self._timeout = dial, protocol, timeout
        self._connection = ExitStack()
        self._socket: ClientConnection
        self._heard: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._closed = threading.Event()
        self._state, self._sending = threading.Lock(), threading.RLock()  # of the protocol; of the socket's sending end
        self._alive = time.monotonic()  # when the server last said something
        self._connect()
        self._listener = threading.Thread(target=self._listen, name="seqgen-stream", daemon=True)
        self._listener.start()

    @property
    def ready(self) -> dict[str, Any]:
        """Fields of the server's ``ready`` message: ``sample_rate``, ``synthetic``, ``resume``, …"""
        return self._protocol.ready

    @property
    def told(self) -> deque[dict[str, Any]]:
        """Times of words, phones and marks that ``init`` asked for, each before the sound that it begins in; take them
        out by ``popleft``."""
        return self._protocol.told

    @property
    def heard(self) -> dict[str, Any]:
        """Fields of ``cancelled``: how much of the utterance had been sent."""
        return self._protocol.heard

    def send(self, block: str | bytes | npt.NDArray[Any]) -> None:
        """Text, samples ``[N]`` or frames ``[F, bands]`` in the encoding that ``init`` named."""
        self._say(lambda: self._protocol.say(block))

    def finish(self) -> None:
        """The utterance is complete."""
        self._say(self._protocol.finish)

    def cancel(self) -> None:
        """Nothing more is wanted."""
        self._say(self._protocol.cancel)

    def close(self) -> None:
        """End the connection."""
        self._closed.set()
        self._socket.close()
        self._listener.join(self._timeout)
        self._connection.close()

    def __iter__(self) -> Iterator[bytes]:
        while (sound := self._next()) is not None:
            if isinstance(sound, Exception):
                raise sound
            yield sound

    def _next(self) -> bytes | Exception | None:
        """Next chunk of sound, ``None`` at the end of an utterance, or what the stream failed by."""
        while True:
            if self._failure is not None and self._heard.empty():
                return self._failure
            try:
                return self._heard.get(timeout=self._timeout)
            except queue.Empty:
                if time.monotonic() - self._alive >= self._timeout:
                    return TimeoutError(f"the server has said nothing for {self._timeout:g} s")

    def _say(self, change: Callable[[], None]) -> None:
        if self._failure is not None:
            raise self._failure
        with self._state:
            change()
        self._send_due()

    def _send_due(self) -> None:
        """Send what there is credit for; a connection that breaks over it is the listener's business."""
        from websockets.exceptions import ConnectionClosed

        with self._sending:
            while True:
                with self._state:
                    message = self._protocol.due()
                if message is None:
                    return
                try:
                    self._socket.send(message)
                except (ConnectionClosed, OSError):
                    return

    def _listen(self) -> None:
        """Take what the server says until the stream is closed or fails."""
        from websockets.exceptions import WebSocketException

        while not self._closed.is_set():
            try:
                message = self._socket.recv()
                with self._state:
                    sound = self._protocol.receive(message)
            except (WebSocketException, OSError, ServerError) as error:
                if not self._go_on(error):
                    return
                continue
            self._alive = time.monotonic()
            if sound or sound is None:
                self._heard.put(sound)
            else:
                self._send_due()

    def _go_on(self, error: Exception) -> bool:
        """Go on with another connection; ``False`` where the stream is over."""
        if self._closed.is_set():
            return False
        if self._protocol.cancelled:
            self._heard.put(None)
            return False
        try:
            self._closed.wait(self._protocol.retry_delay(error))
            with self._sending:
                self._connection.close()
                self._connect()
        except Exception as final:
            self._failure = final
            self._heard.put(final)
            return False
        return True

    def _connect(self) -> None:
        """Connect, and say what is to be said first.

        Raises:
            Exception: where that fails for good.
        """
        from websockets.exceptions import WebSocketException

        while not self._closed.is_set():
            try:
                self._alive = time.monotonic()
                self._socket = self._connection.enter_context(self._dial())
                with self._state:
                    opening = self._protocol.opening_message()
                self._socket.send(opening)
                self._send_due()
                return
            except (WebSocketException, OSError, ServerError) as error:
                self._connection.close()
                self._closed.wait(self._protocol.retry_delay(error))
