"""API keys: a file of their hashes, and the middleware that asks for them; keys are never stored, shown or logged.

One JSON object a line: ``{"name": "radio", "sha256": "…", "streams": 4, "per_minute": 600}``. A key is 256 random bits,
so a plain hash of it cannot be guessed back.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from seqgen.audio.io import replacing
from seqgen.errors import SeqgenError
from serving.http.protocol import HttpError
from serving.http.responses import deny_upgrade, send_error

KEY_SUBPROTOCOL = "seqgen-key."
"""Subprotocol that carries an API key behind it, for WebSockets of browsers, which send no headers."""
_PREFIX = "sk-seqgen-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OPEN = frozenset({"/", "/demo.js", "/worklet.js", "/openapi.json", "/livez", "/readyz"})
_STREAMING = frozenset({"/v1/vocode", "/v1/stream"})


@dataclass(frozen=True, slots=True)
class ApiKey:
    """API key: whose it is, its hash in hexadecimal, streams at once, and requests a minute (0: any number)."""

    name: str
    sha256: str
    streams: int
    per_minute: int = 0


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """API keys of a file.

    Raises:
        SeqgenError: naming the line that is wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SeqgenError(f"{path}: cannot be read ({error})", remedy="make it with `seqgen-serve keys add`") from None
    keys = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key = ApiKey(row["name"], row["sha256"], row["streams"], row.get("per_minute", 0))
            whole = type(key.streams) is int and type(key.per_minute) is int
            if not re.fullmatch(r"[0-9a-f]{64}", key.sha256) or not whole or key.streams < 1 or key.per_minute < 0:
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SeqgenError(f"{path}:{number}: not a key", remedy="make keys with `seqgen-serve keys add`") from None
        keys.append(key)
    return tuple(keys)


def add_key(path: Path, name: str, streams: int, per_minute: int = 0) -> str:
    """Make a key and note its hash; gives the key, which nobody can read again.

    Raises:
        SeqgenError: for a name that is no plain word, or taken.
    """
    if not _NAME.fullmatch(name):
        raise SeqgenError(f"{name[:60]!r} cannot name a key", remedy="use letters, digits, '.', '_' and '-'")
    keys = read_keys(path) if path.exists() else ()
    if any(key.name == name for key in keys):
        raise SeqgenError(f"there is a key '{name}' in {path}", remedy="remove it first, or choose another name")
    secret = _PREFIX + secrets.token_urlsafe(32)
    _write(path, (*keys, ApiKey(name, _digest(secret), streams, per_minute)))
    return secret


def remove_key(path: Path, name: str) -> None:
    """Take a key away.

    Raises:
        SeqgenError: where there is none of that name.
    """
    keys = read_keys(path)
    if all(key.name != name for key in keys):
        known = ", ".join(key.name for key in keys) or "none"
        raise SeqgenError(f"there is no key '{name[:60]}' in {path}", remedy=f"keys there: {known}")
    _write(path, tuple(key for key in keys if key.name != name))


def _write(path: Path, keys: tuple[ApiKey, ...]) -> None:
    with replacing(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write("".join(json.dumps(asdict(key)) + "\n" for key in keys).encode())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class RateLimiter:
    """Rate limiter for requests a minute: a bucket of that many, filled again evenly.

    Source: the generic cell rate algorithm in its virtual scheduling form, ITU-T I.371 (2004), annex A.

    Example:
        >>> rate = RateLimiter(2)
        >>> [rate.wait(now) for now in (0.0, 0.0, 0.0, 30.0)]
        [0.0, 0.0, 30.0, 0.0]
    """

    def __init__(self, per_minute: int) -> None:
        self._gap = 60 / per_minute
        self._due = float("-inf")  # when the bucket is full again

    def wait(self, now: float) -> float:
        """Seconds until a request may come; 0: it is let through and counted."""
        wait = max(0.0, self._due + self._gap - now - 60)
        if not wait:
            self._due = max(self._due, now) + self._gap
        return wait


class ApiKeyMiddleware:
    """ASGI middleware that asks for API keys, and lets through no more streams or requests than each allows.

    Pages without sound stay open.

    Args:
        app: the application behind. keys: from :func:`read_keys`. clock: seconds.
    """

    def __init__(self, app: ASGIApp, keys: tuple[ApiKey, ...], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._keys, self._clock = app, keys, clock
        self._held: Counter[str] = Counter()
        self._rates = {key.name: RateLimiter(key.per_minute) for key in keys if key.per_minute}

    def holder(self, scope: Scope) -> ApiKey | None:
        """API key that the request shows; every key is compared, in constant time."""
        digest = _digest(_shown(scope))
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in _OPEN:
            return await self._app(scope, receive, send)
        key = self.holder(scope)
        if key is None:
            message = "this server takes requests with an API key only; send Authorization: Bearer <key>"
            return await _reject(HttpError(401, message, _challenge(), code="invalid_api_key"), scope, receive, send)
        if key.name in self._rates and (wait := self._rates[key.name].wait(self._clock())):
            message = f"this key has {key.per_minute} requests a minute; try again in {wait:.1f} s"
            retry = [(b"retry-after", str(math.ceil(wait)).encode()), (b"connection", b"close")]
            return await _reject(HttpError(429, message, retry, code="rate_limit_exceeded"), scope, receive, send)
        if scope["path"] not in _STREAMING:
            return await self._app(scope, receive, send)
        if self._held[key.name] >= key.streams:
            message = f"all {key.streams} streams of this key are in use; end one, or try again in a second"
            retry = [(b"retry-after", b"1"), (b"connection", b"close")]
            return await _reject(HttpError(429, message, retry, code="rate_limit_exceeded"), scope, receive, send)
        self._held[key.name] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._held[key.name] -= 1


def _shown(scope: Scope) -> str:
    """Key of a request, by ``Authorization: Bearer`` or by a subprotocol: browsers' WebSockets send no such header."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    offered: list[str] = scope.get("subprotocols", [])
    return next((name.removeprefix(KEY_SUBPROTOCOL) for name in offered if name.startswith(KEY_SUBPROTOCOL)), "")


def _challenge() -> list[tuple[bytes, bytes]]:
    return [(b"www-authenticate", b"Bearer"), (b"connection", b"close")]


async def _reject(error: HttpError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        return await send_error(error, receive, send)
    await receive()  # the wish to connect
    await deny_upgrade(error, scope, send)
