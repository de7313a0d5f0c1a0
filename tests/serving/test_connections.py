"""Connections that are held for nothing: how many there may be, and how long each may take over what."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import connect

from serving.app import App
from serving.connections import budget as connections
from serving.connections.budget import ConnectionBudget, ConnectionLimits, State
from serving.streams.sound import SoundRequest
from tests.serving.fakes import audio_file, everything, fake_vocoder, tone
from tests.serving.live import Live, make_certificate, wait_for
from tests.serving.test_websocket import INIT

POST = b"POST /v1/vocode?format=pcm HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n"
HANDSHAKE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)


class Plug:
    """A connection without a socket."""

    def __init__(self, address: str) -> None:
        self.address, self.waiting, self.dropped = address, True, False

    def peer(self) -> str:
        return self.address

    def state(self) -> tuple[State, object]:
        return (State.HEAD if self.waiting else State.ANSWER), None

    def drop(self) -> None:
        self.dropped = True


@given(
    st.lists(st.tuples(st.sampled_from("123"), st.sampled_from(["come", "ask", "go"]), st.integers(0, 99)), max_size=80)
)
def test_no_more_are_held_than_there_may_be_and_only_those_that_wait_are_dropped(steps):
    async def run() -> None:
        budget, held = ConnectionBudget(ConnectionLimits(total=8, each=4)), list[Plug]()
        for host, step, which in steps:
            if step == "come":
                plug = Plug(f"10.0.0.{host}")
                near = [one for one in held if one.address == plug.address]
                crowd = near if len(near) >= 4 else held
                full = len(near) >= 4 or len(held) >= 8
                assert budget.enter(plug) == (not full or any(one.waiting for one in crowd))
                held = [
                    one for one in [*held, plug] if not one.dropped and (one is not plug or plug in budget._entries)
                ]
                assert plug in held or all(not one.waiting for one in crowd)
            elif held:
                plug = held[which % len(held)]
                plug.waiting = False
                if step == "go":
                    budget.leave(plug)
                    budget.leave(plug)
                    held.remove(plug)
            assert budget.held == len(held) <= 8
            assert all(sum(one.address == plug.address for one in held) <= 4 for plug in held)
        for plug in held:
            budget.leave(plug)
        assert (budget.held, budget._by_origin) == (0, {})

    asyncio.run(run())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("10.0.0.1", "10.0.0.1", True), ("10.0.0.1", "10.0.0.2", False), ("2001:db8::1", "2001:db8::ffff:2", True),
     ("2001:db8::1", "2001:db8:0:1::1", False), ("fe80::1%eth0", "fe80::2%eth0", True), ("", "", False),
     ("192.168.7.1", "192.168.7.1", False), ("192.168.7.1", "192.168.7.2", False)],
)  # fmt: skip
def test_what_counts_as_one_address(one, other, same):
    async def run() -> None:
        budget = ConnectionBudget(ConnectionLimits(each=1), proxies=["192.168.7.0/24"])
        first, second = Plug(one), Plug(other)
        assert budget.enter(first)
        assert budget.enter(second)
        assert first.dropped == same

    asyncio.run(run())


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_an_ipv4_client_of_a_socket_for_both_kinds_is_itself():
    budget = ConnectionBudget(ConnectionLimits(each=1), proxies=["127.0.0.2"])
    both = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    app = App(fake_vocoder(), threads=1, connections=budget)
    with Live(app, listener=both) as server, contextlib.ExitStack() as held:
        for number, host in enumerate(["127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.3"], 1):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port), source_address=(host, 0)))
            wait_for(lambda number=number: budget.held == number)
        assert {one.client[0] for one in budget._entries} == {"127.0.0.1", "127.0.0.2", "127.0.0.3"}
        assert not budget.dropped


def is_closed(sock):
    """Whether the server has ended a connection, whatever it said before."""
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


def test_silent_and_half_sent_connections_hold_nobody_up():
    """Hundreds are opened beside an honest listener; all that is counted is who is answered, and how many are held."""
    vocoder, body = fake_vocoder(batch=16), audio_file(tone(0.5))
    want = b"".join(everything(vocoder, SoundRequest(form="pcm"), body))
    vocoder.runtime.gate, vocoder.runtime.gate_from = threading.Event(), len(vocoder.runtime.blocks) + 1
    budget = ConnectionBudget(ConnectionLimits(total=48, each=32))
    beginnings = [
        b"",
        b"G",
        b"GET /livez HTTP/1.1\r\n",
        b"POST /v1/vocode HTTP/1.1\r\nHost: x\r\nA: b",
        HANDSHAKE[:90],
    ]
    with Live(App(vocoder, threads=1, slots=4, connections=budget)) as server:
        listener = server.begin(body)
        wait_for(lambda: server.app.pool.busy == 1)
        plugs = []
        for number in range(400):
            plugs.append(server.connect())
            plugs[-1].sendall(beginnings[number % len(beginnings)])
            if number % 40 == 0:
                assert server.request("GET", "/livez")[0] == 200
                assert budget.held <= 32
        vocoder.runtime.gate.set()
        assert server.post("format=pcm", body)[2] == want
        received = b""
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += listener.recv(1 << 16)
        assert budget.dropped["crowded"] >= 400 - 32
        assert budget.dropped["refused"] == 0
        assert 'reason="crowded"' in server.request("GET", "/metrics")[2].decode()
        for sock in [*plugs, listener]:
            sock.close()
        wait_for(lambda: budget.held == 0)


def test_where_all_have_requests_under_way_one_more_is_told_so():
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.gate = threading.Event()
    budget = ConnectionBudget(ConnectionLimits(total=3))
    with Live(App(vocoder, threads=1, slots=4, connections=budget)) as server:
        held = [server.begin(audio_file(tone(0.1))) for _ in range(3)]
        wait_for(lambda: server.app.pool.busy == 3)
        status, headers, _ = server.request("GET", "/livez")
        assert (status, headers["retry-after"], headers["x-content-type-options"]) == (503, "1", "nosniff")
        vocoder.runtime.gate.set()
        for sock in held:
            sock.close()
        wait_for(lambda: budget.held == 0)
        text = server.request("GET", "/metrics")[2].decode()
        assert 'seqgen_requests_total{route="-",status="503"} 1' in text


IDLE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
HELD = {
    "silent": (b"", "head"),
    "half a line": (b"GET /li", "head"),
    "half a head": (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: ", "head"),
    "idle": (IDLE, "head"),
    "idle with half a request": (IDLE + b"GET", "head"),
    "no body": (POST, "body"),
    "half a body": (POST + bytes(3999), "body"),
    "half a chunk": (POST.replace(b"Content-Length: 4000", b"Transfer-Encoding: chunked") + b"4\r\nab", "body"),
    "no body for a page": (POST.replace(b"vocode?format=pcm", b"audio/speech"), "body"),
    "no body for a GET": (IDLE.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n"), "body"),
    "no body for nothing": (POST.replace(b"vocode", b"none"), "body"),
    "half a handshake": (HANDSHAKE[:-9], "head"),
}


@pytest.fixture(scope="module")
def hurried():
    """A server whose connections may take a fifth of a second over anything."""
    connections_look, connections._LOOK = connections._LOOK, 0.02
    budget = ConnectionBudget(ConnectionLimits(head=0.2, body=0.2, reader=0.2, unsent=1 << 16))
    with Live(App(fake_vocoder(batch=16), threads=1, slots=4, connections=budget), send_buffer=1 << 12) as server:
        yield server, budget
    connections._LOOK = connections_look


@pytest.mark.parametrize("case", HELD)
def test_what_does_not_go_on_is_ended(hurried, case):
    server, budget = hurried
    sent, why = HELD[case]
    before = budget.dropped[why]
    with server.connect() as sock:
        sock.sendall(sent)
        assert is_closed(sock)
    wait_for(lambda: budget.held == 0)
    assert budget.dropped[why] == before + 1
    wait_for(lambda: server.app.pool.busy == 0)


def test_drops_of_a_head_do_not_buy_time(hurried):
    server, budget = hurried
    with server.connect() as sock:
        sock.settimeout(0.02)
        for byte in b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + bytes([65]) * 3000:
            try:
                sock.sendall(bytes([byte]))
                if not sock.recv(100):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            raise AssertionError("three thousand bytes came one by one")
    wait_for(lambda: budget.held == 0)


@pytest.mark.parametrize("sent", [IDLE.replace(b"livez", b"openapi.json") * 50, IDLE.replace(b"livez", b"demo.js") * 2])
def test_who_does_not_read_is_ended(hurried, sent):
    server, budget = hurried
    with server.connect(receive_buffer=1 << 12) as sock:
        sock.sendall(sent)
        wait_for(lambda: budget.held == 1)
        wait_for(lambda: budget.held == 0)  # nothing was read


def frame(kind, payload):
    """A frame of a WebSocket, under a mask of zeros."""
    return bytes([0x80 | kind, 0xFF]) + len(payload).to_bytes(8, "big") + bytes(4) + payload


@pytest.mark.parametrize("socket_too", [False, True])
def test_who_reads_slowly_is_waited_for_anew_each_time(socket_too):
    """A player reads as fast as it plays: there is always more that waits for it, for however long."""
    budget = ConnectionBudget()
    with (
        Live(App(fake_vocoder(batch=16), threads=1, slots=1, connections=budget), send_buffer=1 << 12) as server,
        server.connect(receive_buffer=1 << 13) as sock,
    ):
        if socket_too:
            sock.sendall(HANDSHAKE)
            assert b"101" in sock.recv(1 << 10)
            init = {**INIT, "format": "f32", "output_rate": 48000}
            sock.sendall(frame(1, json.dumps(init).encode()) + frame(2, bytes(4 + 40 * 5000)))
        else:
            body = audio_file(np.zeros(8000 * 60, np.int16), form="FLAC")
            sock.sendall(POST.replace(b"4000", b"%d" % len(body)) + body)
        wait_for(lambda: budget.held == 1)
        one = next(iter(budget._entries))
        wait_for(lambda: one.state()[0] is State.READER)
        first, left = one.state(), 200_000
        while left > 0:
            left -= len(sock.recv(left))
        wait_for(lambda: one.state()[0] is State.READER)
        assert one.state() != first


def test_pings_of_who_does_not_read_are_not_answered_without_end(hurried):
    server, budget = hurried
    before, sent = budget.dropped["unsent"] + budget.dropped["reader"], 0
    ping = b"\x89\xfd" + bytes(4) + os.urandom(125)
    with server.connect(receive_buffer=1 << 12) as sock:
        sock.sendall(HANDSHAKE)
        assert b"101" in sock.recv(1 << 10)
        with contextlib.suppress(ConnectionError):
            while sent < 64 << 20:
                sent += sock.send(ping * 500)
    assert sent < 64 << 20
    wait_for(lambda: budget.held == 0)
    assert budget.dropped["unsent"] + budget.dropped["reader"] == before + 1


def test_descriptors_are_counted(monkeypatch):
    given = {"limits": (256, 512)}
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: given["limits"])
    monkeypatch.setattr(connections.resource, "setrlimit", lambda _, limits: given.update(limits=limits))
    assert connections.most_connections(100) == 100
    assert connections.most_connections(1024) == 512 - 192
    assert given["limits"] == (512, 512)


HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(40)
"""Beginning of a TLS handshake."""


def test_a_handshake_that_does_not_go_on_holds_nobody_up(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "_LOOK", 0.02)
    cert, key = make_certificate(tmp_path)
    budget = ConnectionBudget(ConnectionLimits(total=12, head=0.3, body=0.3))
    app = App(fake_vocoder(batch=16), threads=1, slots=4, connections=budget)
    trust = ssl.create_default_context(cafile=str(cert))

    def ask(sent):
        with trust.wrap_socket(server.connect(), server_hostname="127.0.0.1") as sock:
            sock.sendall(sent)
            return sock.recv(1 << 16)

    with Live(app, ssl_certfile=cert, ssl_keyfile=key) as server:
        plugs = [server.connect() for _ in range(60)]
        for number, sock in enumerate(plugs):
            with contextlib.suppress(ConnectionError):
                sock.sendall([b"", HELLO, b"GET / HTTP/1.1\r\n\r\n", b"\0"][number % 4])
        for sent in (IDLE, IDLE * 3):
            assert ask(sent).startswith(b"HTTP/1.1 200")
            assert budget.held <= 12
        assert all(is_closed(sock) for sock in plugs)
        assert budget.dropped["crowded"] >= 10
        for sent in (b"", b"GET", POST):
            with trust.wrap_socket(server.connect(), server_hostname="127.0.0.1") as sock:
                sock.sendall(sent)
                with contextlib.suppress(ssl.SSLError):
                    assert is_closed(sock)
        for sock in plugs:
            sock.close()
        wait_for(lambda: budget.held == 0)


def test_tls_carries_sound_and_sockets(tmp_path):
    cert, key = make_certificate(tmp_path)
    body, vocoder = audio_file(tone(0.5)), fake_vocoder(batch=16)
    trust = ssl.create_default_context(cafile=str(cert))
    with Live(App(vocoder, threads=1), ssl_certfile=cert, ssl_keyfile=key) as server:
        head = f"POST /v1/vocode?format=pcm HTTP/1.0\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with trust.wrap_socket(server.connect(), server_hostname="127.0.0.1") as sock:
            sock.sendall(head.encode() + body)
            answer = b""
            while more := sock.recv(1 << 16):
                answer += more
        assert answer.partition(b"\r\n\r\n")[2] == b"".join(everything(vocoder, SoundRequest(form="pcm"), body))
        with connect(f"wss://127.0.0.1:{server.port}/v1/stream", ssl=trust) as sock:
            sock.send('{"type": "init", "input": "audio", "rate": 8000, "encoding": "f32le"}')
            assert "ready" in sock.recv(timeout=30)
        wait_for(lambda: server.app.connections.held == 0)


FEW = """
import resource, sys
from serving.app import App
from serving.connections.budget import ConnectionBudget, ConnectionLimits, most_connections
from tests.serving.fakes import fake_vocoder
from tests.serving.live import Live

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
budget = ConnectionBudget(ConnectionLimits(total=most_connections(1024)))
with Live(App(fake_vocoder(batch=16), threads=1, connections=budget)) as server:
    print(server.port, budget.limits.total, flush=True)
    sys.stdin.read()
"""


def test_connections_that_come_all_at_once_leave_descriptors_for_everybody(repository):
    """More come than there are descriptors for, before the server has seen one of them."""
    process = subprocess.Popen(
        [sys.executable, "-c", FEW],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        port, total = map(int, process.stdout.readline().split())
        assert total == 256 - 192
        process.send_signal(signal.SIGSTOP)
        plugs = [socket.socket() for _ in range(300)]
        for sock in plugs:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", port))
        process.send_signal(signal.SIGCONT)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", "/livez")
            assert connection.getresponse().status == 200
        for sock in plugs:
            sock.close()
        _, told = process.communicate(timeout=60)
    assert b"Too many open files" not in told
    assert process.returncode == 0
