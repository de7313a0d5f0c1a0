"""Clients wait for a server that is restarted or full: how long, how often, and what they hear in the end."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from seqgen.bundle import Bundle
from serving.client import Client, ServerError
from serving.client.backoff import LONGEST, Backoff, temporary
from serving.client.client import _seconds, _server_error
from tests.serving.fakes import audio_file, tone
from tests.serving.live import wait_for

REFUSED = ConnectionRefusedError(111, "Connection refused")


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (REFUSED, True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (socket.gaierror(-3, "Temporary failure in name resolution"), True),
        (ssl.SSLCertVerificationError(), False),
        (ServerError("", status=503, retry_after=1.0), True),
        (ServerError("", status=503), True),
        (ServerError("", status=502), True),
        (ServerError("", status=504), True),
        (ServerError("", status=429, retry_after=20.0), True),
        (ServerError("", status=429), False),
        (ServerError("", status=401), False),
        (ServerError("", status=409, code="voice_changed"), False),
        (ServerError("", status=422), False),
        (ServerError("", status=500), False),
        (ServerError("", code="worker_lost"), True),
        (ServerError("", code="overloaded"), True),
        (ServerError("", code="invalid_input"), False),
    ],
)
def test_what_may_pass_is_tried_again_and_a_mistake_is_not(error, again):
    assert temporary(error) == again
    if again:
        assert Backoff(1).delay(error) >= 0
    else:
        with pytest.raises(type(error)):
            Backoff(1).delay(error)


def waits(backoff, clock, error=REFUSED):
    """Waits until it gives up, each of them waited for."""
    made = []
    with contextlib.suppress(type(error)):
        while len(made) < 1000:
            made.append(backoff.delay(error))
            clock[0] += made[-1]
    return made


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_waits_double_up_to_a_bound_until_patience_is_over(chance):
    clock = [7.0]
    made = waits(Backoff(1, 60.0, clock=lambda: clock[0], chance=lambda: chance), clock)
    assert made[0] == 0
    assert made[1:4] == pytest.approx([0.1 * (1 + chance) / 2 * 2**number for number in range(3)])
    assert max(made) == pytest.approx(LONGEST * (1 + chance) / 2)
    assert 55 <= sum(made) <= 60
    assert 15 < len(made) < 40  # and thirty would not have been enough without waiting


def test_what_the_server_asks_for_is_heeded_and_the_end_comes_with_its_error():
    clock = [0.0]
    full = ServerError("full", status=503, retry_after=7.0)
    assert waits(Backoff(1, 30.0, clock=lambda: clock[0]), clock, full) == [7.0] * 4
    with pytest.raises(ServerError, match="full"):  # longer than anybody waits
        Backoff(1, 30.0).delay(ServerError("full", status=503, retry_after=31.0))


def test_breaks_are_counted_and_attempts_are_not():
    backoff = Backoff(2, 60.0, clock=lambda: 0.0)
    for _ in range(2):
        assert backoff.resumable
        for _ in range(5):
            backoff.delay(REFUSED)
        assert backoff.resumable
        backoff.progress()
    assert not backoff.resumable
    with pytest.raises(ConnectionRefusedError):
        backoff.delay(REFUSED)
    with pytest.raises(ConnectionRefusedError):
        Backoff(0).delay(REFUSED)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("3", 3, 3), (" 120 ", 120, 120), ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0), (None, 90, 101)],
)
def test_a_retry_after_is_a_number_or_a_date(text, low, high):
    text = text or email.utils.formatdate(time.time() + 100, usegmt=True)
    assert low <= _seconds(text) <= high


@pytest.mark.parametrize("text", [None, "", "soon", "-1", "²", "1.5", "1" * 400, "nan", "Wed, 99 Oct 2015"])
def test_a_retry_after_that_is_neither_is_none(text):
    assert _seconds(text) is None


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'"x"', b'{"error": "x"}', b'{"error": {}}', b"[" * 5000, b"\xff"]
)
def test_what_a_proxy_answers_is_an_error_too(body):
    error = _server_error(502, {}, body)
    assert (str(error), error.status) == ("HTTP status 502", 502)


def test_a_server_that_comes_up_late_is_waited_for_at_the_beginning_too():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", patience=0.3)
    with pytest.raises(OSError, match="refused"):
        list(client.vocode(b"", resumes=1))
    with pytest.raises(OSError, match="refused"), client.stream(resumes=1, rate=8000):
        pass
    with pytest.raises(OSError, match="refused"):
        list(Client(client.url, patience=1e9).vocode(b""))  # who may not resume does not wait


SECONDS = 4.5  # a WebSocket is sent three ahead of their time
INIT = {"rate": 8000, "seed": 3, "format": "f32"}


class Restarted:
    """A server in a process of its own that can be killed and started again on the same port."""

    def __init__(self, bundle, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (folder / "secret").write_text(secrets.token_hex(32))
        self.command = [sys.executable, "-m", "serving.cli", "serve", "--voice", bundle, "--port", self.port,
                        "--threads", "1", "--slots", "16", "--resume-secret", folder / "secret"]  # fmt: skip

    def start(self):
        command = list(map(str, self.command))
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout.readline().startswith(b"ready: ")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def over_http(client, body, began, **options):
    heard, sound = b"", client.vocode(body, form="f32", rate=48000, resumes=1, seed=3, **options)
    for chunk in sound:
        if not heard:
            began()
        heard += chunk
    return heard


def over_a_socket(client, samples, began):
    heard = b""
    with client.stream(resumes=1, **INIT) as stream:
        for part in np.array_split(samples, 50):
            stream.send(part)
        stream.finish()
        for chunk in stream:
            if not heard:
                began()
            heard += chunk
    return heard


def over_a_socket_awaited(client, samples, began):
    async def listen():
        heard = b""
        async with client.astream(resumes=1, **INIT) as stream:
            for part in np.array_split(samples, 50):
                await stream.send(part)
            await stream.finish()
            async for chunk in stream:
                if not heard:
                    await asyncio.to_thread(began)
                heard += chunk
        return heard

    return asyncio.run(listen())


def test_sixteen_streams_outlive_a_server_that_is_killed_and_started_again(tiny_bundle, tmp_path, monkeypatch):
    rate = Bundle.open(tiny_bundle).manifest.sample_rate
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    audio = tone(SECONDS, rate)
    samples, body = (audio * 32767).astype("<i2"), audio_file(audio, rate)
    server = Restarted(tiny_bundle, tmp_path)
    client = Client(f"http://127.0.0.1:{server.port}", timeout=30)
    # Each of them by every fourth listener; a sound lasts longer than what sockets hold.
    ways = [
        (over_http, body, {}),
        (over_http, body, {"events": True}),
        (over_a_socket, samples, {}),
        (over_a_socket_awaited, samples, {}),
    ]
    server.start()
    try:
        want = [way(client, given, lambda: None, **options) for way, given, options in ways]
        assert [len(sound) for sound in want] == [round(4 * SECONDS * hertz) for hertz in (48000, 48000, rate, rate)]
        everybody = threading.Barrier(17, timeout=60)
        breaks = []
        inner = Backoff.delay
        monkeypatch.setattr(Backoff, "delay", lambda self, error: breaks.append(id(self)) or inner(self, error))
        with ThreadPoolExecutor(16) as pool:
            listeners = [
                pool.submit(way, client, given, everybody.wait, **options)
                for _ in range(4)
                for way, given, options in ways
            ]
            everybody.wait()
            server.kill()
            wait_for(lambda: len(breaks) > 48)  # everybody was cut, and refused again and again
            server.start()
            heard = [listener.result(60) for listener in listeners]
        assert heard == want * 4
        assert len(set(breaks)) == 16
    finally:
        server.kill()
