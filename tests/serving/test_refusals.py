"""Refusals that come before a body is read: its sender gets to read them, whatever was refused."""

from __future__ import annotations

import contextlib
import http.client
import threading

import pytest

from serving.app import App
from serving.edge.origin import OriginPolicy
from serving.http.keys import ApiKeys, add_key, read_keys
from tests.serving.fakes import fake_vocoder
from tests.serving.live import Live

SIZE = 4 << 20  # more than the kernel keeps for anybody


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.jsonl"
    key = add_key(path, "radio", 16)
    app = App(fake_vocoder(), threads=1, keys=ApiKeys(read_keys(path)), origins=OriginPolicy())
    with Live(app) as live:
        live.key = key
        yield live


@pytest.mark.parametrize("framing", [f"Content-Length: {SIZE}", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("POST /v1/vocode?format=pcm", {"Authorization": "Bearer x"}, 401),
        ("POST /v1/vocode?format=pcm", {"Origin": "http://evil.example"}, 403),
        ("POST /v1/vocode?format=pcm", {"Host": "evil.example"}, 421),
        ("POST /v1/vocode?format=nonsense", {}, 422),
        ("POST /v1/vocode?voice=none", {}, 404),
        ("POST /nowhere", {}, 404),
        ("POST /v1/models", {}, 405),
        ("POST /v1/audio/speech", {}, 413),
    ],
)
def test_whoever_is_refused_early_gets_to_read_why(server, target, headers, status, framing):
    """The sender goes on with its body until it is all sent, and reads only then, as simple clients do."""
    given = {"Host": "localhost", "Authorization": f"Bearer {server.key}"} | headers
    lines = [f"{target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), framing, "", ""]
    block = bytes(1 << 16)
    framed = block if "Length" in framing else b"10000\r\n" + block + b"\r\n"
    heard = bytearray()
    with contextlib.closing(server.connect()) as sock:
        sock.sendall("\r\n".join(lines).encode())
        for _ in range(SIZE >> 16):
            sock.sendall(framed)  # a reset would be an error here
        if "chunked" in framing:
            sock.sendall(b"0\r\n\r\n")
        while piece := sock.recv(1 << 16):
            heard += piece
    head, _, body = bytes(heard).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"connection: close" in head.lower()
    assert body


def test_a_refused_sender_is_not_listened_to_for_long(server):
    """One who goes on sending and never ends holds the connection for a moment only."""
    with contextlib.closing(server.connect()) as sock:
        sock.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n")
        ended = threading.Event()

        def send() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock.sendall(bytes(1000))
                    if ended.wait(0.01):
                        return

        thread = threading.Thread(target=send)
        thread.start()
        with contextlib.suppress(ConnectionError):
            while sock.recv(1 << 16):
                pass
        ended.set()
        thread.join(10)
        assert not thread.is_alive()


def test_a_refusal_without_a_body_keeps_the_connection(server):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        for _ in range(3):
            connection.request("GET", "/v1/models/none", headers={"Authorization": f"Bearer {server.key}"})
            answer = connection.getresponse()
            assert answer.read()
            assert (answer.status, answer.getheader("Connection")) == (404, None)
