"""What the server must withstand: fuzzed requests, slow readers, hurried leavers, too many, a clock that jumps."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import socket
import threading
import time
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from seqgen.audio.features import log_mel
from serving.app import App
from serving.http.protocol import RequestLimits
from serving.streams.completion import TextRequest, completed
from serving.streams.sound import SoundPipeline, SoundRequest
from serving.streams.text import TextSettings
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice
from tests.serving.fakes import SPEC, audio_file, everything, fake_vocoder, features_file, tone
from tests.serving.live import Live, wait_for
from tests.serving.text_fakes import fake_text

LIMITS = RequestLimits(body=200_000, sound=5.0, upload=5.0, stall=5.0, idle=5.0)
PATHS = ("/", "/livez", "/readyz", "/metrics", "/openapi.json", "/v1/models", "/v1/models/x", "/v1/audio/voices",
         "/v1/audio/speech", "/v1/vocode", "/v1/stream", "/v1/vocode/", "//", "/%00", "/../etc/passwd",
         "/v1/%76ocode", "/v1/completions", "/v1/completions", "/v1/completions")  # fmt: skip
COMPLETION = {"model": "lm", "prompt": "abc", "max_tokens": 20, "seed": 1}


def hostile_text(rng):
    return rng.choice(
        ["", "x", "..", "\0", "é", "%", "&", "=", "1e999", "nan", "-1", "9" * 300, "A" * 2000, "\u202e", "fake"]
    )


def hostile_completion(rng):
    """A body of ``POST /v1/completions`` whose fields may have any value."""
    values = [None, True, 0, -1, 2, 1.5, 1e308, 10**30, 10**400, "", "a", "lm", "fake", "\ud800", "é\0" * 99, [], ["a"],
              ["a", ""], [1, 2], ["a"] * 17, {}, {"include_usage": True}, {"x": {}}, "a" * 70_000]  # fmt: skip
    keys = ["model", "prompt", "max_tokens", "temperature", "top_p", "n", "stream", "stream_options", "logprobs",
            "echo", "stop", "seed", "user", "best_of", "suffix", "logit_bias", "x", "\udfff", ""]  # fmt: skip
    body = COMPLETION | {"stream": rng.random() < 0.5}
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        body[rng.choice(keys)] = rng.choice(values)
    return json.dumps(body).encode(rng.choice(["utf-8", "utf-8", "utf-8", "utf-16"]))


def hostile_request(rng, bodies):
    """A request as bytes: sometimes well-formed, often with something wrong in its line, headers or body."""
    keys = ["voice", "seed", "temperature", "speaker", "format", "rate", "x", ""]
    pairs = [f"{rng.choice(keys)}={hostile_text(rng)}" for _ in range(rng.randrange(4))]
    query = "&".join(pairs).encode("utf-8", "replace")
    if rng.random() < 0.7:
        query = b"".join(b"%%%02x" % byte if byte < 33 or byte > 126 else bytes([byte]) for byte in query)
    method = rng.choice(["GET", "POST", "POST", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "\0", "G T"]).encode()
    path = rng.choice(PATHS).encode()
    body = hostile_completion(rng) if path == b"/v1/completions" and rng.random() < 0.8 else rng.choice(bodies)
    if body and rng.random() < 0.5:
        body = bytearray(body[: rng.randrange(len(body)) + 1])
        body[rng.randrange(len(body))] = rng.randrange(256)
        body = bytes(body)
    headers = [b"Host: x", b"Connection: close"]
    length = len(body) if rng.random() < 0.9 else rng.choice([0, -1, 10**12, len(body) + 1, len(body) // 2])
    headers.append(b"Content-Length: %d" % length)
    extra = [b"X-Request-Id: \xff", b"Content-Type: " + rng.randbytes(9).hex().encode(), b"Authorization: Bearer x",
             b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Upgrade: websocket",
             b"A: " + b"b" * 9000]  # fmt: skip
    headers += [rng.choice(extra)] if rng.random() < 0.3 else []
    return (
        method
        + b" "
        + path
        + (b"?" + query if query else b"")
        + b" HTTP/1.1\r\n"
        + b"\r\n".join(headers)
        + b"\r\n\r\n"
        + body
    )


def ask(server, request):
    """The status of the answer, or ``None`` where the server just closed."""
    with server.connect() as sock:
        sock.settimeout(20)
        answer = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            while b"\r\n" not in answer and (more := sock.recv(4096)):
                answer += more
        return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else None


def voice_and_text():
    """A store of a voice and a text model, both of no network."""
    return FixedVoices(LoadedVoice(fake_vocoder(batch=16)), LoadedVoice(fake_text()))


def fuzz_requests(count, folder):
    rng = random.Random(count)
    bodies = [b"", b"{}", b"junk", b'{"model": "fake", "input": "x", "voice": "fake"}']
    bodies += [audio_file(tone(0.1), form=form) for form in ("WAV", "FLAC", "OGG")]
    bodies.append(features_file(folder, log_mel(tone(0.1), SPEC)))
    seen = set()
    with Live(App(voice_and_text(), threads=1, limits=LIMITS)) as server:
        for _ in range(count):
            request = hostile_request(rng, bodies)
            status = ask(server, request)
            seen.add(status)
            assert status is None or status < 500, request
        assert {200, 400, 404, 405, 422} <= seen
        wait_for(lambda: server.app.pool.busy == 0)
        assert ask(server, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == 200


def test_no_request_is_answered_by_an_internal_error(tmp_path):
    fuzz_requests(1500, tmp_path)


@pytest.mark.soak
def test_ten_thousand_requests_are_answered_without_an_internal_error(tmp_path):
    fuzz_requests(10_000, tmp_path)


def fuzz_streams(count):
    from tests.serving.test_websocket_protocol import random_message

    rng = random.Random(count)
    features = log_mel(tone(0.05), SPEC).astype("<f4").tobytes()
    with Live(App(fake_vocoder(batch=16), threads=1, limits=LIMITS)) as server:
        url = f"ws://127.0.0.1:{server.port}/v1/stream"
        sent = 0
        while sent < count:
            with (
                contextlib.suppress(ConnectionClosed, InvalidStatus, TimeoutError),
                connect(url, compression=None) as sock,
            ):
                for _ in range(rng.randrange(1, 12)):
                    sent += 1
                    message = random_message(rng)
                    if isinstance(message, bytes) and rng.random() < 0.5:
                        message = message[:4] + features
                    sock.send(message)
                    if rng.random() < 0.3:
                        for answer in iter(lambda: sock.recv(timeout=0), None):
                            if isinstance(answer, str):
                                assert json.loads(answer).get("code") != "internal_error"
                if rng.random() < 0.3:
                    with contextlib.suppress(OSError):  # what it was sent may have closed it already
                        sock.socket.shutdown(socket.SHUT_RDWR)
        wait_for(lambda: server.app.pool.busy == 0)


def test_random_streams_leave_nothing_behind():
    fuzz_streams(1500)


@pytest.mark.soak
def test_ten_thousand_random_messages_leave_nothing_behind():
    fuzz_streams(10_000)


def leave(count):
    """Listeners and readers who hang up at any moment, over HTTP and WebSocket; every slot comes back."""
    rng, sound, text = random.Random(0), audio_file(tone(0.5)), json.dumps(COMPLETION | {"max_tokens": 4000})
    streamed = json.dumps(COMPLETION | {"max_tokens": 4000, "stream": True})
    bodies = {"/v1/vocode": [sound], "/v1/completions": [text.encode(), streamed.encode()]}
    store = voice_and_text()
    with Live(App(store, threads=2, slots=8)) as server:
        runtimes = [store.load(name).model.runtime for name in store.names()]
        for runtime in runtimes:
            runtime.delay = 0.0002
        for _ in range(count):
            path = rng.choice(list(bodies))
            body, cut = rng.choice(bodies[path]), rng.choice([1, 30, 80, 500, None])
            with server.connect() as sock:
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                sock.sendall((head + body)[:cut])
                if rng.random() < 0.5:
                    time.sleep(rng.random() * 0.01)
                if rng.random() < 0.3:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, no goodbye
        wait_for(lambda: server.app.pool.busy == 0)
        assert server.app.pool.admission.load == [0.0, 0.0]
        wait_for(lambda: server.app.pool.memory.held == 0)
        for runtime in runtimes:
            runtime.delay = 0.0
        want = b"".join(everything(fake_vocoder(batch=16), SoundRequest(form="pcm"), sound))
        assert server.post("format=pcm", sound)[2] == want
        (choice,) = json.loads(server.request("POST", "/v1/completions", json.dumps(COMPLETION).encode())[2])["choices"]
        request = TextRequest(TextSettings(COMPLETION["seed"]), COMPLETION["max_tokens"])
        assert choice["text"] == "".join(line["text"] for line in completed(fake_text(), request, b"abc"))


def test_those_who_leave_at_any_moment_keep_no_slot():
    leave(150)


@pytest.mark.soak
def test_ten_thousand_who_leave_at_any_moment_keep_no_slot():
    leave(10_000)


def growth(app, path, body, requests):
    """Bytes that the process takes more after so many requests than after a third of them."""
    with Live(app) as server:
        sizes = []
        for number in range(requests):
            assert server.request("POST", path, body)[0] == 200
            if number in (requests // 3, requests - 1):
                gc.collect()
                sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        return sizes[1] - sizes[0]


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc here")
def test_memory_does_not_grow_and_a_leak_would_be_seen(monkeypatch):
    path, body, requests = "/v1/vocode?format=pcm", audio_file(tone(1.0)), 3000
    assert growth(App(fake_vocoder(batch=16), threads=1), path, body, requests) < 4 << 20
    kept = []
    inner = SoundPipeline.encode
    monkeypatch.setattr(SoundPipeline, "encode", lambda self, audio: kept.append(made := inner(self, audio)) or made)
    assert growth(App(fake_vocoder(batch=16), threads=1), path, body, requests) > 16 << 20


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("stream", [False, True])
def test_texts_make_memory_grow_no_more_than_sound(stream):
    asked = json.dumps(COMPLETION | {"prompt": "ab" * 500, "logprobs": 5, "stream": stream}).encode()
    model = fake_text()
    model.runtime.calls = deque(maxlen=100)  # a list of them all would grow
    assert growth(App(model, threads=1), "/v1/completions", asked, 3000) < 4 << 20


def read_slowly(readers, rounds, pause=0.0):
    """Readers of a byte a round; the workers have room for some more, one of whom reads at once."""
    body = audio_file(np.zeros(8000 * 20, np.int16), form="FLAC")
    threads, slots = readers // 12, readers + readers // 12
    app = App(fake_vocoder(batch=16), threads=threads, slots=slots, buffered=0.5)
    with Live(app, send_buffer=1 << 12) as server:
        plugs = [server.begin(body, receive_buffer=1 << 12) for _ in range(readers)]
        wait_for(lambda: server.app.pool.busy == readers)
        for _ in range(rounds):
            time.sleep(pause)
            for sock in plugs:
                assert len(sock.recv(1)) == 1
        # Rings of 0.5 s at 16 kB/s, and one call more.
        wait_for(lambda: all(lease.waiting >= 8000 for lease in server.app.pool.leases))
        assert max(lease.waiting for lease in server.app.pool.leases) <= 8000 + 2 * 8 * SPEC.hop
        assert server.post("format=pcm", audio_file(tone(0.5)))[0] == 200
        for sock in plugs:
            sock.close()
        wait_for(lambda: server.app.pool.busy == 0)


def test_slow_readers_take_bounded_memory_and_nobody_elses_time():
    read_slowly(12, 5)


@pytest.mark.soak
def test_two_hundred_readers_of_a_byte_a_second_take_bounded_memory():
    read_slowly(204, 60, pause=1.0)


def test_three_times_the_load_is_refused_and_those_inside_hear_all():
    vocoder, body = fake_vocoder(batch=16), audio_file(tone(0.3))
    want = b"".join(everything(vocoder, SoundRequest(form="pcm"), body))
    vocoder.runtime.gate = threading.Event()
    with Live(App(vocoder, threads=1, slots=4)) as server:
        inside = [server.begin(body) for _ in range(4)]
        wait_for(lambda: server.app.pool.busy == 4)
        for _ in range(8):
            status, headers, _ = server.post("", body)
            assert (status, headers["retry-after"]) == (503, "1")
        vocoder.runtime.gate.set()
        for sock in inside:
            answer = b""
            while not answer.endswith(b"\r\n0\r\n\r\n"):
                answer += sock.recv(1 << 16)
            chunks, rest = [], answer.split(b"\r\n\r\n", 1)[1]
            while rest != b"0\r\n\r\n":
                size, rest = rest.split(b"\r\n", 1)
                chunks.append(rest[: int(size, 16)])
                rest = rest[int(size, 16) + 2 :]
            assert b"".join(chunks) == want
            sock.close()
        assert f"seqgen_refused_total {8}" in server.request("GET", "/metrics")[2].decode()


def vocode_beside_a_wild_clock(monkeypatch, requests):
    vocoder, body = fake_vocoder(batch=16), audio_file(tone(0.3))
    want = b"".join(everything(vocoder, SoundRequest(form="pcm"), body))
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: (-1) ** next(jumps) * 1e9)
    with Live(App(vocoder, threads=1)) as server:
        for _ in range(requests):
            assert server.post("format=pcm", body)[2] == want
    assert next(jumps) > 0, "nobody looked at the clock"


def test_a_wall_clock_that_jumps_changes_nothing(monkeypatch):
    vocode_beside_a_wild_clock(monkeypatch, 1)


@pytest.mark.soak
def test_a_wall_clock_that_jumps_changes_nothing_in_the_long_run(monkeypatch):
    vocode_beside_a_wild_clock(monkeypatch, 2000)


def test_logs_tell_nothing_that_was_sent(caplog, tmp_path):
    caplog.set_level("DEBUG", "seqgen.serving")
    secret = "hush-hush"
    with Live(App(fake_vocoder(), threads=1)) as server:
        server.post(f"speaker={secret}", b"x")
        server.post("", secret.encode() * 10)
        server.request(
            "POST", "/v1/audio/speech", json.dumps({"model": "fake", "input": secret, "voice": "x"}).encode()
        )
        server.request("GET", f"/v1/models/{secret}", Authorization=f"Bearer {secret}")
        with connect(f"ws://127.0.0.1:{server.port}/v1/stream") as sock:
            sock.send(json.dumps({"type": "init", "input": secret}))
            sock.recv(timeout=30)
            sock.send(secret)
    assert secret not in caplog.text
