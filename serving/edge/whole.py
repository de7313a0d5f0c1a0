"""Answer that is kept until it is complete, for clients whose protocol cannot tell that one has broken off."""

from __future__ import annotations

import asyncio
from tempfile import SpooledTemporaryFile

from starlette.types import Message, Scope, Send

from serving.http.protocol import HttpError
from serving.sound.sse import MEDIA_TYPE

_IN_MEMORY = 1 << 20  # bytes; what is longer goes on the disk
_PIECE = 1 << 16


class WholeAnswer:
    """Answer in HTTP/1.0, sent with its length once it is complete.

    That protocol has no chunks: a body of unknown length ends where the connection does, and one that broke off looks
    whole. Events tell of their end themselves, and answers that say their length are sent as they come.

    Args:
        send: of the answer.

    Example:
        >>> answer = WholeAnswer(send)                               # doctest: +SKIP
        >>> await endpoint(scope, receive, answer.send); await answer.finish()
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._size = 0
        self._spool: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115

    @staticmethod
    def needed(scope: Scope) -> bool:
        """Test for a request whose answer has to be kept."""
        return scope["type"] == "http" and scope.get("http_version") == "1.0"

    async def send(self, message: Message) -> None:
        """Keep a message, or pass it on.

        Raises:
            HttpError: 507 where there is no room for it on the disk.
        """
        if message["type"] == "http.response.start":  # a second one is an error's, in the place of what was kept
            self._start = None if _tells_its_end(message) else message
        if self._start is None:
            await self._send(message)
        elif message is not self._start:
            await self._keep(message.get("body", b""))

    async def finish(self) -> None:
        """Send what was kept; the answer is complete."""
        if self._start is not None:
            headers = [*self._start["headers"], (b"content-length", str(self._size).encode())]
            await self._send({**self._start, "headers": headers})
            self._spool.seek(0)
            while piece := self._spool.read(_PIECE):
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def close(self) -> None:
        """Forget what was kept."""
        self._spool.close()

    async def _keep(self, data: bytes) -> None:
        self._size += len(data)
        try:
            if self._size > _IN_MEMORY:
                await asyncio.to_thread(self._spool.write, data)
            else:
                self._spool.write(data)
        except OSError as error:
            message = f"no room on the disk for the answer ({error.strerror}); ask by HTTP/1.1, which needs none"
            raise HttpError(507, message, code="insufficient_storage") from None


def _tells_its_end(message: Message) -> bool:
    headers = dict(message.get("headers", []))
    return b"content-length" in headers or headers.get(b"content-type", b"").startswith(MEDIA_TYPE.encode())
