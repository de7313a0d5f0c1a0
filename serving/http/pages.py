"""Pages that describe the server and its voices."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.requests import Request
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
            Route("/v1/audio/models", ("GET",), page(self._readers)),
            Route("/metrics", ("GET",), page(self._numbers), public=self._public_metrics),
            *(Route(path, ("GET",), page(_file(name, kind)), public=True) for path, name, kind in _FILES),
        ]

    async def _models(self, _: Request) -> Response:
        rows = [self._row(name) for name in self._cache.names()]
        rows += [self._row(name) | {"id": alias, "alias_of": name} for alias, name in self._cache.aliased().items()]
        return json_response({"object": "list", "data": rows})

    async def _model(self, request: Request) -> Response:
        asked = request.path_params["name"]
        name = self._cache.resolve(asked)
        if name not in self._cache.names():
            return error_response(404, f"there is no voice '{asked[:60]}'", "model_not_found")
        return json_response(self._row(name) | ({"id": asked, "alias_of": name} if asked != name else {}))

    async def _voices(self, request: Request) -> Response:
        """Voices that are offered, those that read text first, and their aliases; with ``?all`` every name of the
        store, with its state and the reason for it, also of what makes text."""
        offered = self._offered()
        values = protocol.read_query(request.scope["query_string"], ("all",))
        if values.get("all", "") not in ("", "true"):
            raise HttpError(422, "all takes no value; ask for /v1/audio/voices?all")
        if "all" not in values:
            aliases = [
                offered[name] | {"id": alias, "name": alias, "alias_of": name}
                for alias, name in self._cache.aliased().items()
                if name in offered
            ]
            listed = sorted([*offered.values(), *aliases], key=lambda row: not row.get("reads"))
            return json_response({"voices": listed})
        rows = []
        for name, (state, reason) in sorted(self._cache.states().items()):
            told = {"reason": reason} if reason else {}
            rows.append({**offered.get(name, {"id": name}), "state": state, **told})
        return json_response({"voices": rows})

    async def _readers(self, _: Request) -> Response:
        """Names by which voices that read text are had, as clients look for them that know models apart from voices."""
        reading = {name for name, row in self._offered().items() if row.get("reads")}
        names = [*sorted(reading), *(alias for alias, name in self._cache.aliased().items() if name in reading)]
        return json_response({"models": [{"id": name, "name": name} for name in names]})

    def _offered(self) -> dict[str, dict[str, Any]]:
        return {name: {"id": name, "name": name} | self._cache.describe(name) for name in self._cache.voices()}

    def _row(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 0, "owned_by": "seqgen"} | self._cache.describe(name)

    async def _numbers(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type=MEDIA_TYPE)
