"""``seqgen-serve serve``: stream voices and texts until stopped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from seqgen.errors import SeqgenError
from serving import logs
from serving.cli.options import (
    access_options,
    config_option,
    file_path,
    isolation_option,
    mode,
    naming_options,
    port,
    positive,
    voice_options,
    watermark_options,
    wyoming_options,
)
from serving.connections import listening
from serving.first_process import leave_first_process
from serving.scheduling.memory import default_budget
from serving.voices.aliases import read_aliases
from serving.voices.directory import VoiceDirectory
from serving.voices.store import FixedVoices, SingleVoice, VoiceStore
from serving.voices.voice import open_preset, open_voice

if TYPE_CHECKING:
    import uvicorn

    from serving.app import App
    from serving.edge.origin import OriginPolicy

_PATIENCE = 0.0005
_LOOK = 0.02  # seconds between two looks whether the server is ready

EXAMPLES = """\
examples:
  seqgen-serve serve --voices voices/
  seqgen-serve serve --voice exp/voice
  seqgen-serve serve --config /etc/seqgen-serve/serve.toml
  seqgen-serve serve --voices voices/ --uds /run/seqgen-serve/http.sock
  seqgen-serve serve --model exp/lm
  curl --data-binary @in.wav 'http://127.0.0.1:8080/v1/vocode?seed=1' > out.wav
  curl -N --data-binary @in.wav 'http://127.0.0.1:8080/v1/vocode?format=pcm' | aplay -f S16_LE -r 16000

SIGTERM and Ctrl-C finish the streams under way (at most --drain seconds), then the server exits. SIGHUP has it read
keys, certificate, voices, limits and the file of options anew; no stream is cut but those of keys that are gone."""


def options(serve: argparse.ArgumentParser) -> None:
    """Options of ``seqgen-serve serve``."""
    config_option(serve)
    voice_options(serve)
    naming_options(serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    place = serve.add_mutually_exclusive_group()
    place.add_argument("--port", type=port, default=8080, help="port; 0 picks a free one (default: %(default)s)")
    place.add_argument(
        "--uds", type=file_path, metavar="PATH", help="listen on this Unix socket instead of --host, --port"
    )
    serve.add_argument(
        "--uds-mode", type=mode, default="660", metavar="MODE", help="its permissions in octal (default: %(default)s)"
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name, default, meaning in (
        ("--threads", min(2, cores), "workers"),
        (
            "--slots",
            64,
            "streams at once, over all workers; more get 503, and so do those beyond the measured capacity",
        ),
        ("--max-seconds", 600, "seconds of the longest recording taken"),
        ("--max-utterance", 4 * 3600, "seconds of the longest utterance of a WebSocket"),
        ("--max-body", 32, "largest request body in MiB"),
        ("--max-prompt", 1 << 16, "bytes of the longest prompt of a completion"),
        ("--max-tokens", 4096, "symbols of the longest completion"),
        ("--memory", 1024, "MiB that open voices may take; those unused for longest are closed"),
        (
            "--request-memory",
            default_budget() >> 20,
            "MiB that all requests may hold together: bodies, input that waits, codecs, sound that waits",
        ),
        ("--max-connections", 1024, "connections at once, idle ones included"),
        ("--max-connections-each", 256, "connections at once from one address that is no --trusted-proxy"),
        ("--drain", 30, "seconds to finish streams in when stopped"),
    ):
        serve.add_argument(name, type=positive, default=default, help=f"{meaning} (default: %(default)s)")
    access_options(serve)
    watermark_options(serve)
    serve.add_argument(
        "--resume-secret",
        type=file_path,
        metavar="FILE",
        help="secret shared by replicas, so that one goes on with a sound that another began (default: one of its own)",
    )
    isolation_option(serve)
    wyoming_options(serve)
    serve.add_argument(
        "--otel",
        metavar="URL",
        help="send a trace of each request to this collector (OTLP over HTTP); also by OTEL_EXPORTER_OTLP_ENDPOINT; "
        "needs seqgen[otel]",
    )
    serve.add_argument("--log", choices=("text", "json"), default="text", help="form of the log (default: %(default)s)")
    serve.set_defaults(command=run, parser=serve)


def run(options: argparse.Namespace) -> int:
    """Serve until stopped."""
    leave_first_process()
    with _minding_signals() as early, contextlib.ExitStack() as made:
        if options.voices:
            return _serve(VoiceDirectory(Path(options.voices)), options, early)
        if options.voice:
            return _serve(SingleVoice(Path(options.voice), opener=open_voice), options, early)
        folder = made.enter_context(tempfile.TemporaryDirectory())
        return _serve(FixedVoices(open_preset(options.preset, Path(folder) / "voice")), options, early)
    return 0


class _Terminated(BaseException):
    """Exception of a process that was asked to end."""


@contextlib.contextmanager
def _minding_signals() -> Iterator[list[int]]:
    """Context that SIGTERM ends as an exception does, so that nothing stays behind; then the process dies of it. Gives
    a list of each SIGHUP that comes before the server can reload."""

    def stop(*_: object) -> None:
        raise _Terminated

    early: list[int] = []
    # Handled and not blocked: a thread of a numerical library, which blocks nothing, would have the process end by it.
    handlers = {signal.SIGTERM: stop, signal.SIGHUP: lambda number, _: early.append(number)}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield early
    except _Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)  # returns to the first process of a container only
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve(store: VoiceStore, options: argparse.Namespace, early: list[int]) -> int:
    # The web server is imported late: an error in the voice is told sooner.
    from serving.app import App
    from serving.connections.budget import ConnectionBudget, ConnectionLimits, most_connections
    from serving.connections.server import DrainingServer
    from serving.edge import spans
    from serving.http.keys import ApiKeys, read_keys
    from serving.http.resume import read_secret
    from serving.reload import MEBIBYTE, Reload, request_limits
    from serving.workers.process_worker import process_workers

    require_tls(options)
    aliases = read_aliases(options.alias, store.names())
    keys = ApiKeys(read_keys(Path(options.keys))) if options.keys else None
    secret = read_secret(Path(options.resume_secret)) if options.resume_secret else None
    logs.set_up(options.log)
    with bound(options) as (listener, address), wyoming(options) as speaking, spans.exported(options.otel):
        # Workers and event loop hand the interpreter's lock to each other many times a turn; its default patience (5 ms
        # each time) would be silence.
        sys.setswitchinterval(_PATIENCE)
        most = ConnectionLimits(most_connections(options.max_connections), options.max_connections_each)
        connections = ConnectionBudget(most, proxies=options.trusted_proxy)
        limits = request_limits(options)
        make = process_workers() if options.isolation == "process" else None
        telling: list[asyncio.Task[None]] = []  # the event loop itself keeps no task
        app = App(
            store,
            threads=options.threads,
            slots=options.slots,
            limits=limits,
            memory=options.memory * MEBIBYTE,
            request_memory=options.request_memory * MEBIBYTE,
            make=make,
            secret=secret,
            keys=keys,
            origins=_origins(options),
            connections=connections,
            public_metrics=options.public_metrics,
            default=options.default_voice,
            aliases=aliases,
            wyoming=speaking,
            wyoming_allowed=options.wyoming_allow,
        )

        config = _config(app, options)
        reload = Reload(app, config, options, options.parser.read_again, _origins)

        def started() -> None:
            loop = asyncio.get_running_loop()
            telling.append(loop.create_task(_tell_ready(app, address, speaking)))
            loop.add_signal_handler(signal.SIGHUP, reload.ask)
            if early:
                reload.ask()

        server = DrainingServer(
            config, budget=connections, drain=app.drain, streaming=lambda: app.pool.streaming, started=started
        )
        app.pool.on_failure = lambda: setattr(server, "should_exit", True)
        server.run(sockets=[listener])
        return 1 if app.pool.failed else 0


async def _tell_ready(app: App, address: str, speaking: socket.socket | None) -> None:
    """Say once that somebody can be served, or why nobody can where all there is has been looked at."""
    while (reason := app.unready()) and not app.settled:
        await asyncio.sleep(_LOOK)
    address += f", Wyoming at {listening.address(speaking)}" if speaking is not None else ""
    sys.stdout.write(f"{f'not ready: {reason}' if reason else f'ready: {described(app)}'} on {address}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def bound(options: argparse.Namespace) -> Iterator[tuple[socket.socket, str]]:
    """Bound socket and its address in words."""
    if options.uds:
        place = Path(options.uds)
        with listening.listen_unix(place, options.uds_mode) as listener, listening.removed_at_end(place):
            yield listener, f"unix:{place}"
    else:
        with listening.listen(options.host, options.port) as listener:
            listening.require_keys(listener, keys=bool(options.keys), open_to_all=options.no_keys)
            yield listener, listening.written(listener, tls=bool(options.tls_cert))


@contextlib.contextmanager
def wyoming(options: argparse.Namespace) -> Iterator[socket.socket | None]:
    """Bound socket for clients of the Wyoming protocol, where they are wanted."""
    from serving.connections.wyoming import require_allowed

    if options.wyoming_port is None:
        yield None
        return
    with listening.listen(options.wyoming_host, options.wyoming_port) as listener:
        require_allowed(listener, options.wyoming_allow)
        yield listener


def _origins(options: argparse.Namespace) -> OriginPolicy:
    from serving.edge.origin import OriginPolicy

    return OriginPolicy([*options.allow_host, *_own_names(options.host)], options.allow_origin)


def _own_names(host: str) -> list[str]:
    """Name that the server was told to listen by; an address needs no telling, it is the connection's own."""
    try:
        ipaddress.ip_address(host or "::")
    except ValueError:
        return [host]
    return []


