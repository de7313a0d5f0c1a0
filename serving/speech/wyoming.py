"""Conversations by the Wyoming protocol, as Home Assistant speaks it: texts in, whole or as they grow, sound out."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from seqgen.errors import SeqgenError
from seqgen.text.pronounced.markup import is_markup
from seqgen.text.spoken.splitter import Sentences
from serving.http.protocol import HttpError, RequestLimits, one_line
from serving.http.responses import find_voice, reserve_slot
from serving.logs import logfmt
from serving.speech.naming import named_reader, readers, usual_reader
from serving.speech.wyoming_protocol import LARGEST, Event, EventReader, WyomingError, written
from serving.streams.sound import InputFormat, SoundRequest
from serving.streams.vocoder import VoiceSettings, bears_watermark, require_vocoder
from serving.voices.cache import VoiceCache
from serving.workers.pool import Abandoned, SlotLease, WorkerPool
from serving.workers.worker import WorkerLost

log = logging.getLogger("seqgen.serving")
access = logging.getLogger("seqgen.access")
ROUTE = "wyoming"
_PIECE = 1 << 14  # bytes read at once
_LINGER = 2.0  # seconds to swallow what still comes behind an error: closing on it would lose the error
_FORMATS = (None, "text", "ssml")


class Inbox:
    """Inbox of one client's events, which are read while others are answered; what waits is bounded.

    Args:
        reader: of the connection. pong: answers a ping, which waits for nothing else.
        patience: seconds that an event may take from its first byte to its last.
    """

    def __init__(self, reader: asyncio.StreamReader, pong: Callable[[Event], Awaitable[None]], patience: float) -> None:
        self._reader, self._pong, self._patience = reader, pong, patience
        self._protocol = EventReader()
        self._events: deque[Event] = deque()
        self._held, self._until = 0, float("inf")  # bytes that wait; when the event that has begun must have ended
        self._failure: Exception | None = None
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Nothing waits, and no event has begun."""
        return not self._events and not self._protocol.amid

    async def read(self) -> None:
        """Read until the client sends no more, or something wrong."""
        try:
            while data := await self._piece():
                for event in self._protocol.feed(data):
                    self._until = float("inf")
                    if event.type == "ping":
                        await self._pong(event)
                        continue
                    self._events.append(event)
                    self._held += event.size
                self._changed.set()
                while self._held > LARGEST:
                    await self._change()
        except (WyomingError, OSError) as error:
            self._failure = error
        finally:
            self._ended = True
            self._changed.set()

    async def take(self, patience: float | None = None) -> Event | None:
        """Next event, or ``None`` where the client sends no more.

        Raises:
            WyomingError: for what was no event, or where none came for so many seconds. OSError: of the connection.
        """
        try:
            async with asyncio.timeout(patience):
                while not self._events and not self._ended:
                    await self._change()
        except TimeoutError:
            raise WyomingError("timeout", f"no event came for {patience:g} s") from None
        if self._events:
            event = self._events.popleft()
            self._held -= event.size
            self._changed.set()
            return event
        if self._failure is not None:
            raise self._failure
        return None

    async def _piece(self) -> bytes:
        loop = asyncio.get_running_loop()
        self._until = min(self._until, loop.time() + self._patience) if self._protocol.amid else float("inf")
        try:
            async with asyncio.timeout_at(self._until if self._protocol.amid else None):
                return await self._reader.read(_PIECE)
        except TimeoutError:
            raise WyomingError("timeout", f"an event took longer than {self._patience:g} s to come") from None

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Conversation:
    """Conversation with one client, whose events are answered in their order; an error is the last word of it.

    Args:
        cache, pool: of the server. limits: of one request. reader, writer: of the connection.
        count: told route and status of every request, for the metrics.

    Attributes:
        busy: whether a request is being answered.
    """

    def __init__(
        self,
        cache: VoiceCache,
        pool: WorkerPool,
        limits: RequestLimits,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        count: Callable[[str, int], None] = lambda *_: None,
    ) -> None:
        self._cache, self._pool, self._limits, self._count = cache, pool, limits, count
        self._reader, self._writer = reader, writer
        self._inbox = Inbox(reader, lambda ping: self._send("pong", ping.data), limits.greeting)
        self._sent, self._first = 0, 0.0  # bytes of sound of a request, and when the first of them went
        self.busy = False

    @property
    def idle(self) -> bool:
        """Nothing is asked, and nothing answered."""
        return not self.busy and self._inbox.idle

    async def run(self) -> None:
        """Answer until the client is gone, or has been told of an error."""
        reading = asyncio.create_task(self._inbox.read())
        try:
            while (event := await self._inbox.take()) is not None:
                await self._answer(event)
        except WyomingError as error:
            reading.cancel()
            await asyncio.wait([reading])
            await self.part(error)
        except OSError:
            log.debug("the client went away")
            self._writer.transport.abort()
        finally:
            reading.cancel()

    async def part(self, error: WyomingError) -> None:
        """Tell the client of an error, and wait for a moment until it has read it."""
        with contextlib.suppress(OSError):  # a TimeoutError is one
            await self._send("error", {"text": one_line(str(error)), "code": error.code})
            self._writer.write_eof()
            async with asyncio.timeout(_LINGER):
                while await self._reader.read(_PIECE):
                    pass

    async def _answer(self, event: Event) -> None:
        if event.type == "describe":
            await self._send("info", information(self._cache))
        elif event.type == "synthesize":
            await self._request(event, _once(read_text(event)))
        elif event.type == "synthesize-start":
            await self._request(event, self._growing())
            await self._send("synthesize-stopped")
        elif event.type in ("synthesize-chunk", "synthesize-stop"):
            raise WyomingError("out_of_place", f"'{event.type}' comes before 'synthesize-start'")

    async def _request(self, event: Event, texts: AsyncGenerator[str, None]) -> None:
        """Speak texts, and tell of it in the log."""
        began, self._sent, self._first, self.busy, status = time.monotonic(), 0, 0.0, True, 200
        try:
            async with contextlib.aclosing(texts):
                await self._speak(event, texts)
        except asyncio.CancelledError:
            status = 503
            stopping = _told(Abandoned())[1]
            self._writer.write(written("error", {"text": str(stopping), "code": stopping.code}))
            raise
        except OSError:
            status = 499  # the client left, or reads no more
            raise
        except Exception as error:
            status, told = _told(error)
            raise told from None
        finally:
            self.busy = False
            self._record(status, began)

    async def _speak(self, event: Event, texts: AsyncGenerator[str, None]) -> None:
        name, speaker = choose(self._cache, event)
        voice = await find_voice(self._cache, name)
        vocoder = require_vocoder(voice.model)
        settings, rate = VoiceSettings(speaker=speaker), vocoder.sample_rate
        marked = bears_watermark(vocoder, self._limits.watermark)
        request = SoundRequest(settings, "pcm", InputFormat("text"), eager=True, rate=rate, watermark=marked)
        about = {"rate": rate, "width": 2, "channels": 1}
        with contextlib.ExitStack() as held:
            lease: SlotLease | None = None
            number = 0
            async for text in texts:
                lease = lease or held.enter_context(reserve_slot(self._pool, voice, None, request))
                lease.start(replace(request, settings=replace(settings, stream=number)))
                lease.push(text.encode())
                lease.finish()
                number += 1
                while (chunk := await lease.take()) is not None:
                    if not self._sent:
                        self._first = time.monotonic()
                        await self._send("audio-start", about)
                    self._sent += len(chunk)
                    await self._send("audio-chunk", about, chunk)
            if self._sent:
                await self._send("audio-stop")

    async def _growing(self) -> AsyncGenerator[str, None]:
        """Sentences of a text that comes bit by bit, each as soon as it has ended; a document as a whole."""
        sentences, begun, size, document = Sentences(), "", 0, False
        while (event := await self._inbox.take(self._limits.idle)) is not None and event.type != "synthesize-stop":
            if event.type == "describe":
                await self._send("info", information(self._cache))
            if event.type != "synthesize-chunk":
                continue  # `synthesize` is the whole text once more, for servers that take no pieces
            text = read_text(event)
            size += len(text.encode())
            if size > LARGEST:
                raise WyomingError("too_large", f"the text has more than {LARGEST} bytes; send less at once")
            begun += text
            document = document or is_markup(begun)
            if not document and (ended := sentences.feed(text)).strip():
                yield ended
                begun = " "  # what comes is no document's beginning any more
        rest = begun if document else sentences.flush()
        if rest.strip():
            yield rest

    async def _send(self, kind: str, data: Mapping[str, Any] | None = None, payload: bytes = b"") -> None:
        """Send an event to a client that reads.

        Raises:
            OSError: where it is gone, or has read nothing for long.
        """
        self._writer.write(written(kind, data, payload))
        async with asyncio.timeout(self._limits.stall):
            await self._writer.drain()

    def _record(self, status: int, began: float) -> None:
        self._count(ROUTE, status)
        peer = self._writer.get_extra_info("peername") or ("-",)
        fields: dict[str, Any] = {
            "event": "request", "method": "WYOMING", "route": ROUTE, "status": status, "key": "-",
            "client": str(peer[0]), "bytes_out": self._sent, "seconds": round(time.monotonic() - began, 6),
        }  # fmt: skip
        if self._first:
            fields["first_audio_seconds"] = round(self._first - began, 6)
        level = logging.INFO if status < 500 else logging.WARNING
        access.log(level, "%s", logfmt(fields), extra={"fields": fields})


