"""Paths are read once: each is exactly a route's or nobody's, and whoever gets a slot by one is counted."""

from __future__ import annotations

import json
import threading
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serving.app import App
from serving.http.keys import ApiKeys, add_key, read_keys
from serving.http.routing import WEBSOCKET, Route, Router
from tests.serving.fakes import audio_file, fake_vocoder, tone
from tests.serving.live import Live, wait_for


async def nothing(*_):
    raise AssertionError("nobody asks it")


ROUTES = [
    Route("/", ("GET",), nothing),
    Route("/v1/vocode", ("POST",), nothing),
    Route("/v1/stream", (WEBSOCKET,), nothing),
    Route("/v1/models", ("GET",), nothing),
    Route("/v1/models/{name}", ("GET",), nothing),
]
FRAMES = (
    "{}%0A", "{}%0a%0A", "{}%0D%0A", "{}/", "{}//", "/{}", "{}%2F", "{}%2f", "{}.", "{}%20", "{}%00", "{};x", "{}%3F",
    "{}%23", "{}/.", "{}/..", "{}/../vocode", "/.{}", "/..{}", "{}%E2%80%A8", "{}%C2%85", "{}%0B", "http://x{}", "{}%",
    "{}%zz",
)  # fmt: skip
ODD = [frame.format(path) for path in ("/v1/vocode", "/v1/stream") for frame in FRAMES] + [
    "/V1/vocode", "/v1/Vocode", "/v1%2Fvocode", "/v1%2fstream", "/v1//vocode", "/v1/./vocode", "/v1/x/../vocode",
    "/%76%31/vocode", "/v1/%76ocode", "/v1/voc%6Fde", "/v1\\vocode", "/v1/stre%61m", "/v1/%EF%BD%96ocode", "*",
    "vocode",
]  # fmt: skip


def ask(server, head, body=b""):
    """Status of the answer to a request whose first line is written as it is; 0 where there was no answer."""
    with server.connect() as sock:
        sock.sendall(head.encode("latin-1") + b"\r\n" + body)
        answer = sock.recv(1 << 16)
        return int(answer.split()[1]) if answer else 0


@pytest.fixture
def guarded(tmp_path):
    secret = add_key(tmp_path / "keys.jsonl", "radio", 2)
    vocoder = fake_vocoder(batch=16)
    keys = ApiKeys(read_keys(tmp_path / "keys.jsonl"))
    with Live(App(vocoder, threads=1, slots=8, keys=keys)) as server:
        yield server, vocoder, secret


def test_no_odd_path_is_a_way_around_the_quota(guarded):
    server, vocoder, secret = guarded
    body = audio_file(tone(0.1))
    common = f"Host: x\r\nAuthorization: Bearer {secret}\r\nConnection: close\r\n"
    post = "POST {} HTTP/1.1\r\n" + common + f"Content-Length: {len(body)}\r\n"
    upgrade = "GET {} HTTP/1.1\r\n" + common.replace("close", "Upgrade") + (
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )  # fmt: skip
    assert ask(server, post.format("/v1/vocode?format=pcm"), body) == 200
    vocoder.runtime.gate = threading.Event()
    held = [server.connect(), server.connect()]
    for sock in held:
        sock.sendall((post.format("/v1/vocode") + "\r\n").encode() + body)
    wait_for(lambda: server.app.pool.held_by("radio") == 2)
    admitted = server.app.pool.admitted
    assert [ask(server, post.format("/v1/vocode"), body), ask(server, upgrade.format("/v1/stream"))] == [429, 429]
    answers = {path: (ask(server, post.format(path), body), ask(server, upgrade.format(path))) for path in ODD}
    assert set(answers.values()) <= {(404, 404), (400, 400)}, answers
    assert server.app.pool.admitted == admitted
    vocoder.runtime.gate.set()
    for sock in held:
        sock.close()
    wait_for(lambda: server.app.pool.held_by("radio") == 0)


def test_every_context_of_a_socket_counts(guarded):
    server, _, secret = guarded
    url = f"ws://127.0.0.1:{server.port}/v1/stream"
    auth = {"Authorization": f"Bearer {secret}"}
    init = {"type": "init", "input": "audio", "rate": 8000, "encoding": "s16le"}
    with connect(url, additional_headers=auth) as sock:

        def ask(**fields):
            sock.send(json.dumps(fields))
            return json.loads(sock.recv(timeout=30))

        assert [ask(**init, context=i)["type"] for i in range(2)] == ["ready", "ready"]
        refused = ask(**init, context=2)
        assert (refused["type"], refused["code"]) == ("error", "rate_limit_exceeded")
        assert "all 2 streams of this key" in refused["message"]
        with pytest.raises(InvalidStatus) as caught:
            connect(url, additional_headers=auth).__enter__()
        assert caught.value.response.status_code == 429
        assert server.post("", audio_file(tone(0.1)), **auth)[0] == 429
        assert ask(type="cancel", context=0)["type"] == "cancelled"
        assert ask(**init, context=3)["type"] == "ready"
        assert server.app.pool.held_by("radio") == 2
    wait_for(lambda: server.app.pool.held_by("radio") == 0)


def test_contexts_are_requests_of_a_minute_too(tmp_path):
    secret = add_key(tmp_path / "keys.jsonl", "radio", 4, 3)
    keys = ApiKeys(read_keys(tmp_path / "keys.jsonl"), clock=lambda: 0.0)
    with Live(App(fake_vocoder(), threads=1, keys=keys)) as server:
        url = f"ws://127.0.0.1:{server.port}/v1/stream"
        with connect(url, additional_headers={"Authorization": f"Bearer {secret}"}) as sock:
            told = []
            for context in range(4):
                init = {"type": "init", "context": context, "input": "audio", "rate": 8000, "encoding": "s16le"}
                sock.send(json.dumps(init))
                told.append(json.loads(sock.recv(timeout=30)).get("code", "ready"))
        assert told == ["ready"] * 3 + ["rate_limit_exceeded"]


def test_methods_of_a_route_are_told(guarded):
    server, _, secret = guarded
    auth = {"Authorization": f"Bearer {secret}"}
    for method, path, status, name, value in [
        ("GET", "/v1/vocode", 405, "allow", "POST"),
        ("POST", "/livez", 405, "allow", "GET, HEAD"),
        ("GET", "/v1/stream", 426, "upgrade", "websocket"),
        ("HEAD", "/livez", 200, "content-type", "application/json"),
    ]:
        got, headers, _ = server.request(method, path, **auth)
        assert (got, headers[name]) == (status, value)
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://127.0.0.1:{server.port}/livez").__enter__()
    assert caught.value.response.status_code == 404


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8))
def test_a_segment_is_decoded_once(name):
    scope = {"path": "/v1/models/" + name, "raw_path": ("/v1/models/" + quote(name, safe="")).encode()}
    route = Router(ROUTES).find(scope)
    assert route is not None
    assert (route.template, scope["path_params"]) == ("/v1/models/{name}", {"name": name})


@given(st.text("/v1vocode%0Amls.{}\n ", max_size=16))
def test_a_path_is_a_routes_to_the_letter_or_nobodys(path):
    route = Router(ROUTES).find({"path": path, "raw_path": path.encode()})
    if route is not None and route.template != "/v1/models/{name}":
        assert path == route.template
