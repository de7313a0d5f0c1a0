"""ASGI application of the server: routes, request ids, readiness. It waits and passes bytes on; the workers compute."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.completions.endpoint import CompletionEndpoint
from serving.connections.budget import ConnectionBudget
from serving.connections.wyoming import WyomingListener
from serving.edge.exchange import NO_ROUTE, Exchange
from serving.edge.origin import OriginPolicy, is_preflight, preflight_headers
from serving.edge.whole import WholeAnswer
from serving.http import pages
from serving.http.keys import ApiKey, ApiKeys
from serving.http.metrics import Metrics
from serving.http.protocol import Headers, HttpError, RequestLimits
from serving.http.responses import reject
from serving.http.resume import ResumeTokens
from serving.http.routing import WEBSOCKET, Route, Router, page, require_method
from serving.http.vocode import VocodeEndpoint
from serving.scheduling.batcher import MAX_BUFFERED
from serving.scheduling.memory import STREAM_BYTES, MemoryBudget, default_budget
from serving.speech.endpoint import SpeechEndpoint
from serving.streams.contract import ServedModel
from serving.voices.cache import VoiceCache
from serving.voices.store import FixedVoices, VoiceStore
from serving.voices.voice import LoadedVoice
from serving.websocket.endpoint import StreamEndpoint
from serving.websocket.protocol import POLICY
from serving.workers.pool import SLOTS_PER_WORKER, WorkerPool, summary
from serving.workers.worker import Worker, WorkerLost

log = logging.getLogger("seqgen.serving")
_LOOK = 1.0  # seconds between two looks at the voices


class App:
    """ASGI application that streams voices and texts over HTTP and WebSocket.

    Args:
        voices: where they come from; or one that is open already. threads: workers. slots: streams at once; more get
            503, and so do those that the workers could not carry by what was measured of the voice. limits: what one
            request may cost. buffered: seconds of sound that may wait for a slow reader. memory: bytes of open voices.
        request_memory: bytes that all requests may hold; by default a part of what this process may use.
        make: makes the workers, see :class:`serving.workers.pool.WorkerPool`; by default threads of this process.
        secret: shared by replicas that take each other's resume tokens. keys: without them, who reaches the server is
            served. origins: which pages and hosts are served; by default any, for who stands behind a proxy that knows.
        public_metrics: whether they want no key. connections: budget that the web server keeps.
        default: name of the voice of requests that name none; without one,
            that is a single voice only. aliases: further names of voices.
        wyoming: bound socket for clients of the Wyoming protocol. wyoming_allowed: networks from which they may come.

    Attributes:
        settled: whether every voice has been looked at and every worker was up once.

    Example:
        >>> uvicorn.run(App(StreamingVocoder(bundle, open_runtime(bundle)), threads=2))   # doctest: +SKIP
    """

    def __init__(
        self,
        voices: VoiceStore | ServedModel,
        *,
        threads: int,
        slots: int = SLOTS_PER_WORKER,
        limits: RequestLimits | None = None,
        buffered: float = MAX_BUFFERED,
        memory: int = 1 << 30,
        request_memory: int | None = None,
        make: Callable[[int, WorkerPool], Worker] | None = None,
        secret: bytes | None = None,
        keys: ApiKeys | None = None,
        origins: OriginPolicy | None = None,
        connections: ConnectionBudget | None = None,
        public_metrics: bool = False,
        default: str | None = None,
        aliases: Mapping[str, str] | None = None,
        wyoming: socket.socket | None = None,
        wyoming_allowed: Iterable[str] = (),
    ) -> None:
        store = FixedVoices(LoadedVoice(voices)) if isinstance(voices, ServedModel) else voices
        total = max(request_memory or default_budget(), STREAM_BYTES)
        self.pool = WorkerPool(workers=threads, slots=slots, buffered=buffered, memory=MemoryBudget(total), make=make)
        self.cache = VoiceCache(
            store,
            default=default,
            aliases=aliases,
            memory=memory,
            in_use=self.pool.models,
            copies=self.pool.copies,
        )
        self.settled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reload, self._checked = asyncio.Event(), asyncio.Event()
        self.connections = connections or ConnectionBudget()
        self.metrics = Metrics(self.pool, self.cache, self._count_connections)
        self.pool.observer = self.metrics.record
        information = pages.InformationPages(self.cache, self.metrics, public_metrics=public_metrics)
        given = (self.cache, self.pool, _fitting(limits or RequestLimits(), total), ResumeTokens(secret))
        texts = CompletionEndpoint(self.cache, self.pool, given[2], self.metrics.read)
        self._streams = VocodeEndpoint(*given), StreamEndpoint(*given), texts, SpeechEndpoint(*given)
        self._wyoming: WyomingListener | None = None
        if wyoming is not None:
            listening = (wyoming, *given[:3], self.metrics.answered)
            self._wyoming = WyomingListener(*listening, allowed=wyoming_allowed)
        self._keys, self._origins = keys, origins
        self._router = Router(
            [
                Route("/livez", ("GET",), page(self._livez), public=True),
                Route("/readyz", ("GET",), page(self._readyz), public=True),
                *information.routes(),
                Route("/v1/vocode", ("POST",), self._streams[0]),
                Route("/v1/stream", (WEBSOCKET,), self._streams[1]),
                Route("/v1/completions", ("POST",), self._streams[2]),
                Route("/v1/audio/speech", ("POST",), self._streams[3]),
            ]
        )
        self._life = Starlette(lifespan=self._lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request: it is told of in the log at its end, whatever that is."""
        if scope["type"] not in ("http", "websocket"):
            return await self._life(scope, receive, send)
        exchange = Exchange(scope, receive, send, count=self.metrics.answered)
        try:
            await self._serve(scope, exchange)
        finally:
            exchange.finish()

    async def _serve(self, scope: Scope, exchange: Exchange) -> None:
        """Answer by the endpoint of the route, or by what stands against it."""
        try:
            endpoint = self._admit(scope, exchange)
            caller = scope["state"].get("caller")
            with self._keys.serving(caller) if self._keys and caller else contextlib.nullcontext():
                await _answer(endpoint, scope, exchange)
        except HttpError as error:
            await _refuse(error, scope, exchange)
        except Exception as error:
            if scope["type"] == "http" and not exchange.status:
                await reject(_failure(error, exchange), scope, exchange.send)
            raise  # the web server tells of it in the log, and cuts an answer that has begun

    def _admit(self, scope: Scope, exchange: Exchange) -> ASGIApp:
        """Endpoint for a request that may be served: one reading of origin, path and key, in this order.

        Raises:
            HttpError: for one that may not.
        """
        if self._origins is not None:
            exchange.headers = self._origins.check(scope)
        route = self._router.find(scope)
        exchange.route = route.template if route else NO_ROUTE
        if route is not None and exchange.headers and is_preflight(scope):  # before the key, which it never bears
            return page(_preflight(preflight_headers(scope, route.methods)))
        if self._keys is not None and not (route and route.public):
            caller = self._keys.identify(scope)
            exchange.key = caller.name
            caller.charge()
            scope["state"]["caller"] = caller
        return require_method(route, scope).endpoint

    def drain(self) -> None:
        """Admit nobody from now on; who listens may go on."""
        self.pool.draining = True
        if self._wyoming is not None:
            self._wyoming.close()

    def _count_connections(self) -> tuple[int, Counter[str]]:
        """Connections of all listeners, and those dropped, by why."""
        budgets = [self.connections, *([self._wyoming.budget] if self._wyoming is not None else [])]
        return sum(one.held for one in budgets), sum((one.dropped for one in budgets), Counter())

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        self.pool.start()
        if self._wyoming is not None:
            await self._wyoming.start()
        tending = [asyncio.create_task(self._tend_voices()), asyncio.create_task(self._settle())]
        try:
            yield
        finally:
            for task in tending:
                task.cancel()
            await asyncio.gather(*tending, return_exceptions=True)
            if self._wyoming is not None:
                await self._wyoming.stop()
            await asyncio.to_thread(self.pool.stop)

    def reload_voices(self) -> None:
        """Look at the voices now, also at those whose next attempt is not due; called in any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._reload.set)

    def replace_keys(self, keys: Iterable[ApiKey]) -> None:
        """Take other API keys instead; what is under way by a key that is gone ends at once."""
        if self._keys is not None:
            self._keys.replace(keys)

    def replace_origins(self, policy: OriginPolicy) -> None:
        """Serve other origins and hosts from now on."""
        self._origins = policy

    def replace_limits(self, limits: RequestLimits, *, request_memory: int, memory: int) -> None:
        """Take requests of other limits from now on, of so many bytes together, and so many of open voices; what is
        under way keeps its own."""
        self.pool.memory.total = max(request_memory, STREAM_BYTES)
        self.cache.resize(memory)
        fitting = _fitting(limits, self.pool.memory.total)
        for endpoint in self._streams:
            endpoint.limits = fitting
        if self._wyoming is not None:
            self._wyoming.limits = fitting

    async def _settle(self) -> None:
        """Wait until every voice was looked at and every worker is up."""
        await self._checked.wait()
        await self.pool.ready()
        self.settled = True

    async def _tend_voices(self) -> None:
        """Look after the voices again and again: those that are new, changed, gone, or due for another attempt."""
        while True:
            at_once = self._reload.is_set()
            self._reload.clear()
            try:
                await self.cache.check(at_once=at_once)
                self._prepare()
            except Exception:  # of a store that cannot be read just now
                log.exception("the voices could not be looked at")
            self._checked.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reload.wait(), _LOOK)

    def _prepare(self) -> None:
        """Have the workers open the voice that most will ask for."""
        voices = self.cache.open
        first = voices.get(self.cache.resolve(self.cache.default or "")) or next(iter(voices.values()), None)
        if first is not None:
            self.pool.set_capacity(first.model, first.capacity)

    async def _livez(self, _: Request) -> Response:
        if not all(worker.tended for worker in self.pool.workers):
            return pages.json_response({"status": "a worker has ended that nobody starts again"}, 503)
        return pages.json_response({"status": "alive"})

    async def _readyz(self, _: Request) -> Response:
        state = {"voices": self.cache.names(), "open": list(self.cache.open), **summary(self.pool)}
        if reason := self.unready():
            return pages.json_response({"status": "not ready", "reason": reason} | state, 503)
        return pages.json_response({"status": "ready"} | state)

    def unready(self) -> str:
        """Reason why nobody could be served now; nothing where somebody could."""
        if self.pool.draining:
            return "the server is being stopped"
        if not any(worker.up for worker in self.pool.workers):
            return "no worker is up"
        states = self.cache.states()
        if not any(state != "ignored" for state, _ in states.values()):
            return "; ".join(["there is no voice", *(f"{name}: {why}" for name, (_, why) in states.items())])
        if not self.cache.open:
            bad = [f"{name}: {why}" for name, (state, why) in states.items() if state == "quarantined"]
            return "; ".join(["no voice is open", *bad])
        if not any(self.pool.open_somewhere(voice.model) for voice in self.cache.open.values()):
            return "no worker could open a voice again"
        if self.pool.full:
            return "all slots are taken"
        if not self.pool.memory.fits(STREAM_BYTES):
            return "requests hold all the memory that they may"
        if not any(self.pool.carries(voice.model) for voice in self.cache.open.values()):
            return "the workers can carry no more streams"
        return ""


def _failure(error: Exception, exchange: Exchange) -> HttpError:
    """Answer to a request that failed before its answer had begun."""
    if isinstance(error, WorkerLost):
        return HttpError(503, f"{error}; try again in a second", [(b"retry-after", b"1")])
    return HttpError(500, f"internal error; see the server's log for request {exchange.request_id}")


async def _answer(endpoint: ASGIApp, scope: Scope, exchange: Exchange) -> None:
    if not WholeAnswer.needed(scope):
        return await endpoint(scope, exchange.receive, exchange.send)
    with contextlib.closing(WholeAnswer(exchange.send)) as answer:
        await endpoint(scope, exchange.receive, answer.send)
        await answer.finish()


async def _refuse(error: HttpError, scope: Scope, exchange: Exchange) -> None:
    """Answer with an error; what has begun is ended by it."""
    if exchange.status and scope["type"] == "websocket":
        return await exchange.send({"type": "websocket.close", "code": POLICY, "reason": error.message[:120]})
    if exchange.status:
        raise ConnectionAbortedError(error.message)  # the web server cuts what must not look whole
    if scope["type"] == "websocket" and not exchange.connected:
        await exchange.receive()
    await reject(error, scope, exchange.send)


def _fitting(limits: RequestLimits, memory: int) -> RequestLimits:
    """Limits under which a body that never fits into the requests' memory is too large."""
    return replace(limits, body=min(limits.body, memory - STREAM_BYTES))


def _preflight(headers: Headers) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return Response(status_code=204, headers={name.decode(): value.decode() for name, value in headers})

    return answer
