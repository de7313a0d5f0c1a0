"""What the HTTP interface says, without any I/O: requests read, answers and refusals put into words."""

from __future__ import annotations

import difflib
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

from seqgen.audio.io import pcm16, wav_header
from seqgen.errors import SeqgenError
from serving.source import from_body
from serving.vocoder import Settings, Vocoder

Headers = list[tuple[bytes, bytes]]
FORMATS = ("wav", "pcm")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KINDS = {400: "invalid_request_error", 404: "not_found_error", 405: "invalid_request_error",
          503: "overloaded_error"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost: bytes of body, seconds of sound, seconds to send the body, seconds without reading."""

    body: int = 32 << 20
    sound: float = 600.0
    upload: float = 60.0
    stall: float = 60.0


class Refusal(Exception):
    """An answer other than sound: HTTP status, one clear line, headers beyond the usual ones."""

    def __init__(self, status: int, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or []


@dataclass(frozen=True, slots=True)
class Order:
    """A vocoding request as its query states it."""

    settings: Settings
    form: str


def error_body(status: int, message: str) -> bytes:
    """``{"error": {"message", "type"}}`` as the OpenAI interface words it."""
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return json.dumps({"error": {"message": message, "type": kind}}).encode()


def read_order(query: bytes, vocoder: Vocoder) -> Order:
    """The query of ``POST /v1/vocode``: ``seed``, ``temperature``, ``speaker``, ``format``.

    Raises:
        Refusal: 422 for an unknown or repeated parameter, or a value that the voice cannot follow.
    """
    values: dict[str, str] = {}
    known = ("seed", "temperature", "speaker", "format")
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=16, errors="strict")
    except ValueError:
        raise Refusal(400, "the query is not readable; percent-encode it as UTF-8") from None
    for key, value in pairs:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
            raise Refusal(422, f"unknown parameter '{key[:40]}'; {hint}")
        if key in values:
            raise Refusal(422, f"parameter '{key}' is given twice; give it once")
        values[key] = value
    form = values.get("format", "wav")
    if form not in FORMATS:
        raise Refusal(422, f"format '{form[:40]}' is not offered; choose wav or pcm")
    try:
        settings = Settings(
            seed=_whole("seed", values.get("seed", "0")),
            temperature=_real("temperature", values.get("temperature", "1")),
            speaker=values.get("speaker"),
        )
        vocoder.check(settings)
    except SeqgenError as error:
        raise Refusal(422, str(error)) from None
    return Order(settings, form)


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


def sound_headers(order: Order, vocoder: Vocoder) -> Headers:
    """Headers of a sound: its type, and the mark that says a machine made it (EU AI Act, article 50(2))."""
    # audio/L16 would promise network byte order; this is little-endian, as inside a WAV file.
    raw = f"audio/pcm;rate={vocoder.sample_rate};channels=1;encoding=s16le"
    mark = f'seqgen; kind=vocoder; voice="{quote(vocoder.name)}"; seed={order.settings.seed}'
    return [
        (b"content-type", b"audio/wav" if order.form == "wav" else raw.encode()),
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


def vocode(
    vocoder: Vocoder, order: Order, body: bytes | bytearray, content_type: str, limits: Limits
) -> Iterator[bytes]:
    """The work of one request, for a worker: chunks of the answer's body, the first of which has sound in it.

    Raises:
        SeqgenError: where the request is at fault.
    """
    body = bytes(body)  # copied here and not on the event loop; the original is dropped
    source = from_body(body, content_type, vocoder.features, longest=limits.sound)
    prefix = wav_header(vocoder.sample_rate, samples=None) if order.form == "wav" else b""
    for audio in vocoder.run(source, order.settings):
        yield prefix + pcm16(audio).astype("<i2").tobytes()
        prefix = b""
