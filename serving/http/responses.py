"""HTTP responses that refuse a request, and what leads to them: no such voice, no free slot."""

from __future__ import annotations

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seqgen.errors import SeqgenError
from serving.http.keys import Caller
from serving.http.protocol import HttpError, error_body
from serving.streams.contract import StreamRequest
from serving.streams.vocoder import require_vocoder
from serving.voices.cache import VoiceCache, VoiceQuarantined, VoiceRequired
from serving.voices.voice import LoadedVoice
from serving.workers.pool import Abandoned, SlotLease, WorkerPool

log = logging.getLogger("seqgen.serving")

CLOSE = (b"connection", b"close")
_LATER = [(b"retry-after", b"1"), CLOSE]
TRY_AGAIN_LATER = 1013
"""Close code of a WebSocket, of the registry that RFC 6455 founds."""


class ClientDisconnected(Exception):
    """Error for a client that hung up, or reads no more."""


async def serve_or_refuse(serve: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request: a failure before its status is an HTTP error, a client that went away is none."""
    try:
        await serve(scope, receive, send)
    except HttpError as error:
        await send_error(error, send)
    except (Abandoned, ClientDisconnected):
        log.debug("the client went away", extra={"request": scope["state"]["request_id"]})


async def find_voice(cache: VoiceCache, name: str | None, *, named_later: bool = False) -> LoadedVoice:
    """Voice that a request names, loaded where it is not open.

    ``named_later``: where it names none and has to, any other will do, as it may still do so.

    Raises:
        HttpError: 404 where there is none, 400 for a model that makes no sound, 503 where it does not open, 422 where
            one has to be named.
    """
    try:
        voice = await (cache.find_any(name) if named_later else cache.find(name))
    except VoiceRequired as error:
        raise HttpError(422, str(error), code="voice_required") from None
    except VoiceQuarantined as error:
        raise HttpError(503, str(error), [CLOSE], code="voice_unavailable") from None
    except SeqgenError as error:
        raise HttpError(404, str(error), code="voice_not_found") from None
    try:
        require_vocoder(voice.model)
    except SeqgenError as error:
        raise HttpError(400, str(error), code="model_is_no_voice") from None
    return voice


def reserve_slot(
    pool: WorkerPool, voice: LoadedVoice, caller: Caller | None = None, request: StreamRequest | None = None
) -> SlotLease:
    """Lease of a slot for one more listener of a voice, on the account of a caller; ``request``: where it is known.

    Raises:
        HttpError: 429 where the caller holds as many as the key allows, 503 where the server has as many listeners as
            it can carry.
    """
    if caller is not None:
        caller.require_room(pool.held_by(caller.name))
    pool.set_capacity(voice.model, voice.capacity)
    lease = pool.admit(voice.model, caller.name if caller else "", request)
    if lease is None:
        places = pool.max_listeners(voice.model)
        why = f"all {places} streams are taken" if pool.busy >= places else "no more streams are taken now"
        raise HttpError(503, f"{why}; try again in a second", _LATER)
    return lease


def require_free_slot(pool: WorkerPool, caller: Caller | None) -> None:
    """Refuse a request that could have no slot, before its body is read, which names what it wants one for.

    Raises:
        HttpError: as :func:`reserve_slot`.
    """
    if caller is not None:
        caller.require_room(pool.held_by(caller.name))
    if pool.full and not pool.make_room():
        raise HttpError(503, f"all {pool.slots} streams are taken; try again in a second", _LATER)


async def send_in_time(send: Send, message: Message, seconds: float) -> None:
    """Send a message of an answer to a client that reads.

    Raises:
        ConnectionAbortedError: where nothing was read for so long. ClientDisconnected: where the client is gone.
    """
    try:
        async with asyncio.timeout(seconds):
            await send(message)
    except TimeoutError:
        raise ConnectionAbortedError(f"nothing was read for {seconds:g} s") from None
    except OSError:
        raise ClientDisconnected from None


async def close_when_gone(receive: Receive, lease: SlotLease) -> None:
    """Wait until the client hangs up, and close its lease then."""
    while (await receive())["type"] != "http.disconnect":
        pass
    lease.close()


async def send_error(error: HttpError, send: Send) -> None:
    """Answer with an HTTP error."""
    body = error_body(error.status, error.message, error.code, error.param)
    usual = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": usual + error.headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def reject(error: HttpError, scope: Scope, send: Send) -> None:
    """Answer a request of either kind with an error; of a WebSocket, its wish to connect was heard."""
    if scope["type"] == "http":
        return await send_error(error, send)
    await deny_upgrade(error, scope, send)


async def deny_upgrade(error: HttpError, scope: Scope, send: Send) -> None:
    """Refuse a WebSocket upgrade: as an HTTP answer where the server can, else by a close."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": error.message[:120]})
        return
    body = error_body(error.status, error.message, error.code)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *error.headers]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
