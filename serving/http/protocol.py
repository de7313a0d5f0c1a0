"""HTTP interface without any I/O: reading of requests, headers of answers, bodies of errors."""

from __future__ import annotations

import difflib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from seqgen.errors import SeqgenError
from serving.sound import sse
from serving.sound.formats import FORMATS, content_type, output_rate
from serving.streams.sound import InputFormat, SoundRequest
from serving.streams.vocoder import StreamingVocoder, VoiceSettings, bears_watermark, provenance

Headers = list[tuple[bytes, bytes]]
QUERY = ("voice", "seed", "temperature", "speaker", "format", "rate", "resume", "offset")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KINDS = {400: "invalid_request_error", 404: "not_found_error", 405: "invalid_request_error",
          503: "overloaded_error"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits of one request: bytes of body, seconds of sound, seconds to send the body, seconds without reading,
    seconds that a WebSocket may say nothing while nothing is being made for it, seconds until it opens its first
    context, for which a slot is kept, seconds of one of its utterances, bytes of input that may wait in one; bytes of
    prompts, and symbols that are drawn for each; and which of ``serving.streams.vocoder.WATERMARKED`` is not given out
    without a mark in its samples."""

    body: int = 32 << 20
    sound: float = 600.0
    upload: float = 60.0
    stall: float = 60.0
    idle: float = 60.0
    greeting: float = 10.0
    utterance: float = 4 * 3600.0
    waiting: int = 192 << 20
    prompt: int = 1 << 16
    tokens: int = 4096
    watermark: str = "speech"


class HttpError(Exception):
    """HTTP error as the answer to a request: status, one clear line, headers beyond the usual ones."""

    def __init__(
        self,
        status: int,
        message: str,
        headers: Headers | None = None,
        *,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers, self.code, self.param = status, message, headers or [], code, param


def error_fields(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """``{"error": {"message", "type", "param", "code"}}``, in the words of the OpenAI interface."""
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": one_line(message), "type": kind, "param": param, "code": code}}


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> bytes:
    """As :func:`error_fields`, in JSON."""
    return json.dumps(error_fields(status, message, code, param)).encode()


def one_line(text: str) -> str:
    """Message that may quote what a client sent, without anything that could break or turn a line."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def read_query(query: bytes, known: tuple[str, ...] = QUERY) -> dict[str, str]:
    """Parameters of a query, each given once and known.

    Raises:
        HttpError: 400 for a query that cannot be read, 422 for an unknown or repeated parameter.
    """
    values: dict[str, str] = {}
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=16, errors="strict")
    except ValueError:
        raise HttpError(400, "the query is not readable; percent-encode it as UTF-8") from None
    for key, value in pairs:
        if key not in known:
            raise HttpError(422, f"unknown parameter '{key[:40]}'; {nearest(key, known)}")
        if key in values:
            raise HttpError(422, f"parameter '{key}' is given twice; give it once")
        values[key] = value
    return values


def nearest(word: str, known: Iterable[str]) -> str:
    """Hint for a word that is not known."""
    names = list(known)
    near = difflib.get_close_matches(word, names, 1)
    return f"did you mean '{near[0]}'?" if near else f"known are {', '.join(names)}"


def read_request(
    values: Mapping[str, str],
    vocoder: StreamingVocoder,
    *,
    content_type: str = "",
    longest: float = 600.0,
    watermark: str = "speech",
) -> SoundRequest:
    """Stream request of ``POST /v1/vocode``, from its query.

    Raises:
        HttpError: 422 for a value that the voice cannot follow.
    """
    form = values.get("format", "wav")
    try:
        require_format(form)
        settings = VoiceSettings(
            seed=_whole("seed", values.get("seed", "0")),
            temperature=_real("temperature", values.get("temperature", "1")),
            speaker=values.get("speaker"),
        )
        vocoder.check(settings)
        wanted = _whole("rate", values["rate"]) if "rate" in values else None
        rate = output_rate(form, vocoder.sample_rate, wanted)
    except SeqgenError as error:
        raise HttpError(422, str(error)) from None
    given = InputFormat("file", content_type=content_type)
    marked = bears_watermark(vocoder, watermark)
    return SoundRequest(settings, form, given, longest, eager=True, rate=rate, watermark=marked)


def require_format(form: str) -> None:
    """Refuse a format that is not offered.

    Raises:
        SeqgenError: naming those that are.
    """
    if form not in FORMATS:
        raise SeqgenError(f"format '{form[:40]}' is not offered", remedy=f"choose one of: {', '.join(FORMATS)}")


def _whole(key: str, text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,20}", text):
        raise SeqgenError(f"{key} '{text[:40]}' is not a whole number", remedy="give digits only")
    return int(text)


def _real(key: str, text: str) -> float:
    if not re.fullmatch(r"[-+0-9.eE]{1,40}", text):
        raise SeqgenError(f"{key} '{text[:40]}' is not a number", remedy="write it as 0.8")
    try:
        return float(text)
    except ValueError:
        raise SeqgenError(f"{key} '{text}' is not a number", remedy="write it as 0.8") from None


def sound_headers(request: SoundRequest, vocoder: StreamingVocoder, *, events: bool = False) -> Headers:
    """Headers of a sound: its type, and the mark that says a machine made it (EU AI Act, article 50(2))."""
    mark = provenance(vocoder, request.settings, watermark=request.watermark)
    kind = sse.MEDIA_TYPE if events else content_type(request.form, request.rate or vocoder.sample_rate)
    return [
        (b"content-type", kind.encode()),
        (b"cache-control", b"no-store"),
        (b"x-synthetic", mark.encode()),
    ]


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """The caller's ``X-Request-Id`` where it is harmless, else a fresh one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def declared_length(headers: Mapping[bytes, bytes]) -> int:
    """``Content-Length``, or 0 where the request does not say."""
    given = headers.get(b"content-length", b"0")
    return int(given) if given.isdigit() else 0
