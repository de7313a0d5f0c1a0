"""Routing: the one reading of a request's path, by which it is answered, guarded and counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http.protocol import HttpError

WEBSOCKET = "WEBSOCKET"
"""Method of a route that is a WebSocket's."""
_NAME = "/{name}"


@dataclass(frozen=True, slots=True)
class Route:
    """Route of requests to an endpoint.

    Attributes:
        template: the path, letter for letter; ``/{name}`` at its end stands for one segment.
        methods: those that it answers; ``GET`` includes ``HEAD``. endpoint: what answers.
        public: whether it is answered without an API key.
    """

    template: str
    methods: tuple[str, ...]
    endpoint: ASGIApp
    public: bool = False


class Router:
    """Router of requests: a path is exactly a route's, or nobody's.

    Paths are compared as they were sent, so nothing is decoded twice or in two ways: a percent sign, a second slash, a
    dot segment or another case makes another path. Only the segment for ``{name}`` is decoded, once.

    Example:
        >>> Router([Route("/livez", ("GET",), endpoint)]).find({"path": "/livez/"}) is None    # doctest: +SKIP
        True
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        routes = tuple(routes)
        self._exact = {route.template: route for route in routes if not route.template.endswith(_NAME)}
        self._named = {
            route.template.removesuffix("{name}"): route for route in routes if route.template.endswith(_NAME)
        }

    def find(self, scope: Scope) -> Route | None:
        """Route of a request's path, whatever its method; ``None`` where there is none."""
        path = _sent(scope)
        if (route := self._exact.get(path)) is not None:
            return route
        folder, slash, name = path.rpartition("/")
        route = self._named.get(folder + slash) if name else None
        if route is not None:
            scope["path_params"] = {"name": unquote(name)}
        return route


def require_method(route: Route | None, scope: Scope) -> Route:
    """Route that takes the method of a request.

    Raises:
        HttpError: 404 for no route, 405 for another method, 426 for a request that had to be a WebSocket.
    """
    method = WEBSOCKET if scope["type"] == "websocket" else scope["method"]
    told = f"{method} {scope['path'][:80]}"
    if route is None or (method == WEBSOCKET and WEBSOCKET not in route.methods):
        raise HttpError(404, f"{told}: Not Found")
    if method in route.methods or (method == "HEAD" and "GET" in route.methods):
        return route
    if WEBSOCKET in route.methods:
        upgrade = [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]
        raise HttpError(426, f"{told}: this is a WebSocket; connect to it by ws:// or wss://", upgrade)
    allowed = [*route.methods, *(["HEAD"] if "GET" in route.methods else [])]
    raise HttpError(405, f"{told}: Method Not Allowed", [(b"allow", ", ".join(allowed).encode())])


def page(handler: Callable[[Request], Awaitable[Response]]) -> ASGIApp:
    """Endpoint made of a function from request to response."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive))
        await response(scope, receive, send)

    return answer


def _sent(scope: Scope) -> str:
    """Path as it was sent, below the place where a proxy has mounted the application."""
    raw: bytes | None = scope.get("raw_path")
    path = quote(scope["path"], safe="/%") if raw is None else raw.decode("latin-1")
    return path.removeprefix(scope.get("root_path", ""))
