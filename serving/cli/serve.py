"""``seqgen-serve serve``: stream voices until stopped."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen.errors import SeqgenError
from serving import logs
from serving.cli.options import isolation_option, port, positive, voice_options
from serving.http.protocol import RequestLimits
from serving.voices.directory import VoiceDirectory
from serving.voices.store import FixedVoices, VoiceStore
from serving.voices.voice import open_voice

if TYPE_CHECKING:
    import uvicorn

    from serving.app import App

_SEND_BUFFER = 128 << 10  # bytes the kernel may hold for one slow reader; its default grows to megabytes
_PATIENCE = 0.0005
_MEBIBYTE = 1 << 20
_LONGEST_MESSAGE = 1 << 20  # of a WebSocket

EXAMPLES = """\
examples:
  seqgen-serve serve --voices voices/
  seqgen-serve serve --voice exp/voice
  curl --data-binary @in.wav 'http://127.0.0.1:8080/v1/vocode?seed=1' > out.wav
  curl -N --data-binary @in.wav 'http://127.0.0.1:8080/v1/vocode?format=pcm' | aplay -f S16_LE -r 16000

SIGTERM and Ctrl-C finish the streams under way (at most --drain seconds), then the server exits."""


def options(serve: argparse.ArgumentParser) -> None:
    """Options of ``seqgen-serve serve``."""
    voice_options(serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    serve.add_argument("--port", type=port, default=8080, help="port; 0 picks a free one (default: %(default)s)")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name, default, meaning in (
        ("--threads", min(2, cores), "workers"),
        (
            "--slots",
            64,
            "streams at once, over all workers; more get 503, and so do those beyond the measured capacity",
        ),
        ("--max-seconds", 600, "longest recording or utterance taken"),
        ("--max-body", 32, "largest request body in MiB"),
        ("--memory", 1024, "MiB that open voices may take; those unused for longest are closed"),
        ("--drain", 30, "seconds to finish streams in when stopped"),
    ):
        serve.add_argument(name, type=positive, default=default, help=f"{meaning} (default: %(default)s)")
    serve.add_argument("--keys", metavar="FILE", help="take requests with an API key only; see `seqgen-serve keys`")
    serve.add_argument("--tls-cert", metavar="FILE", help="certificate chain (PEM), to serve HTTPS and WSS")
    serve.add_argument("--tls-key", metavar="FILE", help="its private key (PEM)")
    serve.add_argument(
        "--resume-secret",
        metavar="FILE",
        help="secret shared by replicas, so that one goes on with a sound that another began (default: one of its own)",
    )
    isolation_option(serve)
    serve.add_argument("--log", choices=("text", "json"), default="text", help="form of the log (default: %(default)s)")
    serve.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Serve until stopped."""
    if options.voices:
        return _serve(VoiceDirectory(Path(options.voices)), options)
    if options.voice:
        return _serve(FixedVoices(open_voice(Path(options.voice))), options)
    from serving.voices.preset import open_preset

    with tempfile.TemporaryDirectory() as folder:
        voice = open_preset(options.preset, Path(folder) / "voice")
        return _serve(FixedVoices(voice), options)


def _serve(store: VoiceStore, options: argparse.Namespace) -> int:
    # The web server is imported late: an error in the voice is told sooner.
    from serving.app import App
    from serving.http.keys import ApiKeyMiddleware, read_keys
    from serving.http.resume import read_secret
    from serving.http.server import DrainingServer
    from serving.workers.process_worker import process_workers

    _require_tls(options)
    keys = read_keys(Path(options.keys)) if options.keys else None
    listener = listen(options.host, options.port)
    logs.set_up(options.log)
    # Workers and event loop hand the interpreter's lock to each other many times a turn; its default patience (5 ms
    # each time) would be silence.
    sys.setswitchinterval(_PATIENCE)
    limits = RequestLimits(body=options.max_body * _MEBIBYTE, sound=float(options.max_seconds))
    memory = options.memory * _MEBIBYTE
    make = process_workers() if options.isolation == "process" else None
    secret = read_secret(Path(options.resume_secret)) if options.resume_secret else None
    app = App(
        store, threads=options.threads, slots=options.slots, limits=limits, memory=memory, make=make, secret=secret
    )

    def started() -> None:
        sys.stdout.write(f"ready: {described(app)} on {_address(listener, tls=bool(options.tls_cert))}\n")
        sys.stdout.flush()

    config = _config(app if keys is None else ApiKeyMiddleware(app, keys), options)
    server = DrainingServer(config, drain=app.drain, streaming=lambda: app.pool.streaming, started=started)
    server.run(sockets=[listener])
    return 0


def _require_tls(options: argparse.Namespace) -> None:
    if bool(options.tls_cert) != bool(options.tls_key):
        raise SeqgenError("one of --tls-cert and --tls-key is missing", remedy="give both, or none")
    for path in filter(None, (options.tls_cert, options.tls_key)):
        if not os.access(path, os.R_OK):
            raise SeqgenError(f"{path}: cannot be read", remedy="give a PEM file that this user may read")


def _config(app: Any, options: argparse.Namespace) -> uvicorn.Config:
    import uvicorn

    return uvicorn.Config(
        app,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=options.drain,
        ws_max_size=_LONGEST_MESSAGE,
        ws_per_message_deflate=False,  # sound hardly shrinks, and packing delays it
    )


def _address(listener: socket.socket, *, tls: bool) -> str:
    host, port = listener.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def described(app: App) -> str:
    """Description of the voices that are open, and of how many listeners each could have."""
    told = []
    for name, voice in app.cache.open.items():
        app.pool.set_capacity(voice.vocoder, voice.capacity)
        rate, most = voice.vocoder.sample_rate, app.pool.max_listeners(voice.vocoder)
        told.append(f"voice '{name}' at {rate} Hz through {voice.vocoder.runtime}, {most} listeners")
    return "; ".join(told) or "no voice"


def listen(host: str, port: int) -> socket.socket:
    """Bound socket; connections are accepted once the server starts.

    Raises:
        SeqgenError: for an address that cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        listener.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SeqgenError(
            f"cannot listen on {host}:{port} ({reason})", remedy="choose another --host or --port"
        ) from None
    return listener
