"""A real server on 127.0.0.1, in a thread of the test process, and plain sockets to talk to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from serving.app import App
from serving.connections.server import DrainingServer, configuration


class Live:
    """``with Live(App(...)) as server:`` serves on ``server.port``."""

    def __init__(
        self,
        app: App,
        *,
        drain: int = 5,
        send_buffer: int = 1 << 16,
        listener: socket.socket | None = None,
        **options: Any,
    ) -> None:
        self.app = app
        self._listener = listener or socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        if listener is None:
            self._listener.bind(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        config = configuration(
            app, app.connections, app.metrics.answered, timeout_graceful_shutdown=drain, loop="asyncio", **options
        )
        self.server = DrainingServer(
            config, budget=app.connections, drain=app.drain, streaming=lambda: app.pool.streaming
        )
        self._thread = threading.Thread(target=self.server.run, args=([self._listener],))

    def __enter__(self) -> Live:
        self._thread.start()
        wait_for(lambda: self.server.started and self.app.settled)
        return self

    def __exit__(self, *_: object) -> None:
        for voice in self.app.cache.open.values():
            if getattr(voice.model.runtime, "gate", None) is not None:
                voice.model.runtime.gate.set()
        self.server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "the server did not stop"
        assert self.app.pool.busy == 0, "a slot was lost"

    def request(self, method: str, target: str, body: bytes | None = None, **headers: str):
        """A whole answer: status, headers (lower-case names), body."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, target, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def post(self, query: str, body: bytes, **headers: str):
        """``POST /v1/vocode``."""
        return self.request("POST", f"/v1/vocode?{query}", body, **headers)

    def connect(self, *, receive_buffer: int = 0) -> socket.socket:
        """A bare connection."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(60)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def begin(self, body: bytes, query: str = "format=pcm", **options: int) -> socket.socket:
        """A vocoding request sent, its answer not yet read."""
        sock = self.connect(**options)
        head = f"POST /v1/vocode?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body)
        return sock


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, made for a test."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("there is no openssl here")
    key, cert = folder / "key.pem", folder / "cert.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [openssl, "req", "-x509", *curve, *names, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def message(body: bytes) -> str:
    """The one line of a JSON error."""
    return str(json.loads(body)["error"]["message"])


def wait_for(condition, seconds: float = 30.0) -> float:
    """Wait until it is true; returns the seconds it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, "it never came true"
        time.sleep(0.002)
    return time.monotonic() - begin
