"""Exchange of one request and its answer: what is stamped on every answer, and the line that tells of it in the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from serving.edge.spans import TraceContext
from serving.http import protocol
from serving.http.protocol import Headers, HttpError
from serving.logs import logfmt, request_fields

log = logging.getLogger("seqgen.access")
_CLOSE = (b"connection", b"close")
_LINGER = 2.0  # seconds to swallow the rest of a refused body
NO_ROUTE = "-"
REFUSALS = (401, 403, 421, 429, 503)
"""Statuses of what was refused for who asked, from where, or how much is going on: told as warnings."""
SAFE: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
"""Headers of every answer: nothing is guessed, embedded elsewhere, or told to whom a link leads."""
_STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")


class Exchange:
    """Exchange of one request and its answer, which counts what goes through and tells of it once, at its end.

    Neither query nor body nor key is ever told; of a path only which route it was.

    Args:
        scope: of the request; its state gets ``request_id`` and ``refused``. receive, send: of the server.
        count: told route and status of every answer, for the metrics.

    Attributes:
        route: template of the route that answers. key: name of the API key. headers: of the answer, for its origin.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, count: Callable[[str, int], None] = lambda *_: None
    ) -> None:
        self._scope, self._receive, self._send, self._count = scope, receive, send, count
        given = [value for name, value in scope["headers"] if name == b"traceparent"]
        self.trace = TraceContext.of(given)
        self.request_id = protocol.request_id(dict(scope["headers"]))
        scope.setdefault("state", {}).update(request_id=self.request_id, refused=self.refused)
        request_fields.set({"request": self.request_id, "trace_id": self.trace.trace_id, "span_id": self.trace.span_id})
        self.route, self.key, self.headers = NO_ROUTE, "", list[tuple[bytes, bytes]]()
        self.connected = self.whole = False  # a WebSocket's wish was heard; the answer came to its end
        self.status = self.close_code = self._taken = self._given = 0
        self._begun = time.monotonic()
        self._sound = scope["type"] == "websocket"  # what it sends in bytes is sound
        self._first: float | None = None
        self._unread = scope["type"] == "http" and _has_body(dict(scope["headers"]))
        self._lingers = False

    async def receive(self) -> Message:
        """Next message from the client."""
        message = await self._receive()
        self.connected = self.connected or message["type"] == "websocket.connect"
        self._taken += len(message.get("body") or message.get("bytes") or message.get("text") or b"")
        self._unread = self._unread and message.get("more_body", False)
        if message["type"] == "websocket.disconnect":
            self.close_code = self.close_code or message.get("code", 0)
        return message

    async def send(self, message: Message) -> None:
        """Message to the client, stamped where it begins an answer."""
        kind = message["type"]
        if kind in _STARTS:
            self.status = message.get("status", 101)
            self._sound = self._sound or any(name == b"x-synthetic" for name, _ in message.get("headers", []))
            self._lingers = self._unread  # it is answered before it is all sent
            message = {**message, "headers": self._stamped(message.get("headers", []))}
        elif kind == "websocket.close":
            self.close_code, self.whole = message.get("code", 1000), True
            self.status = self.status or 403
        data = message.get("body") or message.get("bytes") or b""
        if self._lingers and kind == "http.response.body" and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._swallow()
            message = {**message, "body": b""}
        await self._send(message)
        if data and self._sound and self._first is None:
            self._first = time.monotonic() - self._begun
        self._given += len(data or message.get("text") or "")
        self.whole = self.whole or (kind == "http.response.body" and not message.get("more_body", False))

    def refused(self, error: HttpError) -> None:
        """Count and tell of what was refused within a connection that goes on."""
        self._count(self.route, error.status)
        fields = {
            "event": "refusal",
            "route": self.route,
            "status": error.status,
            "code": error.code or "-",
            "key": self.key or "-",
            "client": self._client,
        }
        log.warning("%s", logfmt(fields), extra={"fields": fields})

    @property
    def _client(self) -> str:
        return str((self._scope.get("client") or ("-",))[0])

    async def _swallow(self) -> None:
        """Read what still comes for a moment: closing on it resets the connection, and its sender never sees why."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while self._unread:
                    await self.receive()

    def _stamped(self, headers: Headers) -> Headers:
        own = [*headers, *self.headers]
        if self._lingers and _CLOSE not in own:
            own.append(_CLOSE)
        present = {name.lower() for name, _ in own}
        own += [
            (b"x-request-id", self.request_id.encode()),
            (b"traceparent", str(self.trace).encode()),
        ]
        return own + [pair for pair in SAFE if pair[0] not in present]

    def finish(self) -> None:
        """Count and tell what has come of it."""
        status = self.status or 499  # the client left before an answer
        self._count(self.route, status)
        fields: dict[str, Any] = {
            "event": "request",
            "method": "WEBSOCKET" if self._scope["type"] == "websocket" else self._scope["method"],
            "route": self.route,
            "status": status,
            "key": self.key or "-",
            "client": self._client,
            "bytes_in": self._taken,
            "bytes_out": self._given,
            "seconds": round(time.monotonic() - self._begun, 6),
        }
        if self._first is not None:
            fields["first_audio_seconds"] = round(self._first, 6)
        if self.close_code:
            fields["close_code"] = self.close_code
        if not self.whole and status < 400 and self._scope["type"] == "http":
            fields["cut"] = "true"
        level = logging.WARNING if status in REFUSALS or status >= 500 else logging.INFO
        log.log(level, "%s", logfmt(fields), extra={"fields": fields, "context": self.trace})


def _has_body(headers: Mapping[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0").strip(b"0 ") != b""


def tell_unread(status: int, client: str) -> None:
    """Tell of a connection that was refused before there was a request to read."""
    fields = {
        "event": "request",
        "method": "-",
        "route": NO_ROUTE,
        "status": status,
        "key": "-",
        "client": client or "-",
    }
    log.warning("%s", logfmt(fields), extra={"fields": fields})
