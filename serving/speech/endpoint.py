"""``POST /v1/audio/speech``: a text in, sound out while it is made, by OpenAI's interface."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.types import Receive, Scope, Send

from seqgen.errors import SeqgenError
from serving.http import protocol
from serving.http.protocol import HttpError
from serving.http.responses import ClientDisconnected, close_when_gone, find_voice, reserve_slot
from serving.http.vocode import VocodeEndpoint
from serving.sound.formats import FORMATS, output_rate
from serving.speech.naming import require_reader
from serving.streams.sound import InputFormat, SoundRequest
from serving.streams.vocoder import VoiceSettings, require_vocoder

_LARGEST = 1 << 16
_TEXT, _NUMBER = (str,), (int, float)
_FIELDS: dict[str, tuple[type, ...]] = {
    "model": _TEXT, "input": _TEXT, "voice": _TEXT, "instructions": _TEXT, "response_format": _TEXT,
    "speed": _NUMBER, "stream_format": _TEXT,
}  # fmt: skip
_STREAM_FORMATS = ("audio", "sse")
_SLOWEST, _FASTEST = 0.25, 4.0


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
        request = _request(fields, vocoder.sample_rate)
        with reserve_slot(self._pool, voice, scope["state"].get("caller"), request) as lease:
            lease.start(request)
            lease.push(fields["input"].encode())
            lease.finish()
            watch = asyncio.create_task(close_when_gone(receive, lease))
            try:
                head = protocol.sound_headers(request, vocoder, events=events)
                await self._answer(lease, head, scope["state"]["request_id"], send, events=events)
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
            kind = "string" if _FIELDS[key] is _TEXT else "number"
            told = f"Invalid type for '{key}': expected a {kind}."
            raise HttpError(400, told, code="invalid_type", param=key)
    for key in ("model", "input", "voice"):
        if key not in fields:
            told = f"Missing required parameter: '{key}'."
            raise HttpError(400, told, code="missing_required_parameter", param=key)
    if fields.get("stream_format", "audio") not in _STREAM_FORMATS:
        raise _invalid("stream_format", "choose 'audio' or 'sse'")
    return fields


def _request(fields: dict[str, Any], own: int) -> SoundRequest:
    """Stream request of fields that are well formed, of a voice of so many Hz."""
    form, speed = fields.get("response_format", "wav"), float(fields.get("speed", 1.0))
    if form not in FORMATS:
        raise _invalid("response_format", f"choose one of {', '.join(FORMATS)}")
    if not _SLOWEST <= speed <= _FASTEST:
        raise _invalid("speed", f"give {_SLOWEST} to {_FASTEST}")
    try:
        rate = output_rate(form, own)
        fields["input"].encode()
    except SeqgenError as error:
        raise HttpError(422, str(error)) from None
    except UnicodeEncodeError:
        raise _invalid("input", "send whole characters") from None
    return SoundRequest(VoiceSettings(), form, InputFormat("text", speed=speed), eager=True, rate=rate)


def _invalid(key: str, remedy: str) -> HttpError:
    return HttpError(400, f"Invalid value for '{key}': {remedy}.", code="invalid_value", param=key)
