"""ASGI application of the server: routes, request ids, readiness. It waits and passes bytes on; the workers compute."""

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

from serving.http import pages, protocol
from serving.http.metrics import Metrics
from serving.http.protocol import RequestLimits
from serving.http.resume import ResumeTokens
from serving.http.vocode import VocodeEndpoint
from serving.scheduling.batcher import MAX_BUFFERED
from serving.voices.cache import VoiceCache
from serving.voices.store import FixedVoices, VoiceStore
from serving.voices.vocoder import StreamingVocoder
from serving.voices.voice import LoadedVoice
from serving.websocket.endpoint import StreamEndpoint
from serving.workers.pool import SLOTS_PER_WORKER, WorkerPool, summary
from serving.workers.worker import Worker

log = logging.getLogger("seqgen.serving")


class App:
    """ASGI application that streams voices over HTTP and WebSocket.

    Args:
        voices: where they come from; or one that is open already. threads: workers. slots: streams at once; more get
            503, and so do those that the workers could not carry by what was measured of the voice. limits: what one
            request may cost. buffered: seconds of sound that may wait for a slow reader. memory: bytes of open voices.
        make: makes the workers, see :class:`serving.workers.pool.WorkerPool`; by default threads of this process.
        secret: shared by replicas that take each other's resume tokens.

    Example:
        >>> uvicorn.run(App(StreamingVocoder(bundle, open_runtime(bundle)), threads=2))   # doctest: +SKIP
    """

    def __init__(
        self,
        voices: VoiceStore | StreamingVocoder,
        *,
        threads: int,
        slots: int = SLOTS_PER_WORKER,
        limits: RequestLimits | None = None,
        buffered: float = MAX_BUFFERED,
        memory: int = 1 << 30,
        make: Callable[[int, WorkerPool], Worker] | None = None,
        secret: bytes | None = None,
    ) -> None:
        store = FixedVoices(LoadedVoice(voices)) if isinstance(voices, StreamingVocoder) else voices
        self.pool = WorkerPool(workers=threads, slots=slots, buffered=buffered, make=make)
        self.cache = VoiceCache(store, memory=memory, in_use=self.pool.vocoders)
        self.ready = False
        self.metrics = Metrics(self.pool)
        self.pool.observer = self.metrics.record
        information = pages.InformationPages(self.cache, self.metrics)
        given = (self.cache, self.pool, limits or RequestLimits(), ResumeTokens(secret))
        self._asgi = Starlette(
            routes=[
                Route("/livez", self._livez, methods=["GET"]),
                Route("/readyz", self._readyz, methods=["GET"]),
                *information.routes(),
                Route("/v1/vocode", VocodeEndpoint(*given), methods=["POST"]),
                WebSocketRoute("/v1/stream", StreamEndpoint(*given)),
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
        self.pool.draining = True

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.pool.start()
        try:
            if self.cache.names():
                voice = await self.cache.find()
                self.pool.set_capacity(voice.vocoder, voice.capacity)
            await self.pool.ready()
            self.ready = True
            yield
        finally:
            self.ready = False
            await asyncio.to_thread(self.pool.stop)

    async def _livez(self, _: Request) -> Response:
        return pages.json_response({"status": "alive"})

    async def _readyz(self, _: Request) -> Response:
        state = {"voices": self.cache.names(), "open": list(self.cache.open), **summary(self.pool)}
        if not self.ready or not state["workers"]:
            return pages.json_response({"status": "not ready"} | state, 503)
        return pages.json_response({"status": "ready"} | state)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = protocol.error_body(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    return Response(body, error.status_code, error.headers, media_type="application/json")


async def _server_error(request: Request, error: Exception) -> Response:
    message = f"internal error; see the server's log for request {request.scope['state']['request_id']}"
    return Response(protocol.error_body(500, message), 500, media_type="application/json")
