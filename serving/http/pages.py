"""Pages that describe the server and its voices; and the OpenAI speech interface, as far as these voices go."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.http import protocol
from serving.http.metrics import MEDIA_TYPE, Metrics
from serving.http.protocol import HttpError
from serving.http.routing import Route, page
from serving.voices.cache import VoiceCache

_FILES = (
    ("/", "demo.html", "text/html"),
    ("/demo.js", "demo.js", "text/javascript"),
    ("/worklet.js", "worklet.js", "text/javascript"),
    ("/openapi.json", "openapi.json", "application/json"),
)
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}
"""What the demo page may do: its own scripts, and its own server to talk to, by HTTP and by WebSocket."""
_LARGEST_TEXT = 1 << 16
_TEXT, _NUMBER = (str,), (int, float)
_SPEECH_FIELDS: dict[str, tuple[type, ...]] = {
    "model": _TEXT, "input": _TEXT, "voice": _TEXT, "instructions": _TEXT, "response_format": _TEXT,
    "speed": _NUMBER, "stream_format": _TEXT,
}  # fmt: skip
_STREAM_FORMATS = ("audio", "sse")


def json_response(content: Any, status: int = 200) -> Response:
    """JSON response."""
    return Response(json.dumps(content), status, media_type="application/json")


def error_response(status: int, message: str, code: str | None = None, param: str | None = None) -> Response:
    """Error in the words of the OpenAI interface."""
    return Response(protocol.error_body(status, message, code, param), status, media_type="application/json")


@cache
def resource(name: str) -> bytes:
    """Content of a file that comes with the package."""
    return files("serving.http").joinpath(name).read_bytes()


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return Response(resource(name), media_type=kind, headers=_PAGE_HEADERS)

    return answer


class InformationPages:
    """Endpoints that make no sound: voices, models, metrics, demo page."""

    def __init__(self, cache: VoiceCache, metrics: Metrics, *, public_metrics: bool = False) -> None:
        self._cache, self._metrics, self._public_metrics = cache, metrics, public_metrics

    def routes(self) -> list[Route]:
        """Routes of the endpoints."""
        return [
            Route("/v1/models", ("GET",), page(self._models)),
            Route("/v1/models/{name}", ("GET",), page(self._model)),
            Route("/v1/audio/voices", ("GET",), page(self._voices)),
            Route("/v1/audio/speech", ("POST",), page(self._speech)),
            Route("/metrics", ("GET",), page(self._numbers), public=self._public_metrics),
            *(Route(path, ("GET",), page(_file(name, kind)), public=True) for path, name, kind in _FILES),
        ]

    async def _models(self, _: Request) -> Response:
        return json_response({"object": "list", "data": [self._row(name) for name in self._cache.names()]})

    async def _model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._cache.names():
            return error_response(404, f"there is no voice '{name[:60]}'", "model_not_found")
        return json_response(self._row(name))

    async def _voices(self, request: Request) -> Response:
        """Voices that are offered; with ``?all`` every name of the store, with its state and the reason for it, also of
        what makes text."""
        offered = {name: {"id": name} | self._cache.describe(name) for name in self._cache.voices()}
        values = protocol.read_query(request.scope["query_string"], ("all",))
        if values.get("all", "") not in ("", "true"):
            raise HttpError(422, "all takes no value; ask for /v1/audio/voices?all")
        if "all" not in values:
            return json_response({"voices": list(offered.values())})
        rows = []
        for name, (state, reason) in sorted(self._cache.states().items()):
            told = {"reason": reason} if reason else {}
            rows.append({**offered.get(name, {"id": name}), "state": state, **told})
        return json_response({"voices": rows})

    def _row(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 0, "owned_by": "seqgen"} | self._cache.describe(name)

    async def _numbers(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type=MEDIA_TYPE)

    async def _speech(self, request: Request) -> Response:
        """Speech from text: every voice here is a vocoder, and says so."""
        body = bytearray()
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > _LARGEST_TEXT:
                    return error_response(
                        413, f"the request is larger than {_LARGEST_TEXT} bytes; send less text at once"
                    )
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            fields = json.loads(bytes(body))
        except (ValueError, RecursionError):
            return error_response(400, "the request body is not JSON", "invalid_json")
        if not isinstance(fields, dict):
            return error_response(400, "the request body is not a JSON object", "invalid_json")
        return _mistake(fields) or self._no_text(fields["model"])

    def _no_text(self, model: str) -> Response:
        if model not in self._cache.names():
            known = ", ".join(self._cache.names()) or "none"
            message = f"the model '{model[:60]}' does not exist; models here: {known}"
            return error_response(404, message, "model_not_found", "model")
        if model not in self._cache.voices():
            message = f"'{model}' makes text and no sound; send its prompts to POST /v1/completions"
            return error_response(400, message, "model_is_no_voice", "model")
        message = (
            f"voice '{model}' is a vocoder: it makes sound from log-mel features or from a recording and cannot read "
            "text. Send features or audio to POST /v1/vocode or WS /v1/stream, or install a voice that reads text"
        )
        return error_response(400, message, "voice_has_no_text_front_end", "model")


def _mistake(fields: dict[str, Any]) -> Response | None:
    """Error of a malformed request for speech, in OpenAI's words."""
    for key, value in fields.items():
        if key not in _SPEECH_FIELDS:
            return error_response(
                400, f"Unrecognized request argument supplied: {key[:40]}", "unknown_parameter", key[:40]
            )
        if not isinstance(value, _SPEECH_FIELDS[key]) or isinstance(value, bool):
            kind = "string" if _SPEECH_FIELDS[key] is _TEXT else "number"
            return error_response(400, f"Invalid type for '{key}': expected a {kind}.", "invalid_type", key)
    for key in ("model", "input", "voice"):
        if key not in fields:
            return error_response(400, f"Missing required parameter: '{key}'.", "missing_required_parameter", key)
    if fields.get("stream_format", "audio") not in _STREAM_FORMATS:
        return error_response(
            400, "Invalid value for 'stream_format': choose 'audio' or 'sse'.", "invalid_value", "stream_format"
        )
    return None