def information(cache: VoiceCache) -> dict[str, Any]:
    """Data of an ``info`` event: one program of speech with the voices that read, and their aliases."""
    known = {name: name for name in readers(cache)}
    known |= {alias: name for alias, name in cache.aliased().items() if name in known}
    voices = []
    for shown, name in known.items():
        row = cache.describe(name)
        licence = row["licence"] or "no licence named"
        told = {"name": shown, "description": f"{shown}, {row['sample_rate']} Hz, {licence}", "installed": True}
        languages = {"languages": [row["language"]], "version": None, "speakers": None}
        voices.append(told | languages | {"attribution": {"name": licence, "url": ""}})
    program = {
        "name": "seqgen", "description": "Neural voices, while they are made", "installed": True,
        "version": importlib.metadata.version("seqgen"), "attribution": {"name": "seqgen", "url": ""},
        "voices": voices, "supports_synthesize_streaming": True,
    }  # fmt: skip
    return {"tts": [program], "asr": [], "handle": [], "intent": [], "wake": [], "mic": [], "snd": []}


def choose(cache: VoiceCache, event: Event) -> tuple[str, str | None]:
    """Voice and speaker that an event asks for.

    Raises:
        WyomingError: where there is no such voice, or none is named and several would do.
    """
    voice = event.data.get("voice") or {}
    keys = ("name", "language", "speaker")
    if not isinstance(voice, dict) or not all(isinstance(voice.get(key, ""), str | None) for key in keys):
        raise WyomingError("invalid_event", "'voice' is no object of the texts 'name', 'language' and 'speaker'")
    name, language, speaker = (voice.get(key) for key in keys)
    known = ", ".join(readers(cache)) or "none"
    if name is not None:
        found = named_reader(cache, [name])
        if found is None:
            raise WyomingError("voice_not_found", f"there is no voice '{name[:60]}' that reads; voices here: {known}")
        return found, speaker
    found = usual_reader(cache)
    if found is None:
        raise WyomingError("voice_required", f"no voice is named, and none is the default; name one of: {known}")
    own = cache.describe(found)["language"]
    if language is not None and language.replace("_", "-").partition("-")[0].lower() != own.partition("-")[0]:
        raise WyomingError("language_not_spoken", f"no voice speaks '{language[:20]}'; '{found}' speaks '{own}'")
    return found, speaker


