"""No slot is lost whatever is raised between its reservation and the end of the request, over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from http.client import HTTPException

import numpy as np
import pytest
from websockets.exceptions import WebSocketException

from serving.app import App
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice
from tests.serving.fakes import SPEC, audio_file, fake_vocoder, tone
from tests.serving.live import Live, wait_for
from tests.serving.test_websocket import INIT, dial, hear, push, say
from tests.serving.text_fakes import fake_text

BODY = audio_file(tone(0.05))
ERRORS = (
    OverflowError("too large"),
    KeyError("x"),
    MemoryError(),
    RecursionError(),
    OSError(5, "x"),
    RuntimeError("x"),
)
# Whatever an endpoint calls once it has a slot.
HTTP = [
    "serving.http.vocode:VocodeEndpoint._read_body",
    "serving.http.vocode:VocodeEndpoint._answer",
    "serving.http.vocode:send_in_time",
    "serving.http.vocode:ResumeClaim.of",
    "serving.http.vocode:protocol.sound_headers",
    "serving.http.vocode:ResumeTokens.write",
    "serving.workers.pool:SlotLease.start",
    "serving.workers.pool:SlotLease.push",
    "serving.workers.pool:SlotLease.finish",
    "serving.workers.pool:SlotLease.take",
    "serving.workers.worker:ThreadWorker.open",
    "serving.streams.sound:SoundRequest.seconds",
    "serving.streams.sound:SoundRequest.check",
    "serving.scheduling.batcher:Batcher.open",
    "serving.scheduling.batcher:Batcher.push",
    "serving.scheduling.batcher:Batcher.plan",
    "serving.scheduling.batcher:Batcher.commit",
]
COMPLETIONS = [
    "serving.completions.endpoint:read_completion",
    "serving.completions.endpoint:CompletionEndpoint._read_body",
    "serving.completions.endpoint:CompletionEndpoint._find",
    "serving.completions.endpoint:CompletionEndpoint._answer",
    "serving.completions.endpoint:send_in_time",
    "serving.completions.endpoint:CompletionAnswer",
    "serving.completions.answer:CompletionAnswer.count",
    "serving.completions.answer:CompletionAnswer.event",
    "serving.completions.answer:CompletionAnswer.end",
    "serving.streams.completion:TextRequest.check",
    "serving.streams.completion:TextPipeline.push",
    "serving.streams.completion:TextPipeline.finish",
    "serving.streams.completion:TextPipeline.encode",
    "serving.streams.completion:TextPipeline.ending",
    "serving.streams.text:TextStream.accept",
    *(where for where in HTTP if where.startswith(("serving.workers", "serving.scheduling"))),
]
WEBSOCKET = [
    *(where for where in HTTP if not where.startswith("serving.http.vocode:")),
    "serving.websocket.endpoint:StreamConnection",
    "serving.websocket.connection:StreamConnection._read",
    "serving.websocket.connection:StreamConnection._perform",
    "serving.websocket.connection:StreamContext",
    "serving.websocket.context:StreamContext._request",
    "serving.websocket.context:StreamContext._utterances",
    "serving.websocket.context:StreamContext._open_window",
    "serving.websocket.context:read_init",
    "serving.websocket.context:claim_of",
    "serving.websocket.protocol:StreamProtocol.opened",
    "serving.websocket.protocol:StreamProtocol.sound",
    "serving.websocket.outbox:Outbox.run",
    "serving.websocket.outbox:Outbox.sound",
    "serving.http.resume:ResumeTokens.write",
]


def broken(monkeypatch, where, error, calls):
    """Have what stands there raise an error, every time that it is called."""
    module, path = where.split(":")
    owner = importlib.import_module(module)
    *names, last = path.split(".")
    for name in names:
        owner = getattr(owner, name)

    def fail(*_, **__):
        calls.append(where)
        raise error

    monkeypatch.setattr(owner, last, fail)


@pytest.fixture(scope="module")
def server():
    store = FixedVoices(LoadedVoice(fake_vocoder(batch=16)), LoadedVoice(fake_text()))
    with Live(App(store, threads=1, slots=2)) as live:
        yield live


@pytest.mark.parametrize("where", HTTP)
def test_over_http(server, monkeypatch, where):
    for error in ERRORS:
        with monkeypatch.context() as patch, contextlib.suppress(OSError):
            broken(patch, where, error, calls := [])
            server.post("format=pcm", BODY)
        assert calls
        wait_for(lambda: server.app.pool.busy == 0)
    assert server.post("format=pcm", BODY)[0] == 200
    wait_for(lambda: server.app.pool.memory.held == 0)


@pytest.mark.parametrize("where", COMPLETIONS)
def test_over_completions(server, monkeypatch, where):
    asked = b'{"model": "lm", "prompt": "a", "stream": true}'
    for error in ERRORS:
        with monkeypatch.context() as patch, contextlib.suppress(OSError, HTTPException):
            broken(patch, where, error, calls := [])
            server.request("POST", "/v1/completions", asked)
        assert calls
        wait_for(lambda: server.app.pool.busy == 0)
    assert server.request("POST", "/v1/completions", asked)[0] == 200
    wait_for(lambda: server.app.pool.memory.held == 0)


@pytest.mark.parametrize("where", WEBSOCKET)
def test_over_a_websocket(server, monkeypatch, where):
    for error in ERRORS:
        with monkeypatch.context() as patch, contextlib.suppress(OSError, WebSocketException):
            broken(patch, where, error, calls := [])
            with dial(server) as sock:
                say(sock, **INIT)
                push(sock, np.full((3, SPEC.n_mels), SPEC.silence))
                say(sock, type="flush")
                sock.recv(timeout=0.2)
                sock.recv(timeout=0.05)
        assert calls
        wait_for(lambda: server.app.pool.busy == 0)
    with dial(server) as sock:
        say(sock, **INIT)
        hear(sock, "ready")
    wait_for(lambda: server.app.pool.busy == 0)
    wait_for(lambda: server.app.pool.memory.held == 0)


@pytest.mark.parametrize(
    "where", ["serving.http.vocode:VocodeEndpoint._read_body", "serving.workers.pool:SlotLease.take"]
)
def test_a_request_that_is_cancelled(server, monkeypatch, where):
    with monkeypatch.context() as patch, contextlib.suppress(OSError):
        broken(patch, where, asyncio.CancelledError(), [])
        server.post("format=pcm", BODY)
    wait_for(lambda: server.app.pool.busy == 0)
