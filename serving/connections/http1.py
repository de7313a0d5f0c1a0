"""HTTP/1 and WebSocket connections of the web server, within a budget, strict about what ends a request."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Any, cast

import h11
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Response
from websockets.server import ServerProtocol
from websockets.typing import StatusLike

from serving.connections.budget import ConnectionBudget, State
from serving.connections.pacing import PacedInput
from serving.edge.exchange import NO_ROUTE, SAFE, tell_unread
from serving.http.protocol import error_body

_LONGEST_HEAD = 16 << 10
_TINY, _MOST_TINY = 32, 1 << 10  # bytes, on average, of chunks of which there may be more than so many
_MAPPED = "::ffff:"  # before an IPv4 address in an IPv6 one: RFC 4291, section 2.5.5.2
_FULL = "the server has as many connections as it can hold; try again in a second"


class StrictConnection(h11.Connection):
    """HTTP connection that refuses requests whose end two readers could see in two places (RFC 9112, section 6.1).

    And bodies in very many very small chunks, each of which costs as much as a large one.
    """

    def __init__(self, longest_head: int) -> None:
        super().__init__(h11.SERVER, longest_head)
        self._method = b""
        self._chunks = self._bytes = 0  # of the body under way
        self.chunked = False  # the answer under way comes in chunks

    def send(self, event: Any) -> Any:
        """Bytes of an event of the answer."""
        if isinstance(event, h11.Response):
            sized = any(name == b"content-length" for name, _ in event.headers)
            bare = self._method == b"HEAD" or event.status_code in (204, 304)
            self.chunked = not (sized or bare) and self.their_http_version == b"1.1"
        elif isinstance(event, h11.EndOfMessage):
            self.chunked = False
        return super().send(event)

    def next_event(self) -> Any:
        """Next event.

        Raises:
            h11.RemoteProtocolError: for what is no request, has two lengths, or comes in crumbs.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._method, self._chunks, self._bytes = event.method, 0, 0
            names = {name for name, _ in event.headers}
            if b"transfer-encoding" in names and b"content-length" in names:
                raise h11.RemoteProtocolError("Transfer-Encoding and Content-Length together; send one of them")
            if b"transfer-encoding" in names and event.http_version < b"1.1":
                raise h11.RemoteProtocolError("Transfer-Encoding in a request of HTTP/1.0; send Content-Length")
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_end
            self._bytes += len(event.data)
            if self._chunks > _MOST_TINY and self._bytes < _TINY * self._chunks:
                raise h11.RemoteProtocolError(f"{self._chunks} chunks of {self._bytes} bytes in all; send larger ones")
        return event


class _PacedFlow(FlowControl):
    """Flow control of a connection whose input is paced."""

    def __init__(self, transport: asyncio.Transport, go_on: Callable[[], None]) -> None:
        super().__init__(transport)
        self._go_on = go_on

    def resume_reading(self) -> None:
        """Take input again, first what has come already."""
        if self.read_paused:
            self.read_paused = False
            self._go_on()


class HttpConnection(PacedInput, H11Protocol):
    """HTTP connection within a budget.

    A client that has shut down its side after a request still gets the answer: whether it has gone, the next bytes to
    it tell. Where an answer comes in chunks, one is begun at once, by a zero before its size, to hear sooner.

    Args:
        budget: of connections. count: told route and status of answers that the application never sees.
    """

    def __init__(self, budget: ConnectionBudget, count: Callable[[str, int], None], **given: Any) -> None:
        PacedInput.__init__(self)
        H11Protocol.__init__(self, **given)
        self._budget, self._count = budget, count
        self.conn: StrictConnection = StrictConnection(_LONGEST_HEAD)
        self._upgraded = False
        self._pauses = 0
        self._ended = False  # the client sends nothing more
        self._resets: Any = None

    def peer(self) -> str:
        return peer_of(self.transport)

    def state(self) -> tuple[State, object]:
        if self.transport.is_closing():
            return State.END, None
        if self.flow.write_paused:
            return State.READER, self._pauses
        if self.cycle is None or self.cycle.response_complete:
            return State.HEAD, self.cycle
        return (State.BODY if self.cycle.more_body else State.ANSWER), self.cycle

    def drop(self) -> None:
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self.client = _client_of(self.transport)
        self.flow = _PacedFlow(self.transport, self.go_on)
        if not self._budget.enter(self):
            self._refuse(503, _FULL, b"retry-after: 1\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._budget.leave(self)
        self.forget_input()
        if self._resets is not None:
            self.loop.remove_reader(self._resets.fileno())
            self._resets.close()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._pauses += 1  # whoever reads slowly is waited for anew each time
        super().pause_writing()

    def data_received(self, data: bytes) -> None:
        self.take_input(data)

    def parse(self, data: bytes) -> None:
        H11Protocol.data_received(self, data)

    def may_parse(self) -> bool:
        return not (self.flow.read_paused or self._upgraded or self.transport.is_closing())

    def eof_received(self) -> bool:  # type: ignore[override]
        """Go on where an answer is owed; a connection over TLS cannot be shut down on one side."""
        self._ended = True
        owed = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if not owed or self.transport.get_extra_info("sslcontext") is not None:
            return False
        self._listen_for_reset()
        return True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._ended and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()  # and no request can follow

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._budget.leave(self)
        self._upgraded = True
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request; one that is being answered is cut, as nothing else could be told."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE, h11.ERROR):
            self._refuse(400, "this is no request of HTTP/1.1 that can be read in one way; see RFC 9112")
        else:
            self.transport.close()

    def _should_upgrade(self) -> bool:
        """Test for a request that is to become a WebSocket; of none or another version it is answered as HTTP."""
        given = dict(self.headers)
        meant = self.scope["method"] == "GET" and self.scope["http_version"] == "1.1"
        return meant and b"sec-websocket-key" in given and self._get_upgrade() == b"websocket"

    def _refuse(self, status: int, message: str, headers: bytes = b"") -> None:
        tell_unread(status, self.peer())
        self._count(NO_ROUTE, status)
        _write_refusal(self.transport, status, message, headers)

    def _listen_for_reset(self) -> None:
        """Hear at once of a reset, which nobody reads from a connection that has ended; and provoke it."""
        if self._resets is None and hasattr(select, "epoll"):
            self._resets = select.epoll()
            self._resets.register(self.transport.get_extra_info("socket").fileno(), 0)  # errors are told without asking
            self.loop.add_reader(self._resets.fileno(), self.transport.abort)
        if self.conn.chunked and not self.flow.write_paused:
            self.transport.write(b"0")


class _Handshake(ServerProtocol):
    """Server's side of a WebSocket, whose own refusals of a handshake are as the application's."""

    refused: Callable[[int], None]

    def reject(self, status: StatusLike, text: str) -> Response:
        """Answer that refuses a handshake."""
        self.refused(int(status))
        response = super().reject(status, text)
        response.body = error_body(int(status), text.strip() or "this is no handshake of a WebSocket; see RFC 6455")
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(response.body)))):
            response.headers[name] = value
        for header, safe in SAFE:
            response.headers[header.decode()] = safe.decode()
        return response