def read_text(event: Event) -> str:
    """Text of an event.

    Raises:
        WyomingError: where it is none.
    """
    text, form = event.data.get("text"), event.data.get("text_format")
    if not isinstance(text, str):
        raise WyomingError("invalid_event", f"'{event.type[:40]}' has no 'text' that is a text")
    if form not in _FORMATS:
        raise WyomingError("invalid_event", "'text_format' is neither 'text' nor 'ssml'")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise WyomingError("invalid_event", "'text' has half characters; send whole ones") from None
    return text


async def _once(text: str) -> AsyncGenerator[str, None]:
    yield text


def _told(error: Exception) -> tuple[int, WyomingError]:
    """Status and error of a request that failed."""
    if isinstance(error, WyomingError):
        return 400, error
    if isinstance(error, HttpError):
        code = error.code or ("overloaded" if error.status == 503 else "refused")
        return error.status, WyomingError(code, error.message)
    if isinstance(error, SeqgenError):
        return 422, WyomingError("invalid_text", str(error))
    if isinstance(error, Abandoned):
        return 503, WyomingError("stopping", "the server is being stopped")
    if isinstance(error, WorkerLost):
        return 503, WyomingError("worker_lost", f"{error}; try again in a second")
    log.error("a voice failed: %s", error, exc_info=error)
    return 500, WyomingError("failed", "the voice failed; see the server's log")
