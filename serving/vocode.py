"""``POST /v1/vocode``: a recording or features in, sound out while it is made."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from dataclasses import replace
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from seqgen.errors import SeqgenError
from serving import protocol, sse
from serving.crew import Abandoned, Crew, Ticket
from serving.protocol import Headers, Limits, Refusal
from serving.resume import Claim, Tokens, read_resumption, require_same
from serving.shelf import Shelf, Voice
from serving.source import NoRoom
from serving.worker import WorkerLost

log = logging.getLogger("seqgen.serving")
_LINGER = 2.0  # seconds to swallow the rest of a refused body, so that its sender gets to read the refusal
_CLOSE = (b"connection", b"close")


class ClientGone(Exception):
    """The client hung up while it was sending."""


class Vocode:
    """The endpoint.

    A slot is taken before the body is read, and the status waits for the first chunk of sound, so every failure up
    to there is an HTTP error. A failure after that ends the chunked body without its end mark; or, for a client that
    accepts events, is the last of them.
    """

    def __init__(self, shelf: Shelf, crew: Crew, limits: Limits, tokens: Tokens) -> None:
        self._shelf, self._crew, self._limits, self._tokens = shelf, crew, limits, tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._serve(scope, receive, send)
        except Refusal as refusal:
            await refuse(refusal, receive, send)
        except (Abandoned, ClientGone):
            log.debug("the client went away", extra={"request": scope["state"]["request_id"]})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").decode("latin-1")
        events = sse.wanted(headers.get(b"accept", b""))
        values, claim = read_resumption(protocol.read_query(scope["query_string"]), self._tokens)
        voice = await find(self._shelf, values.get("voice"))
        order = protocol.read_order(values, voice.vocoder, content_type=kind, longest=self._limits.sound)
        if protocol.declared_length(headers) > self._limits.body:
            raise _too_big(self._limits)
        ticket = admit(self._crew, voice)
        with ticket:
            body, digest = await _read_body(receive, self._limits)
            asked = Claim.of(values.get("voice"), voice.vocoder, order, digest)
            if claim is not None:
                require_same(claim, asked)
                order = replace(order, skip=claim.offset)
            ticket.start(order)
            ticket.push(bytes(body))
            ticket.finish()
            del body
            watch = asyncio.create_task(_close_when_gone(receive, ticket))
            try:
                token = self._tokens.write(replace(asked, offset=order.skip))
                head = protocol.sound_headers(order, ticket.vocoder, events=events)
                head.append((b"x-resume-token", token.encode()))
                await self._answer(ticket, head, scope["state"]["request_id"], send, events=events)
            finally:
                watch.cancel()

    async def _answer(self, ticket: Ticket, head: Headers, request_id: str, send: Send, *, events: bool) -> None:
        try:
            chunk = await ticket.take()
        except NoRoom as error:
            raise Refusal(507, str(error), code="insufficient_storage") from None
        except SeqgenError as error:
            raise Refusal(422, str(error)) from None
        except Abandoned:
            raise
        except WorkerLost as error:
            raise Refusal(503, f"{error}; try again in a second", [(b"retry-after", b"1"), _CLOSE]) from None
        except Exception as error:
            log.exception("failed before the first sound", extra={"request": request_id})
            raise Refusal(500, f"the voice failed; see the server's log for request {request_id}") from error
        await self._send(send, {"type": "http.response.start", "status": 200, "headers": head})
        last = sse.done() if events else b""
        while chunk is not None:
            body = sse.delta(chunk) if events else chunk
            await self._send(send, {"type": "http.response.body", "body": body, "more_body": True})
            try:
                chunk = await ticket.take()
            except Abandoned:
                raise
            except Exception as error:
                log.error("failed in the middle of the sound: %s", error, extra={"request": request_id})
                if not events:
                    raise  # the server cuts the connection: a player must not take this for the end
                last, chunk = sse.event(_failure(error, request_id)), None
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send(self, send: Send, message: Message) -> None:
        try:
            async with asyncio.timeout(self._limits.stall):
                await send(message)
        except TimeoutError:
            raise ConnectionAbortedError(f"nothing was read for {self._limits.stall:g} s") from None
        except OSError:
            raise ClientGone from None


def _failure(error: Exception, request_id: str) -> dict[str, Any]:
    """What a listener is told of a failure in the middle of the sound."""
    if isinstance(error, WorkerLost):
        message = f"{error}; ask for the rest with the answer's X-Resume-Token"
        return protocol.error_fields(503, message, "worker_lost")
    return protocol.error_fields(500, f"the voice failed; see the server's log for request {request_id}")


async def find(shelf: Shelf, name: str | None) -> Voice:
    """The voice that a request names.

    Raises:
        Refusal: 404 where there is none.
    """
    try:
        return await shelf.find(name)
    except SeqgenError as error:
        raise Refusal(404, str(error), code="voice_not_found") from None


def admit(crew: Crew, voice: Voice) -> Ticket:
    """A slot.

    Raises:
        Refusal: 503 where the server has as many listeners as it can carry.
    """
    crew.learn(voice.vocoder, voice.capacity)
    ticket = crew.admit(voice.vocoder)
    if ticket is None:
        places = crew.places(voice.vocoder)
        why = f"all {places} streams are taken" if crew.busy >= places else "no more streams are taken now"
        raise Refusal(503, f"{why}; try again in a second", [(b"retry-after", b"1"), _CLOSE])
    return ticket


def _too_big(limits: Limits) -> Refusal:
    message = f"the request body is larger than {limits.body} bytes; send FLAC, or the recording in pieces"
    return Refusal(413, message, [_CLOSE])


async def _read_body(receive: Receive, limits: Limits) -> tuple[bytearray, str]:
    """The body and its hash, which is taken while it comes: all at once it would hold up the event loop."""
    body, digest = bytearray(), hashlib.sha256()
    try:
        async with asyncio.timeout(limits.upload):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                body += message.get("body", b"")
                digest.update(message.get("body", b""))
                if len(body) > limits.body:
                    raise _too_big(limits)
                if not message.get("more_body", False):
                    return body, digest.hexdigest()
    except TimeoutError:
        raise Refusal(408, f"the request body took longer than {limits.upload:g} s; send it again", [_CLOSE]) from None


async def _close_when_gone(receive: Receive, ticket: Ticket) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    ticket.close()


async def refuse(refusal: Refusal, receive: Receive, send: Send) -> None:
    """Answer with the refusal; where the connection is to close, read what still comes for a moment."""
    body = protocol.error_body(refusal.status, refusal.message, refusal.code)
    usual = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refusal.status, "headers": usual + refusal.headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if _CLOSE in refusal.headers:
        # Closing on unread bytes resets the connection, and the sender may never see why.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                    pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