def require_tls(options: argparse.Namespace) -> str | None:
    """Certificate that options name, with a key that goes with it; ``None`` where they name none.

    Raises:
        SeqgenError: naming the file.
    """
    from serving.reload import require_certificate

    if bool(options.tls_cert) != bool(options.tls_key):
        raise SeqgenError("one of --tls-cert and --tls-key is missing", remedy="give both, or none")
    for path in filter(None, (options.tls_cert, options.tls_key)):
        if not os.access(path, os.R_OK):
            raise SeqgenError(f"{path}: cannot be read", remedy="give a PEM file that this user may read")
    if options.tls_cert:
        require_certificate(options.tls_cert, options.tls_key)
    certificate: str | None = options.tls_cert
    return certificate


def _config(app: App, options: argparse.Namespace) -> uvicorn.Config:
    from serving.connections.server import configuration

    return configuration(
        app,
        app.connections,
        app.metrics.answered,
        # Who may say whose request it passes on: who reaches the Unix socket, a proxy on this machine, or one named.
        forwarded_allow_ips="*" if options.uds else ["127.0.0.1", "::1", *options.trusted_proxy],
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        timeout_graceful_shutdown=options.drain,
    )


def described(app: App) -> str:
    """Description of the voices that are open, and of how many listeners each could have."""
    told = []
    for voice in app.cache.open.values():
        app.pool.set_capacity(voice.model, voice.capacity)
        most = app.pool.max_listeners(voice.model)
        told.append(f"{voice.model.label} through {voice.model.runtime}, {most} listeners")
    return "; ".join(told) or "no voice"
