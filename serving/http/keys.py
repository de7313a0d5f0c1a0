"""API keys: a file of their hashes, and what each allows; keys are never stored, shown or logged.

One JSON object a line: ``{"name": "radio", "sha256": "…", "streams": 4, "per_minute": 600}``. A key is 256 random bits,
so a plain hash of it cannot be guessed back.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import math
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from starlette.types import Scope

from seqgen.errors import SeqgenError
from seqgen.files.outputs import replacing
from serving.http.protocol import HttpError

KEY_SUBPROTOCOL = "seqgen-key."
"""Subprotocol that carries an API key behind it, for WebSockets of browsers, which send no headers."""
_CHALLENGE = [(b"www-authenticate", b"Bearer"), (b"connection", b"close")]
_PREFIX = "sk-seqgen-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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
            named = _NAME.fullmatch(key.name) and re.fullmatch(r"[0-9a-f]{64}", key.sha256)
            if not named or not whole or key.streams < 1 or key.per_minute < 0:
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
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
    with replacing(path, rights=0o600) as file:
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


class Caller:
    """Caller who showed an API key: what the key allows, wherever that is taken.

    Attributes:
        name: the key's. streams: that it may hold at once, counted by the pool, which gives them out.
        removed: whether the key has been taken away since.
    """

    def __init__(self, key: ApiKey, wait: Callable[[], float]) -> None:
        self.removed = False
        self.digest = key.sha256
        self.name, self.streams, self._per_minute, self._wait = key.name, key.streams, key.per_minute, wait

    def charge(self) -> None:
        """Count one more request.

        Raises:
            HttpError: 429 where there were as many in the last minute as the key allows.
        """
        if wait := self._wait():
            message = f"this key has {self._per_minute} requests a minute; try again in {wait:.1f} s"
            raise _too_many(message, math.ceil(wait))

    def require_room(self, held: int) -> None:
        """Refuse one more stream beside those that the caller holds.

        Raises:
            HttpError: 429 where that would be more than the key allows.
        """
        if held >= self.streams:
            raise _too_many(f"all {self.streams} streams of this key are in use; end one, or try again in a second", 1)


class ApiKeys:
    """API keys of a server, and how many requests came by each.

    Args:
        keys: from :func:`read_keys`. clock: seconds.
    """

    def __init__(self, keys: Iterable[ApiKey], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._clock = tuple(keys), clock
        self._rates = {key.name: RateLimiter(key.per_minute) for key in self._keys if key.per_minute}
        self._serving: dict[asyncio.Task[object], Caller] = {}

    def replace(self, keys: Iterable[ApiKey]) -> None:
        """Take other keys instead; what is being done for one that is gone is cancelled."""
        before, self._keys = {key.name: key.per_minute for key in self._keys}, tuple(keys)
        self._rates = {
            key.name: self._rates[key.name] if before.get(key.name) == key.per_minute else RateLimiter(key.per_minute)
            for key in self._keys
            if key.per_minute
        }
        there = {key.sha256 for key in self._keys}
        for task, caller in self._serving.items():
            if caller.digest not in there and not caller.removed:
                caller.removed = True
                task.cancel()

    @contextlib.contextmanager
    def serving(self, caller: Caller) -> Iterator[None]:
        """Context of what is done for a caller by the present task.

        Raises:
            HttpError: 401 where the key was removed meanwhile.
        """
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = caller
        try:
            yield
        except asyncio.CancelledError:
            if not caller.removed:
                raise
            task.uncancel()
            raise HttpError(401, "this API key has been removed", _CHALLENGE, code="invalid_api_key") from None
        finally:
            del self._serving[task]

    def identify(self, scope: Scope) -> Caller:
        """Caller by the key that the request shows; every key is compared, in constant time.

        Raises:
            HttpError: 401 for no key or an unknown one.
        """
        digest = _digest(_shown(scope))
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        if found is None:
            message = "this server takes requests with an API key only; send Authorization: Bearer <key>"
            raise HttpError(401, message, _CHALLENGE, code="invalid_api_key")
        rate = self._rates.get(found.name)
        return Caller(found, lambda: rate.wait(self._clock()) if rate else 0.0)


def _shown(scope: Scope) -> str:
    """Key of a request, by ``Authorization: Bearer`` or by a subprotocol: browsers' WebSockets send no such header."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    offered: list[str] = scope.get("subprotocols", [])
    return next((name.removeprefix(KEY_SUBPROTOCOL) for name in offered if name.startswith(KEY_SUBPROTOCOL)), "")


def _too_many(message: str, seconds: int) -> HttpError:
    retry = [(b"retry-after", str(seconds).encode()), (b"connection", b"close")]
    return HttpError(429, message, retry, code="rate_limit_exceeded")
