"""``POST /v1/audio/speech``: a text in, sound out while it is made, by OpenAI's interface."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.types import Receive, Scope, Send

from seqgen.errors import SeqgenError
from seqgen.runtime.speech import KINDS
from serving.http import protocol
from serving.http.protocol import HttpError
from serving.http.responses import ClientDisconnected, close_when_gone, find_voice, reserve_slot
from serving.http.vocode import VocodeEndpoint
from serving.sound import sse
from serving.sound.formats import FORMATS, output_rate
from serving.speech.naming import require_reader
from serving.streams.sound import FASTEST, SLOWEST, InputFormat, RecordDecoder, SoundRequest
from serving.streams.vocoder import VoiceSettings, bears_watermark, require_vocoder

_LARGEST = 1 << 16
_TEXT, _NUMBER, _LIST = (str,), (int, float), (list,)
_KIND_NAMES: dict[tuple[type, ...], str] = {_TEXT: "a string", _NUMBER: "a number", _LIST: "an array"}
_FIELDS: dict[str, tuple[type, ...]] = {
    "model": _TEXT, "input": _TEXT, "voice": _TEXT, "instructions": _TEXT, "response_format": _TEXT,
    "speed": _NUMBER, "stream_format": _TEXT, "timestamp_granularities": _LIST,
}  # fmt: skip
_STREAM_FORMATS = ("audio", "sse")


class SpeechEndpoint(VocodeEndpoint):
    """Endpoint ``POST /v1/audio/speech``.

    A voice is named by ``voice``, or else by ``model``, see :func:`serving.speech.naming.require_reader`. Sound comes
    sentence by sentence; the status waits for the first of it, so every failure up to there is an HTTP error.
    """

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = _read(await self._read_text(receive))
        voice = await find_voice(self._cache, require_reader(self._cache, fields["voice"], fields["model"]))
        vocoder = require_vocoder(voice.model)
        events = fields.get("stream_format") == "sse"
        request = _request(fields, vocoder.sample_rate, watermark=bears_watermark(vocoder, self.limits.watermark))
        with reserve_slot(self._pool, voice, scope["state"].get("caller"), request) as lease:
            lease.start(request)
            lease.push(fields["input"].encode())
            lease.finish()
            watch = asyncio.create_task(close_when_gone(receive, lease))
            try:
                head = protocol.sound_headers(request, vocoder, events=events)
                event = _EventMaker() if request.records else sse.sound_event
                await self._answer(lease, head, scope["state"]["request_id"], send, events=events, event=event)
            finally:
                watch.cancel()

    async def _read_text(self, receive: Receive) -> bytes:
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self.limits.upload):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnected
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > _LARGEST:
                        told = f"the request is larger than {_LARGEST} bytes; send less text at once"
                        raise HttpError(413, told)
        except TimeoutError:
            told = f"the request body took longer than {self.limits.upload:g} s; send it again"
            raise HttpError(408, told) from None
        return bytes(body)


def _read(body: bytes) -> dict[str, Any]:
    """Fields of a request.

    Raises:
        HttpError: for one that is malformed, in OpenAI's words.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise HttpError(400, "the request body is not JSON", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise HttpError(400, "the request body is not a JSON object", code="invalid_json")
    for key, value in fields.items():
        if key not in _FIELDS:
            told = f"Unrecognized request argument supplied: {key[:40]}"
            raise HttpError(400, told, code="unknown_parameter", param=key[:40])
        if not isinstance(value, _FIELDS[key]) or isinstance(value, bool):
            told = f"Invalid type for '{key}': expected {_KIND_NAMES[_FIELDS[key]]}."
            raise HttpError(400, told, code="invalid_type", param=key)
    for key in ("model", "input", "voice"):
        if key not in fields:
            told = f"Missing required parameter: '{key}'."
            raise HttpError(400, told, code="missing_required_parameter", param=key)
    if fields.get("stream_format", "audio") not in _STREAM_FORMATS:
        raise _invalid("stream_format", "choose 'audio' or 'sse'")
    granularities = fields.get("timestamp_granularities", [])
    if any(one not in KINDS for one in granularities):
        raise _invalid("timestamp_granularities", f"choose among {', '.join(KINDS)}")
    if granularities and fields.get("stream_format") != "sse":
        raise _invalid("timestamp_granularities", "times come as events; ask for 'stream_format': 'sse'")
    return fields


def _request(fields: dict[str, Any], own: int, *, watermark: bool) -> SoundRequest:
    """Stream request of fields that are well formed, of a voice of so many Hz."""
    form, speed = fields.get("response_format", "wav"), float(fields.get("speed", 1.0))
    if form not in FORMATS:
        raise _invalid("response_format", f"choose one of {', '.join(FORMATS)}")
    if not SLOWEST <= speed <= FASTEST:
        raise _invalid("speed", f"give {SLOWEST} to {FASTEST}")
    try:
        rate = output_rate(form, own)
        fields["input"].encode()
    except SeqgenError as error:
        raise HttpError(422, str(error)) from None
    except UnicodeEncodeError:
        raise _invalid("input", "send whole characters") from None
    times = " ".join(fields.get("timestamp_granularities", []))
    given = InputFormat("text", speed=speed, times=times)
    return SoundRequest(VoiceSettings(), form, given, eager=True, rate=rate, records=bool(times), watermark=watermark)


class _EventMaker:
    """Maker of events out of chunks of records: sound, and the times of what is said."""

    def __init__(self) -> None:
        self._decoder = RecordDecoder()

    def __call__(self, chunk: bytes) -> bytes:
        records = self._decoder.feed(chunk)
        return b"".join(
            sse.sound_event(one.sound) if one.told is None else sse.moment_event(one.told) for one in records
        )


def _invalid(key: str, remedy: str) -> HttpError:
    return HttpError(400, f"Invalid value for '{key}': {remedy}.", code="invalid_value", param=key)
