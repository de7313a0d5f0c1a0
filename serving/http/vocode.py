"""``POST /v1/vocode``: a recording or features in, sound out while it is made."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.types import Receive, Scope, Send

from seqgen.errors import SeqgenError
from serving.http import protocol
from serving.http.protocol import Headers, HttpError, RequestLimits
from serving.http.responses import (
    CLOSE,
    ClientDisconnected,
    close_when_gone,
    find_voice,
    reserve_slot,
    send_in_time,
    serve_or_refuse,
)
from serving.http.resume import ResumeClaim, ResumeTokens, read_resumption, require_same
from serving.sound import sse
from serving.sound.body import BodyPieces, NoRoom
from serving.streams.vocoder import require_vocoder
from serving.voices.cache import VoiceCache
from serving.workers.pool import Abandoned, SlotLease, WorkerPool
from serving.workers.worker import WorkerLost

log = logging.getLogger("seqgen.serving")
_HASTE = 5.0  # seconds after which a body that comes slowly gives way to other requests
_SLOWEST = 1 << 15  # bytes a second: 16-bit samples at 16 kHz as they are spoken


class _Upload:
    """Upload of a body, which holds a slot and memory while it comes; where it comes slowly, others may have them."""

    def __init__(self, lease: SlotLease) -> None:
        self.size, self.gone = 0, False  # whether it has given way
        self.patience: asyncio.Timeout | None = None
        self._lease, self._begun = lease, time.monotonic()
        lease.give_way = self._give_way

    def end(self) -> None:
        """The body is complete, or nobody waits for it."""
        self._lease.give_way = lambda: False

    def _give_way(self) -> bool:
        seconds = time.monotonic() - self._begun
        if self.gone or seconds < _HASTE or self.size >= seconds * _SLOWEST:
            return False
        self.gone = True
        self._lease.close()
        if self.patience is not None:
            self.patience.reschedule(0)  # whoever waits for more of it is told now
        return True


class VocodeEndpoint:
    """Endpoint ``POST /v1/vocode``.

    A slot and the memory that the body will take are reserved before it is read, and the status waits for the first
    chunk of sound, so every failure up to there is an HTTP error. A failure after that ends the chunked body without
    its end mark; or, for a client that accepts events, is the last of them. A body that comes slowly gives way where
    another request finds no slot or no memory.
    """

    def __init__(self, cache: VoiceCache, pool: WorkerPool, limits: RequestLimits, tokens: ResumeTokens) -> None:
        self._cache, self._pool, self.limits, self._tokens = cache, pool, limits, tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await serve_or_refuse(self._serve, scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").decode("latin-1")
        events = sse.accepts_events(headers.get(b"accept", b""))
        values, claim = read_resumption(protocol.read_query(scope["query_string"]), self._tokens)
        voice = await find_voice(self._cache, values.get("voice"))
        vocoder = require_vocoder(voice.model)
        limits = self.limits
        request = protocol.read_request(
            values, vocoder, content_type=kind, longest=limits.sound, watermark=limits.watermark
        )
        declared = protocol.declared_length(headers)
        if declared > self.limits.body:
            raise _too_big(self.limits)
        lease = reserve_slot(self._pool, voice, scope["state"].get("caller"), request)
        with lease:
            self._reserve(lease, declared)
            body, digest = await self._read_body(receive, lease, declared)
            asked = ResumeClaim.of(values.get("voice"), vocoder, request, digest)
            if claim is not None:
                require_same(claim, asked)
                request = replace(request, skip=claim.offset)
            lease.start(request)
            for piece in body:
                lease.push(piece)
            lease.finish()
            watch = asyncio.create_task(close_when_gone(receive, lease))
            try:
                token = self._tokens.write(replace(asked, offset=request.skip))
                head = protocol.sound_headers(request, vocoder, events=events)
                head.append((b"x-resume-token", token.encode()))
                await self._answer(lease, head, scope["state"]["request_id"], send, events=events)
            finally:
                watch.cancel()

    async def _read_body(self, receive: Receive, lease: SlotLease, reserved: int) -> tuple[BodyPieces, str]:
        """Body of a request in pieces, and its hash, which is taken while it comes: all at once it would hold up the
        event loop. Memory beyond what was reserved is reserved as it comes."""
        limits, pieces, upload, digest = self.limits, BodyPieces(), _Upload(lease), hashlib.sha256()
        try:
            async with asyncio.timeout(limits.upload) as upload.patience:
                while True:
                    message = await receive()
                    if upload.gone:
                        raise TimeoutError
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnected
                    data = message.get("body", b"")
                    upload.size += len(data)
                    if upload.size > limits.body:
                        raise _too_big(limits)
                    if upload.size > reserved:
                        self._reserve(lease, upload.size - reserved)
                        reserved = upload.size
                    digest.update(data)
                    pieces.add(data)
                    if not message.get("more_body", False):
                        return pieces, digest.hexdigest()
        except TimeoutError:
            how = "came too slowly while others waited" if upload.gone else f"took longer than {limits.upload:g} s"
            raise HttpError(408, f"the request body {how}; send it again", [CLOSE]) from None
        finally:
            upload.end()

    def _reserve(self, lease: SlotLease, size: int) -> None:
        """Reserve memory for a body, or more of it.

        Raises:
            HttpError: 503 where other requests hold too much.
        """
        while not lease.memory.try_grow(size):
            if lease.closed or not self._pool.make_room():
                message = "the requests under way hold all the memory that the server gives them; try again in a second"
                raise HttpError(503, message, [(b"retry-after", b"1"), CLOSE])

    async def _answer(
        self,
        lease: SlotLease,
        head: Headers,
        request_id: str,
        send: Send,
        *,
        events: bool,
        event: Callable[[bytes], bytes] = sse.sound_event,
    ) -> None:
        """Answer with the sound; ``event``: makes an event of a chunk, or several."""
        try:
            chunk = await lease.take()
        except NoRoom as error:
            raise HttpError(507, str(error), code="insufficient_storage") from None
        except SeqgenError as error:
            raise HttpError(422, str(error)) from None
        except Abandoned:
            raise
        except WorkerLost as error:
            raise HttpError(503, f"{error}; try again in a second", [(b"retry-after", b"1"), CLOSE]) from None
        except Exception as error:
            log.exception("failed before the first sound", extra={"request": request_id})
            raise HttpError(500, f"the voice failed; see the server's log for request {request_id}") from error
        await send_in_time(send, {"type": "http.response.start", "status": 200, "headers": head}, self.limits.stall)
        last = sse.done_event() if events else b""
        while chunk is not None:
            body = event(chunk) if events else chunk
            if body:
                message = {"type": "http.response.body", "body": body, "more_body": True}
                await send_in_time(send, message, self.limits.stall)
            try:
                chunk = await lease.take()
            except Abandoned:
                raise
            except Exception as error:
                log.error("failed in the middle of the sound: %s", error, extra={"request": request_id})
                if not events:
                    raise  # the server cuts the connection: a player must not take this for the end
                last, chunk = sse.json_event(_failure(error, request_id)), None
        await send({"type": "http.response.body", "body": last, "more_body": False})


def _failure(error: Exception, request_id: str) -> dict[str, Any]:
    """Fields of the event that tells a listener of a failure in the middle of the sound."""
    if isinstance(error, WorkerLost):
        message = f"{error}; ask for the rest with the answer's X-Resume-Token"
        return protocol.error_fields(503, message, "worker_lost")
    return protocol.error_fields(500, f"the voice failed; see the server's log for request {request_id}")


def _too_big(limits: RequestLimits) -> HttpError:
    message = f"the request body is larger than {limits.body} bytes; send FLAC, or the recording in pieces"
    return HttpError(413, message, [CLOSE])