class WebSocketConnection(PacedInput, WebSocketsSansIOProtocol):
    """WebSocket connection within a budget; arguments as of :class:`HttpConnection`."""

    def __init__(self, budget: ConnectionBudget, count: Callable[[str, int], None], **given: Any) -> None:
        PacedInput.__init__(self)
        WebSocketsSansIOProtocol.__init__(self, **given)
        self._budget, self._count = budget, count
        self.conn = _Handshake(max_size=self.config.ws_max_size, logger=self.logger)
        self.conn.refused = self._tell
        self._pauses = 0

    def peer(self) -> str:
        return peer_of(self.transport)

    def state(self) -> tuple[State, object]:
        if self.transport.is_closing():
            return State.END, None
        if not self.writable.is_set():
            return State.READER, self._pauses
        return (State.ANSWER if self.handshake_complete else State.HEAD), None

    def drop(self) -> None:
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.client = _client_of(self.transport)
        self._budget.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._budget.leave(self)
        self.forget_input()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._pauses += 1
        super().pause_writing()

    def data_received(self, data: bytes) -> None:
        self.take_input(data)

    def parse(self, data: bytes) -> None:
        WebSocketsSansIOProtocol.data_received(self, data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse_unread()

    def may_parse(self) -> bool:
        return not (self.read_paused or self.transport.is_closing())

    async def receive(self) -> Any:
        """Next message; the rest of what has come is parsed once there are no more."""
        message = await super().receive()
        if not self.read_paused:
            self.go_on()
        return message

    def handle_ping(self) -> None:
        """Answer a ping, unless the answers to many already wait for somebody who does not read."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > self._budget.limits.unsent:
            self._budget.dropped["unsent"] += 1
            self.transport.abort()

    def _refuse_unread(self) -> None:
        """Answer a handshake that is too long for a WebSocket's, or has a body."""
        if answer := b"".join(self.conn.data_to_send()):
            self.transport.write(answer)
            self.transport.close()
        else:
            self._tell(400)
            _write_refusal(self.transport, 400, "this is no handshake of a WebSocket; see RFC 6455")

    def _tell(self, status: int) -> None:
        tell_unread(status, self.peer())
        self._count(NO_ROUTE, status)


def _write_refusal(transport: asyncio.Transport, status: int, message: str, headers: bytes = b"") -> None:
    """Answer what is no request, or finds no room, and close."""
    body = error_body(status, message)
    safe = b"".join(name + b": " + value + b"\r\n" for name, value in SAFE)
    phrase = b"Bad Request" if status == 400 else b"Service Unavailable"
    transport.write(
        b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n%b%b\r\n%b"
        % (status, phrase, len(body), headers, safe, body)
    )
    transport.close()


def peer_of(transport: asyncio.Transport) -> str:
    """Address of a connection's other side; empty for a Unix socket."""
    client = _client_of(transport)
    return client[0] if client else ""


def _client_of(transport: asyncio.Transport) -> tuple[str, int] | None:
    """Address and port of a connection's other side; an IPv4 one as itself, also on a socket for both kinds."""
    client = get_remote_addr(transport)
    return client and (client[0].removeprefix(_MAPPED) if "." in client[0] else client[0], client[1])
