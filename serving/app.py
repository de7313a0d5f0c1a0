"""The ASGI application: routes, request ids, readiness. It waits and passes bytes on; the workers compute."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message, Receive, Scope, Send

from serving import pages, protocol
from serving.bank import RING
from serving.crew import SLOTS, Crew, summary
from serving.metrics import Metrics
from serving.protocol import Limits
from serving.resume import Tokens
from serving.shelf import Fixed, Place, Shelf, Voice
from serving.stream import Streams
from serving.vocode import Vocode
from serving.vocoder import Vocoder
from serving.worker import AnyWorker

log = logging.getLogger("seqgen.serving")


class App:
    """The server, as an ASGI application.

    Args:
        voices: where they come from; or one that is open already. threads: workers. slots: streams at once; more get
            503, and so do those that the workers could not carry by what was measured of the voice. limits: what one
            request may cost. buffered: seconds of sound that may wait for a slow reader. memory: bytes of open voices.
        make: makes the workers, see :class:`serving.crew.Crew`; threads of this process where it is not given.
        secret: shared by replicas that take each other's resume tokens.

    Example:
        >>> uvicorn.run(App(Vocoder(bundle, open_runtime(bundle)), threads=2))   # doctest: +SKIP
    """

    def __init__(
        self,
        voices: Place | Vocoder,
        *,
        threads: int,
        slots: int = SLOTS,
        limits: Limits | None = None,
        buffered: float = RING,
        memory: int = 1 << 30,
        make: Callable[[int, Crew], AnyWorker] | None = None,
        secret: bytes | None = None,
    ) -> None:
        place = Fixed(Voice(voices)) if isinstance(voices, Vocoder) else voices
        self.crew = Crew(workers=threads, slots=slots, ring=buffered, make=make)
        self.shelf = Shelf(place, memory=memory, in_use=self.crew.vocoders)
        self.ready = False
        self.metrics = Metrics(self.crew)
        self.crew.watch = self.metrics.heard
        information = pages.Pages(self.shelf, self.metrics)
        given = (self.shelf, self.crew, limits or Limits(), Tokens(secret))
        self._asgi = Starlette(
            routes=[
                Route("/livez", self._livez, methods=["GET"]),
                Route("/readyz", self._readyz, methods=["GET"]),
                *information.routes(),
                Route("/v1/vocode", Vocode(*given), methods=["POST"]),
                WebSocketRoute("/v1/stream", Streams(*given)),
            ],
            exception_handlers={HTTPException: _http_error, Exception: _server_error},
            lifespan=self._lifespan,
        )
        self._asgi.router.redirect_slashes = False  # a path is right or it is not

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every request gets an id, in the scope's state and in the answer's ``X-Request-Id``."""
        if scope["type"] not in ("http", "websocket"):
            return await self._asgi(scope, receive, send)
        name = protocol.request_id(dict(scope["headers"]))
        scope.setdefault("state", {})["request_id"] = name

        async def stamped(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                message["headers"] = [*message.get("headers", []), (b"x-request-id", name.encode())]
            await send(message)

        await self._asgi(scope, receive, stamped)

    def drain(self) -> None:
        """Admit nobody from now on; who listens may go on."""
        self.ready = False
        self.crew.draining = True

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.crew.start()
        try:
            if self.shelf.names():
                voice = await self.shelf.find()
                self.crew.learn(voice.vocoder, voice.capacity)
            await self.crew.ready()
            self.ready = True
            yield
        finally:
            self.ready = False
            await asyncio.to_thread(self.crew.stop)

    async def _livez(self, _: Request) -> Response:
        return pages.as_json({"status": "alive"})

    async def _readyz(self, _: Request) -> Response:
        state = {"voices": self.shelf.names(), "open": list(self.shelf.open), **summary(self.crew)}
        if not self.ready or not state["workers"]:
            return pages.as_json({"status": "not ready"} | state, 503)
        return pages.as_json({"status": "ready"} | state)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = protocol.error_body(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    return Response(body, error.status_code, error.headers, media_type="application/json")


async def _server_error(request: Request, error: Exception) -> Response:
    message = f"internal error; see the server's log for request {request.scope['state']['request_id']}"
    return Response(protocol.error_body(500, message), 500, media_type="application/json")
