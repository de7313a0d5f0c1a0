"""One context of a WebSocket connection: the one task that works off what came for it, utterance after utterance."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from seqgen.errors import SeqgenError
from serving.http.protocol import HttpError, RequestLimits
from serving.http.resume import ResumeClaim, ResumeTokens, require_same
from serving.streams.sound import Record, RecordDecoder, SoundRequest
from serving.streams.vocoder import StreamingVocoder, require_vocoder
from serving.websocket.init_message import claim_of, read_init, read_stream_resumption
from serving.websocket.inputs import End, InputQueue
from serving.websocket.outbox import Outbox
from serving.websocket.protocol import FIRST_CREDIT, Action, OpenStream, StreamProtocol
from serving.workers.pool import Abandoned, SlotLease
from serving.workers.worker import WorkerLost

log = logging.getLogger("seqgen.serving")
MAX_AHEAD = 5.0
"""Seconds of input, beside what its voice looks ahead, that a worker may hold before it has made sound of them; what
else came waits in the queue."""
CREDIT_SECONDS = 4.0
"""Seconds of input that a client with credit may send before its turn: more than any way there and back takes."""


class SilentClient(Exception):
    """Error of a context for which nothing came and nothing was made."""


@dataclass(frozen=True, slots=True)
class ContextHost:
    """Connection of a context, as the context sees it.

    Attributes:
        lease: finds a voice by its name and takes a slot. perform: carries out actions of the protocol, at once.
        voice: name that the connection was opened with. request_id: of its upgrade, for the log.
    """

    protocol: StreamProtocol
    outbox: Outbox
    limits: RequestLimits
    tokens: ResumeTokens
    lease: Callable[[str | None], Awaitable[SlotLease]]
    perform: Callable[[Sequence[Action]], None]
    voice: str | None
    request_id: str


class StreamContext:
    """Context of a connection, from its ``init`` to its end.

    Args:
        asked: how it was opened. host: its connection. inputs: what comes for it.
    """

    def __init__(self, asked: OpenStream, host: ContextHost, inputs: InputQueue) -> None:
        self.number, self.inputs = asked.context, inputs
        self._asked, self._host = asked, host
        self._told: int | None = FIRST_CREDIT if asked.credit else None  # bytes that may have been sent
        self._window, self._ahead = 0, MAX_AHEAD
        self._active = asyncio.get_running_loop().time()  # when something came or was made
        self._lease: SlotLease | None = None
        self._over = False
        self.task = asyncio.create_task(self._run())

    def drop(self) -> None:
        """Give the slot back and forget what came; nothing more is said of this context. May be repeated."""
        if not self._over:
            self._over = True
            self.task.cancel()
        if self._lease is not None:
            self._lease.close()
        self._host.outbox.forget(self)
        self.inputs.clear()

    async def _run(self) -> None:
        failure = None
        try:
            await self._serve()
        except Exception as error:  # whatever goes wrong is this context's answer, and must not end its neighbours
            failure = error
        if not self._over:
            self._over = True
            self._host.perform(self._last_words(failure))

    def _last_words(self, failure: Exception | None) -> Sequence[Action]:
        """Words about the context's end."""
        protocol, number, of_request = self._host.protocol, self.number, {"request": self._host.request_id}
        match failure:
            case None:
                return protocol.closed(number)
            case Abandoned():  # the server is stopping, which the connection is told
                return []
            case HttpError():
                code = "overloaded" if failure.status == 503 else failure.code or "invalid_init"
                return protocol.failed(number, code, failure.message)
            case SeqgenError():
                return protocol.failed(number, "invalid_input" if self._lease else "invalid_init", str(failure))
            case SilentClient():
                return protocol.silent(self._host.limits.idle, number)
            case WorkerLost():
                log.error("a stream was cut: %s", failure, extra=of_request)
                return protocol.lost(number, f"{failure}; connect again")
            case _:
                log.error("a stream failed", exc_info=failure, extra=of_request)
                told = f"the voice failed; see the server's log for request {self._host.request_id}"
                return protocol.failed(number, "internal_error", told)

    async def _serve(self) -> None:
        """Open the stream, and make sound of all that comes until the context is closed."""
        host, fields, claim = self._host, self._asked.fields, None
        if "resume" in fields:
            claim, fields = read_stream_resumption(fields, host.tokens)
        voice = fields.get("voice", host.voice)
        with await host.lease(voice) as lease:
            vocoder = require_vocoder(lease.model)
            request = self._request(fields, vocoder, claim)
            asked = claim_of(voice, vocoder, request)
            if claim is not None:
                require_same(claim, asked)
                request = replace(request, skip=self._asked.fields.get("offset", 0))
            if not lease.charge(request, ahead=MAX_AHEAD):
                raise HttpError(503, "the server cannot carry such a stream now; try again in a second")
            self._open_window(vocoder, request)
            self._lease = lease
            token = host.tokens.write(asked)
            host.perform(host.protocol.opened(self.number, vocoder, request, resume=token, credit=self._told))
            await self._utterances(lease, request, self._asked.fields.get("utterance", 0))

    def _request(self, fields: Mapping[str, Any], vocoder: StreamingVocoder, claim: ResumeClaim | None) -> SoundRequest:
        if claim is not None:  # a voice that has changed is told by what it was, not by its features
            fields = {**fields, "signature": vocoder.features.signature}
        limits = self._host.limits
        request = read_init(fields, vocoder, longest=limits.utterance, watermark=limits.watermark)
        request.check(vocoder)
        return request

    async def _utterances(self, lease: SlotLease, request: SoundRequest, number: int) -> None:
        host, end = self._host, End.FLUSH
        while end is not End.CLOSE:
            item = await self._take()
            if isinstance(item, End):
                end, facts = item, {}
                if end is End.CLOSE:
                    return
            else:
                request = replace(request, settings=replace(request.settings, stream=number))
                lease.start(_with_words(request))
                end = await self._utterance(lease, request, item)
                facts = {"underruns": lease.underruns}
                request = replace(request, skip=0)  # that was of the first utterance only
            host.perform(host.protocol.ended(self.number, number, **facts))
            number += bool(facts)
            await host.outbox.room()

    async def _utterance(self, lease: SlotLease, request: SoundRequest, first: bytes) -> End:
        """Feed one utterance to its worker and send its sound; tells what ended its input."""
        try:
            async with asyncio.TaskGroup() as both:
                feeding = both.create_task(self._feed(lease, first))
                both.create_task(self._play(lease, request))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return feeding.result()

    async def _feed(self, lease: SlotLease, item: bytes | End) -> End:
        while not isinstance(item, End):
            lease.push(item)
            await lease.room(self._ahead)
            item = await self._take()
        lease.finish()
        return item

    async def _play(self, lease: SlotLease, request: SoundRequest) -> None:
        protocol, utterance = self._host.protocol, request.settings.stream
        rate = require_vocoder(lease.model).sample_rate
        decoder = RecordDecoder() if request.records else None
        size, word = request.skip, None
        facts: dict[str, Any] = {} if decoder is None else {"seconds": 0.0, "word": None}
        protocol.sent(self.number, utterance, bytes=size, **facts)
        while (chunk := await lease.take()) is not None:
            for record in [Record(chunk)] if decoder is None else decoder.feed(chunk):
                if record.told is not None:
                    if record.told["type"] == "word":
                        word = record.told
                    if record.told["type"] in request.input.times.split():
                        self._host.perform(protocol.told(self.number, utterance, record.told))
                    continue
                size += len(record.sound)
                if decoder is not None:
                    facts = {"seconds": round(record.samples / rate, 6), "word": word}
                done = partial(protocol.sent, self.number, utterance, bytes=size, **facts)
                await self._host.outbox.sound(self, protocol.sound(self.number, record.sound), done)
            self._active = asyncio.get_running_loop().time()

    async def _take(self) -> bytes | End:
        """Next of what came, and credit for more.

        Raises:
            SilentClient: where nothing comes for too long while nothing is made.
        """
        loop, patience = asyncio.get_running_loop(), self._host.limits.idle
        while True:
            try:
                async with asyncio.timeout_at(self._active + patience):
                    item = await self.inputs.take()
                break
            except TimeoutError:
                if loop.time() >= self._active + patience:  # else there was sound meanwhile
                    raise SilentClient from None
        self._active = loop.time()
        granted = self.inputs.taken + self._window
        if self._told is not None and granted - self._told >= self._window // 4:
            self._told = granted
            self._host.perform(self._host.protocol.credit(self.number, granted))
        return item

    def _open_window(self, vocoder: StreamingVocoder, request: SoundRequest) -> None:
        """Settle how much input the worker may hold, and how much the client may send."""
        self._ahead = MAX_AHEAD + vocoder.alignment.latency / vocoder.sample_rate
        self._window = max(FIRST_CREDIT, request.waiting(vocoder, CREDIT_SECONDS))
        if self._told is not None:
            self._told = self._window


def _with_words(request: SoundRequest) -> SoundRequest:
    """Request that the worker is given: of a text it always tells the words, for whoever cancels is told the last."""
    if request.input.kind != "text":
        return request
    times = " ".join({*request.input.times.split(), "word"})
    return replace(request, input=replace(request.input, times=times))
