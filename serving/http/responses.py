"""HTTP responses that refuse a request, and what leads to them: no such voice, no free slot."""

from __future__ import annotations

from starlette.types import Scope, Send

from seqgen.errors import SeqgenError
from serving.http.keys import Caller
from serving.http.protocol import HttpError, error_body
from serving.scheduling.request import StreamRequest
from serving.voices.cache import VoiceCache, VoiceQuarantined, VoiceRequired
from serving.voices.voice import LoadedVoice
from serving.workers.pool import SlotLease, WorkerPool

CLOSE = (b"connection", b"close")
TRY_AGAIN_LATER = 1013
"""Close code of a WebSocket, of the registry that RFC 6455 founds."""


class ClientDisconnected(Exception):
    """Error for a client that hung up, or reads no more."""


async def find_voice(cache: VoiceCache, name: str | None, *, named_later: bool = False) -> LoadedVoice:
    """Voice that a request names, loaded where it is not open.

    ``named_later``: where it names none and has to, any other will do, as it may still do so.

    Raises:
        HttpError: 404 where there is none, 503 where it does not open, 422 where one has to be named.
    """
    try:
        return await (cache.find_any(name) if named_later else cache.find(name))
    except VoiceRequired as error:
        raise HttpError(422, str(error), code="voice_required") from None
    except VoiceQuarantined as error:
        raise HttpError(503, str(error), [CLOSE], code="voice_unavailable") from None
    except SeqgenError as error:
        raise HttpError(404, str(error), code="voice_not_found") from None


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
    pool.set_capacity(voice.vocoder, voice.capacity)
    lease = pool.admit(voice.vocoder, caller.name if caller else "", request)
    if lease is None:
        places = pool.max_listeners(voice.vocoder)
        why = f"all {places} streams are taken" if pool.busy >= places else "no more streams are taken now"
        raise HttpError(503, f"{why}; try again in a second", [(b"retry-after", b"1"), CLOSE])
    return lease


async def send_error(error: HttpError, send: Send) -> None:
    """Answer with an HTTP error."""
    body = error_body(error.status, error.message, error.code)
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
