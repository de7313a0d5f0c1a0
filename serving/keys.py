"""API keys: a file of their hashes, and a guard before the application. Keys are never stored, shown again or logged.

One JSON object a line: ``{"name": "radio", "sha256": "…", "streams": 4}``. A key is 256 random bits, so a plain hash of
it cannot be guessed back.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from seqgen.audio.io import replacing
from seqgen.errors import SeqgenError
from serving.protocol import Refusal
from serving.stream import deny
from serving.vocode import refuse

_PREFIX = "sk-seqgen-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OPEN = frozenset({"/", "/demo.js", "/worklet.js", "/openapi.json", "/livez", "/readyz"})
_STREAMING = frozenset({"/v1/vocode", "/v1/stream"})


@dataclass(frozen=True, slots=True)
class Key:
    """Whose key, its hash in hexadecimal, and how many streams it may have at once."""

    name: str
    sha256: str
    streams: int


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

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
            key = Key(row["name"], row["sha256"], row["streams"])
            if not re.fullmatch(r"[0-9a-f]{64}", key.sha256) or type(key.streams) is not int or key.streams < 1:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise SeqgenError(f"{path}:{number}: not a key", remedy="make keys with `seqgen-serve keys add`") from None
        keys.append(key)
    return tuple(keys)


def add_key(path: Path, name: str, streams: int) -> str:
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
    _write(path, (*keys, Key(name, _digest(secret), streams)))
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


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    rows = [{"name": key.name, "sha256": key.sha256, "streams": key.streams} for key in keys]
    with replacing(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class Guard:
    """Lets through whoever shows a key, and no more streams than the key allows; pages without sound stay open.

    Args:
        app: the application behind. keys: from :func:`read_keys`.
    """

    def __init__(self, app: ASGIApp, keys: tuple[Key, ...]) -> None:
        self._app, self._keys = app, keys
        self._held: Counter[str] = Counter()

    def holder(self, headers: Mapping[bytes, bytes]) -> Key | None:
        """Whose key the request shows, as ``Authorization: Bearer``; every key is compared, in constant time."""
        scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        digest = _digest(given.strip())
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found if scheme.lower() == "bearer" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in _OPEN:
            return await self._app(scope, receive, send)
        key = self.holder(dict(scope["headers"]))
        if key is None:
            message = "this server takes requests with an API key only; send Authorization: Bearer <key>"
            return await _turn_away(Refusal(401, message, _challenge(), code="invalid_api_key"), scope, receive, send)
        if scope["path"] not in _STREAMING:
            return await self._app(scope, receive, send)
        if self._held[key.name] >= key.streams:
            message = f"all {key.streams} streams of this key are in use; end one, or try again in a second"
            retry = [(b"retry-after", b"1"), (b"connection", b"close")]
            return await _turn_away(Refusal(429, message, retry, code="rate_limit_exceeded"), scope, receive, send)
        self._held[key.name] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._held[key.name] -= 1


def _challenge() -> list[tuple[bytes, bytes]]:
    return [(b"www-authenticate", b"Bearer"), (b"connection", b"close")]


async def _turn_away(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        return await refuse(refusal, receive, send)
    await receive()  # the wish to connect
    await deny(refusal, scope, send)
