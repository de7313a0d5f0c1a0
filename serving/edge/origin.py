"""Origin and Host of requests: whose pages may use the server, and by which names it is called.

A browser sends what any page tells it to send, to addresses that only its user can reach. A page of another site is
known by its ``Origin`` (WHATWG Fetch, section 3.2) or, where a browser sends none, by ``Sec-Fetch-Site`` (W3C Fetch
Metadata). A page whose own name was made to point here (DNS rebinding) has the right origin, but calls the server by a
``Host`` that is not its own.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import Scope

from seqgen.errors import SeqgenError
from serving.http.protocol import Headers, HttpError

ANY = "*"
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}
_SECURE = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_MAX_AGE = 600  # seconds for which a browser need not ask again whether it may
_EXPOSED = b"x-request-id, x-resume-token, x-synthetic, retry-after, traceparent"
_ACCEPTED = b"authorization, content-type, accept, x-request-id, traceparent, tracestate"


@dataclass(frozen=True, slots=True)
class Authority:
    """Host and port that a URL or a ``Host`` header names; the host in lower case, an IPv6 address without brackets."""

    host: str
    port: int | None = None

    @staticmethod
    def read(text: str) -> Authority | None:
        """Authority of ``host``, ``host:port`` or ``[address]:port``; ``None`` for anything else, users included."""
        found = _AUTHORITY.fullmatch(text)
        if found is None or int(found[2] or 0) > 65535:
            return None
        host = found[1].lower()
        if host.startswith("["):
            try:
                host = str(ipaddress.IPv6Address(host[1:-1]))
            except ValueError:
                return None
        return Authority(host, int(found[2]) if found[2] else None)

    @property
    def name(self) -> str:
        """Host without the dot that ends a name spelt to the root."""
        return self.host.removesuffix(".")


def _read_origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin; ``None`` for ``null`` and whatever is not one."""
    scheme, separator, rest = text.partition("://")
    authority = Authority.read(rest)
    if not separator or scheme.lower() not in _PORTS or authority is None:
        return None
    scheme = scheme.lower()
    return scheme, authority.host, authority.port or _PORTS[scheme]


class OriginPolicy:
    """Policy on which origins and hosts are served: the server's own, and those that its operator allows.

    Args:
        hosts: names by which it may be called beside ``localhost`` and the address that a connection came to; with or
            without a port, ``*`` for any. origins: those whose pages may use it, ``null`` included; ``*`` for any.

    Raises:
        SeqgenError: for a host or an origin that cannot be one.

    Example:
        >>> OriginPolicy(hosts=["voices.example"], origins=["https://radio.example"])    # doctest: +SKIP
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        hosts, origins = frozenset(hosts), frozenset(origins)
        self._any_host, self._any_origin = ANY in hosts, ANY in origins
        self._hosts = {_required_host(text) for text in hosts - {ANY}}
        self._null = "null" in origins
        self._origins = {_required_origin(text) for text in origins - {ANY, "null"}}

    def check(self, scope: Scope) -> Headers:
        """Headers that let a page of another origin read the answer; none for the server's own pages and programs.

        Raises:
            HttpError: 400 for headers that cannot be read, 421 for a host that is not the server's, 403 for a page of
                an origin that is not allowed.
        """
        host = self._check_host(scope)
        origins = _values(scope, b"origin")
        if not origins:
            self._check_metadata(scope)
            return []
        text = origins[0] if len(origins) == 1 else ""
        if self._any_origin:
            return _cors(b"*")
        if text == "null" and self._null:
            return _cors(b"null")
        origin = _read_origin(text)
        if origin is not None and origin in self._origins:
            return _cors(text.encode("latin-1"))
        scheme = _SECURE[scope["scheme"]]
        if host is not None and origin == (scheme, host.host, host.port or _PORTS[scheme]):
            return []
        hint = f"--allow-origin {text}" if origin is not None or text == "null" else "--allow-origin"
        raise _forbidden(f"pages of {text[:100] or 'no single origin'} may not use this server; allow them with {hint}")

    def _check_host(self, scope: Scope) -> Authority | None:
        values = _values(scope, b"host")
        if not values and scope.get("http_version") == "1.0":
            return None  # browsers always name a host, and no program is made to forget it
        host = Authority.read(values[0]) if len(values) == 1 else None
        if host is None:
            raise HttpError(400, "the Host header cannot be read; send one, as host or host:port")
        if not (self._any_host or self._own(host, scope) or _named(host, self._hosts)):
            name = host.name[:100]
            message = f"this server is not '{name}'; if it is meant to be, start it with --allow-host {name}"
            raise HttpError(421, message, code="misdirected_request")
        return host

    def _own(self, host: Authority, scope: Scope) -> bool:
        """Test of a host for this machine's loopback, or the address that the connection came to."""
        if host.name == "localhost":
            return True
        try:
            address = _plain(host.name)
        except ValueError:
            return False
        if address.is_loopback:
            return True
        try:
            return address == _plain((scope.get("server") or ("",))[0])
        except ValueError:
            return False  # a Unix socket

    def _check_metadata(self, scope: Scope) -> None:
        """Refuse a browser's request for another site's page that bears no origin: a picture, a script, a frame."""
        site = "".join(_values(scope, b"sec-fetch-site"))
        if site in ("", "none", "same-origin") or self._any_origin:
            return
        reads = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        page = _values(scope, b"sec-fetch-mode") == ["navigate"] and _values(scope, b"sec-fetch-dest") == ["document"]
        if not (reads and page):  # following a link is harmless
            raise _forbidden("pages of another site may link to this server but not use it; see --allow-origin")


def is_preflight(scope: Scope) -> bool:
    """Test for a browser's question if a page of another origin may send a request (WHATWG Fetch, section 4.8)."""
    return (
        scope["type"] == "http"
        and scope["method"] == "OPTIONS"
        and bool(_values(scope, b"origin"))
        and bool(_values(scope, b"access-control-request-method"))
    )


def preflight_headers(scope: Scope, methods: Iterable[str]) -> Headers:
    """Headers that answer a preflight from an allowed origin."""
    headers = [
        (b"access-control-allow-methods", ", ".join(methods).encode()),
        (b"access-control-allow-headers", _ACCEPTED),
        (b"access-control-max-age", str(_MAX_AGE).encode()),
        (b"content-length", b"0"),
    ]
    if _values(scope, b"access-control-request-private-network") == ["true"]:
        headers.append((b"access-control-allow-private-network", b"true"))
    return headers


def _cors(origin: bytes) -> Headers:
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"cross-origin-resource-policy", b"cross-origin"),
        (b"vary", b"origin"),
    ]


def _forbidden(message: str) -> HttpError:
    return HttpError(403, message, [(b"vary", b"origin")], code="origin_not_allowed")


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip(" \t") for key, value in scope["headers"] if key == name]


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Address, an IPv4 one also where it is mapped into IPv6."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _named(host: Authority, known: set[Authority]) -> bool:
    return Authority(host.name, host.port) in known or Authority(host.name) in known


def _required_host(text: str) -> Authority:
    authority = Authority.read(text) or Authority.read(f"[{text}]")
    if authority is None:
        raise SeqgenError(f"'{text[:60]}' is no host", remedy="give --allow-host voices.example or voices.example:8080")
    return Authority(authority.name, authority.port)


def _required_origin(text: str) -> tuple[str, str, int]:
    origin = _read_origin(text)
    if origin is None:
        raise SeqgenError(f"'{text[:60]}' is no origin", remedy="give --allow-origin https://radio.example[:port]")
    return origin
