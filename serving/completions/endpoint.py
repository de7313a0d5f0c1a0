"""``POST /v1/completions``: a prompt in, text out while it is made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from seqgen.errors import SeqgenError
from serving.completions.answer import CompletionAnswer, Lines
from serving.completions.protocol import Completion, largest_body, read_completion
from serving.http.protocol import Headers, HttpError, RequestLimits, declared_length, error_fields
from serving.http.responses import (
    CLOSE,
    ClientDisconnected,
    close_when_gone,
    require_free_slot,
    reserve_slot,
    send_in_time,
    serve_or_refuse,
)
from serving.scheduling.memory import MemoryShare
from serving.sound import sse
from serving.streams.contract import ServedModel
from serving.streams.text import TextModel, require_text
from serving.voices.cache import VoiceCache, VoiceQuarantined
from serving.voices.voice import LoadedVoice
from serving.workers.pool import Abandoned, SlotLease, WorkerPool
from serving.workers.worker import WorkerLost

log = logging.getLogger("seqgen.serving")
_KEPT = 64, 256  # bytes that a symbol takes in a whole answer: itself, and each of its scores


class CompletionEndpoint:
    """Endpoint ``POST /v1/completions``.

    Where there is no slot, nothing of the body is read; it names the model, so the slot itself is taken behind it. The
    status waits for the first text, so every failure up to there is an HTTP error; one after that is the last event.

    Args:
        count: told the symbols of every prompt, for the metrics.
    """

    def __init__(
        self,
        cache: VoiceCache,
        pool: WorkerPool,
        limits: RequestLimits,
        count: Callable[[ServedModel, int], None] = lambda model, symbols: None,
    ) -> None:
        self._cache, self._pool, self.limits, self._count = cache, pool, limits, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await serve_or_refuse(self._serve, scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller, request_id = scope["state"].get("caller"), scope["state"]["request_id"]
        require_free_slot(self._pool, caller)
        with self._pool.memory.share() as share:
            body = await self._read_body(receive, share, declared_length(dict(scope["headers"])))
            asked = read_completion(body, self.limits)
            voice = await self._find(asked.model)
            model = _require_text(voice)
            asked = asked.of_translator() if model.source else asked
            with reserve_slot(self._pool, voice, caller, asked.request) as lease:
                if not asked.stream and not share.try_grow(_kept(asked)):
                    raise _no_memory()
                watch = asyncio.create_task(close_when_gone(receive, lease))
                try:
                    await self._answer(lease, asked, model, request_id, send)
                finally:
                    watch.cancel()

    async def _read_body(self, receive: Receive, share: MemoryShare, declared: int) -> bytes:
        """Body of a request, for which memory is reserved by its declared length, or as it comes."""
        most, body, more = largest_body(self.limits), bytearray(), True
        try:
            async with asyncio.timeout(self.limits.upload):
                while True:
                    size = max(declared, len(body))
                    if size > most:
                        raise HttpError(413, f"the request body is larger than {most} bytes; send less text", [CLOSE])
                    if not share.try_grow(max(0, size - share.size)):
                        raise _no_memory()
                    if not more:
                        return bytes(body)
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnected
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
        except TimeoutError:
            told = f"the request body took longer than {self.limits.upload:g} s; send it again"
            raise HttpError(408, told, [CLOSE]) from None

    async def _find(self, name: str) -> LoadedVoice:
        try:
            return await self._cache.find(name)
        except VoiceQuarantined as error:
            raise HttpError(503, str(error), [CLOSE], code="model_unavailable", param="model") from None
        except SeqgenError:
            known = ", ".join(self._cache.names()) or "none"
            message = f"the model '{name[:60]}' does not exist; models here: {known}"
            raise HttpError(404, message, code="model_not_found", param="model") from None

    async def _answer(self, lease: SlotLease, asked: Completion, model: TextModel, request_id: str, send: Send) -> None:
        answer = CompletionAnswer(asked.model, f"fp_{model.manifest.digest[:12]}", asked.usage)
        begun = False
        try:
            async for index, line in _lines(lease, asked):
                answer.count(line)
                if not asked.stream:
                    answer.add(index, line)
                    continue
                if not begun:
                    await self._begin(_headers(asked, model, sse.MEDIA_TYPE), send)
                    begun = True
                await self._send(answer.event(index, line), send)
        except (Abandoned, ClientDisconnected, ConnectionAbortedError):
            raise
        except Exception as error:
            told = _told(error, request_id)
            if not begun:
                raise told from error
            last = sse.json_event(error_fields(told.status, told.message, told.code))
            return await self._send(last, send, more=False)
        self._count(model, answer.read)
        if asked.stream:
            return await self._send(answer.end(), send, more=False)
        body = answer.whole()
        await self._begin([*_headers(asked, model, "application/json"), (b"content-length", b"%d" % len(body))], send)
        await self._send(body, send, more=False)

    async def _begin(self, headers: Headers, send: Send) -> None:
        await send_in_time(send, {"type": "http.response.start", "status": 200, "headers": headers}, self.limits.stall)

    async def _send(self, body: bytes, send: Send, *, more: bool = True) -> None:
        message = {"type": "http.response.body", "body": body, "more_body": more}
        await send_in_time(send, message, self.limits.stall)


async def _lines(lease: SlotLease, asked: Completion) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """Lines of the streams of all prompts, one stream after the other, each with the number of its prompt."""
    for index, prompt in enumerate(asked.prompts):
        lines = Lines()
        lease.start(asked.of(index))
        lease.push(prompt.encode())
        lease.finish()
        while (chunk := await lease.take()) is not None:
            for line in lines.feed(chunk):
                yield index, line


def _headers(asked: Completion, model: TextModel, kind: str) -> Headers:
    """Headers of a text: its type, and the mark that says a machine made it (EU AI Act, article 50(2))."""
    settings = asked.request.settings
    mark = f'seqgen; kind={model.manifest.kind}; model="{quote(model.name)}"; seed={settings.seed}'
    return [(b"content-type", kind.encode()), (b"cache-control", b"no-store"), (b"x-synthetic", mark.encode())]


def _require_text(voice: LoadedVoice) -> TextModel:
    try:
        return require_text(voice.model)
    except SeqgenError as error:
        raise HttpError(400, str(error), code="model_has_no_text", param="model") from None


def _kept(asked: Completion) -> int:
    """Bytes that a whole answer may take before it is sent."""
    symbol, score = _KEPT
    scores = 0 if asked.request.top is None else 1 + asked.request.top
    symbols = (asked.request.longest or 0) + (asked.request.prompt if asked.request.echo else 0)
    return len(asked.prompts) * symbols * (symbol + score * scores)


def _no_memory() -> HttpError:
    message = "the requests under way hold all the memory that the server gives them; try again in a second"
    return HttpError(503, message, [(b"retry-after", b"1"), CLOSE])


def _told(error: Exception, request_id: str) -> HttpError:
    """Error that a client is told of a failure."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, SeqgenError):
        return HttpError(400, str(error))
    if isinstance(error, WorkerLost):
        return HttpError(503, f"{error}; try again in a second", [(b"retry-after", b"1"), CLOSE], code="worker_lost")
    log.error("a completion failed: %s", error, extra={"request": request_id})
    return HttpError(500, f"the model failed; see the server's log for request {request_id}")
