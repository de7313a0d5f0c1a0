"""The ASGI shell: HTTP in, chunked sound out. It waits and passes bytes on; the workers compute."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from seqgen.errors import SeqgenError
from serving import protocol
from serving.protocol import Limits, Order, Refusal
from serving.vocoder import Vocoder
from serving.workers import Abandoned, Crew, Slot

log = logging.getLogger("seqgen.serving")
_LINGER = 2.0  # seconds to swallow the rest of a refused body, so that its sender gets to read the refusal


class ClientGone(Exception):
    """The client hung up while it was sending."""


class Vocode:
    """``POST /v1/vocode``.

    A slot is taken before the body is read, and the status waits for the first chunk of sound, so every failure up
    to there is an HTTP error. A failure after that ends the chunked body without its end mark.
    """

    def __init__(self, vocoder: Vocoder, crew: Crew, limits: Limits) -> None:
        self._vocoder, self._crew, self._limits = vocoder, crew, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._serve(scope, receive, send)
        except Refusal as refusal:
            await _refuse(refusal, receive, send)
        except (Abandoned, ClientGone):
            log.debug("%s: the client went away", scope["state"]["request_id"])

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        order = protocol.read_order(scope["query_string"], self._vocoder)
        if protocol.declared_length(headers) > self._limits.body:
            raise _too_big(self._limits)
        slot = self._crew.admit()
        if slot is None:
            retry = [(b"retry-after", b"1"), (b"connection", b"close")]
            raise Refusal(503, f"all {self._crew.slots} streams are taken; try again in a second", retry)
        with slot:
            body = await _read_body(receive, self._limits)
            content_type = headers.get(b"content-type", b"").decode("latin-1")
            slot.run(protocol.vocode(self._vocoder, order, body, content_type, self._limits))
            del body
            watch = asyncio.create_task(_close_when_gone(receive, slot))
            try:
                await self._answer(slot, order, scope["state"]["request_id"], send)
            finally:
                watch.cancel()

    async def _answer(self, slot: Slot, order: Order, request_id: str, send: Send) -> None:
        try:
            chunk = await slot.take()
        except SeqgenError as error:
            raise Refusal(422, str(error)) from None
        except Abandoned:
            raise
        except Exception as error:
            log.exception("%s: failed before the first sound", request_id)
            raise Refusal(500, f"the voice failed; see the server's log for request {request_id}") from error
        headers = protocol.sound_headers(order, self._vocoder)
        await self._send(send, {"type": "http.response.start", "status": 200, "headers": headers})
        while chunk is not None:
            await self._send(send, {"type": "http.response.body", "body": chunk, "more_body": True})
            try:
                chunk = await slot.take()
            except Abandoned:
                raise
            except Exception as error:
                log.error("%s: failed in the middle of the sound: %s", request_id, error)
                raise  # the server cuts the connection: a player must not take this for the end
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, message: Message) -> None:
        try:
            async with asyncio.timeout(self._limits.stall):
                await send(message)
        except TimeoutError:
            raise ConnectionAbortedError(f"nothing was read for {self._limits.stall:g} s") from None
        except OSError:
            raise ClientGone from None


def _too_big(limits: Limits) -> Refusal:
    message = f"the request body is larger than {limits.body} bytes; send FLAC, or the recording in pieces"
    return Refusal(413, message, [(b"connection", b"close")])


async def _read_body(receive: Receive, limits: Limits) -> bytearray:
    body = bytearray()
    try:
        async with asyncio.timeout(limits.upload):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                body += message.get("body", b"")
                if len(body) > limits.body:
                    raise _too_big(limits)
                if not message.get("more_body", False):
                    return body
    except TimeoutError:
        raise Refusal(
            408, f"the request body took longer than {limits.upload:g} s; send it again", [(b"connection", b"close")]
        ) from None


async def _close_when_gone(receive: Receive, slot: Slot) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    slot.close()


async def _refuse(refusal: Refusal, receive: Receive, send: Send) -> None:
    body = protocol.error_body(refusal.status, refusal.message)
    usual = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refusal.status, "headers": usual + refusal.headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if (b"connection", b"close") in refusal.headers:
        # Closing on unread bytes resets the connection, and the sender may never see why.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                    pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class App:
    """The server for one voice, as an ASGI application.

    Args:
        vocoder: the voice, warmed up. threads: workers. slots: streams at once; more get 503. limits: what one
            request may cost. buffered: seconds of sound that may wait for a slow reader.

    Example:
        >>> uvicorn.run(App(Vocoder(bundle, open_runtime(bundle)), threads=2))   # doctest: +SKIP
    """

    def __init__(
        self,
        vocoder: Vocoder,
        *,
        threads: int,
        slots: int = 8,
        limits: Limits | None = None,
        buffered: float = 2.0,
    ) -> None:
        byte_rate = 2 * vocoder.sample_rate
        self.vocoder = vocoder
        self.crew = Crew(threads=threads, slots=slots, ring=int(buffered * byte_rate), byte_rate=byte_rate)
        self.ready = False
        self._asgi = Starlette(
            routes=[
                Route("/livez", self._livez, methods=["GET"]),
                Route("/readyz", self._readyz, methods=["GET"]),
                Route("/v1/models", self._models, methods=["GET"]),
                Route("/v1/vocode", Vocode(vocoder, self.crew, limits or Limits()), methods=["POST"]),
            ],
            exception_handlers={HTTPException: _http_error, Exception: _server_error},
            lifespan=self._lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every request gets an id, in the scope's state and in the answer's ``X-Request-Id``."""
        if scope["type"] != "http":
            return await self._asgi(scope, receive, send)
        name = protocol.request_id(dict(scope["headers"]))
        scope.setdefault("state", {})["request_id"] = name

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"x-request-id", name.encode())]
            await send(message)

        await self._asgi(scope, receive, stamped)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.crew.start()
        try:
            self.ready = True
            yield
        finally:
            self.ready = False
            await asyncio.to_thread(self.crew.stop)

    async def _livez(self, _: Request) -> Response:
        return _json({"status": "alive"})

    async def _readyz(self, _: Request) -> Response:
        state = {"voice": self.vocoder.name, "busy": self.crew.busy, "slots": self.crew.slots}
        if not self.ready:
            return _json({"status": "not ready"} | state, 503)
        return _json({"status": "ready"} | state)

    async def _models(self, _: Request) -> Response:
        voice = {"id": self.vocoder.name, "object": "model", "owned_by": "seqgen", "kind": "vocoder"}
        details = {
            "sample_rate": self.vocoder.sample_rate,
            "feature_signature": self.vocoder.features.signature,
            "speakers": list(self.vocoder.speakers),
        }
        return _json({"object": "list", "data": [voice | details]})


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content), status, media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = protocol.error_body(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    return Response(body, error.status_code, error.headers, media_type="application/json")


async def _server_error(request: Request, error: Exception) -> Response:
    message = f"internal error; see the server's log for request {request.scope['state']['request_id']}"
    return Response(protocol.error_body(500, message), 500, media_type="application/json")
