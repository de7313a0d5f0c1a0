"""Reload of a running server: keys, certificates, voices and limits are read anew, and no stream is cut for it.

Every part is read whole before it is put in force. Where it cannot be, what was in force stays so, which the log and
the metrics tell; the other parts are reloaded all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import ssl
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import IO

import uvicorn

from seqgen.errors import SeqgenError
from serving.app import App
from serving.connections.budget import most_connections
from serving.edge.origin import OriginPolicy
from serving.http.keys import read_keys
from serving.http.protocol import RequestLimits
from serving.voices.aliases import read_aliases

log = logging.getLogger("seqgen.serving")
MEBIBYTE = 1 << 20
FIXED = ("voices", "voice", "preset", "host", "port", "uds", "uds_mode", "threads", "no_keys", "public_metrics",
         "trusted_proxy", "resume_secret", "isolation", "otel", "log", "wyoming_port", "wyoming_host",
         "wyoming_allow")  # fmt: skip
"""Options that a running server cannot change."""
Apply = Callable[[], None]
"""Puts in force what has been read; called on the event loop, and does not fail."""


class Reload:
    """Reader of what a running server may change.

    Args:
        app, config: the server. options: it was started with. read_again: reads them again, with their file.
        origins: makes the policy of such options.
    """

    def __init__(
        self,
        app: App,
        config: uvicorn.Config,
        options: argparse.Namespace,
        read_again: Callable[[argparse.Namespace], argparse.Namespace],
        origins: Callable[[argparse.Namespace], OriginPolicy],
    ) -> None:
        self._app, self._config, self._options = app, config, options
        self._read_again, self._origins = read_again, origins
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Reload; on the event loop. What is asked for while a reload is under way comes after it, once."""
        self._asked = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._reload())

    async def _reload(self) -> None:
        while self._asked:
            self._asked = False
            parts = {
                "options": self._read_options,
                "keys": self._read_keys,
                "certificate": self._read_certificate,
                "origins": self._read_origins,
                "limits": self._read_limits,
                "aliases": self._read_aliases,
                "voices": self._read_voices,
            }
            failed = [name for name, read in parts.items() if not await self._renew(name, read)]
            self._app.metrics.reloaded(failed)
            log.info("reloaded; as they were: %s", ", ".join(failed) or "none")

    async def _renew(self, name: str, read: Callable[[], Apply]) -> bool:
        try:
            apply = await asyncio.to_thread(read)
            apply()
        except SeqgenError as error:
            log.error("%s cannot be reloaded and stay as they were: %s", name, error)
        except Exception:
            log.exception("%s cannot be reloaded and stay as they were", name)
        else:
            return True
        return False

    def _read_options(self) -> Apply:
        options = self._read_again(self._options)
        changed = [name for name in FIXED if getattr(options, name) != getattr(self._options, name)]
        for name in ("keys", "tls_cert", "tls_key"):  # which file may change, not whether there is one
            if bool(getattr(options, name)) != bool(getattr(self._options, name)):
                changed.append(name)
        if changed:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
            raise SeqgenError(f"{names} changed, which a running server cannot", remedy="restart it, or change it back")

        def apply() -> None:
            self._options = options

        return apply

    def _read_keys(self) -> Apply:
        if not self._options.keys:
            return _nothing
        keys = read_keys(Path(self._options.keys))
        return lambda: self._app.replace_keys(keys)

    def _read_certificate(self) -> Apply:
        if not self._options.tls_cert:
            return _nothing
        chain, key = self._options.tls_cert, self._options.tls_key
        context = self._config.ssl
        assert context is not None
        copies = [_copy(chain), _copy(key)]  # what is put in force is what was looked at
        places = f"/dev/fd/{copies[0].fileno()}", f"/dev/fd/{copies[1].fileno()}"
        try:
            require_certificate(*places, shown=(chain, key))
        except BaseException:
            _close(copies)
            raise

        def apply() -> None:
            # Handshakes from now on are by the new one; connections go on as they are.
            context.load_cert_chain(*places, password="")
            _close(copies)

        return apply

    def _read_origins(self) -> Apply:
        policy = self._origins(self._options)
        return lambda: self._app.replace_origins(policy)

    def _read_limits(self) -> Apply:
        options, app = self._options, self._app

        def apply() -> None:
            self._config.timeout_graceful_shutdown = options.drain
            budget = app.connections
            total, each = most_connections(options.max_connections), options.max_connections_each
            budget.limits = replace(budget.limits, total=total, each=each)
            request_memory, memory = options.request_memory * MEBIBYTE, options.memory * MEBIBYTE
            app.replace_limits(request_limits(options), request_memory=request_memory, memory=memory)
            if app.pool.resize(options.slots) < options.slots:
                log.warning("--slots %d takes a restart; until then there are %d", options.slots, app.pool.slots)

        return apply

    def _read_aliases(self) -> Apply:
        cache = self._app.cache
        aliases = read_aliases(self._options.alias, cache.installed())

        def apply() -> None:
            cache.aliases = aliases

        return apply

    def _read_voices(self) -> Apply:
        default = self._options.default_voice

        def apply() -> None:
            self._app.cache.default = default
            self._app.reload_voices()

        return apply


def request_limits(options: argparse.Namespace) -> RequestLimits:
    """Limits of one request, by a server's options."""
    sound, utterance = float(options.max_seconds), float(options.max_utterance)
    body, prompt = options.max_body * MEBIBYTE, options.max_prompt
    given = RequestLimits(body=body, sound=sound, utterance=utterance, prompt=prompt, tokens=options.max_tokens)
    return replace(given, watermark=options.watermark)


def _copy(path: str) -> IO[bytes]:
    """Copy of a file, without a name.

    Raises:
        SeqgenError: where it cannot be read.
    """
    copy: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed once it is in force
    try:
        copy.write(Path(path).read_bytes())
        copy.flush()
    except OSError as error:
        copy.close()
        raise SeqgenError(f"{path}: {error.strerror}", remedy="give a PEM file that this user may read") from None
    return copy


def _close(files: Iterable[IO[bytes]]) -> None:
    for file in files:
        file.close()


def require_certificate(chain: str, key: str, shown: tuple[str, str] | None = None) -> None:
    """Refuse a certificate and key that cannot be used together; ``shown``: how they are called.

    Raises:
        SeqgenError: naming both files.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password="")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = getattr(error, "strerror", None) or error
        raise SeqgenError(
            f"{' and '.join(shown or (chain, key))} cannot be used ({reason})",
            remedy="give a certificate chain and its own key, both PEM",
        ) from None


def _nothing() -> None:
    """Nothing is in force that could be read anew."""
