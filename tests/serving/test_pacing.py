"""Input of connections is parsed whole and in order, in turns that others do not feel."""

from __future__ import annotations

import http.client
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.app import App
from serving.connections.pacing import _SMALLEST, _TURN, PacedInput
from serving.streams.sound import SoundRequest
from tests.serving.fakes import audio_file, everything, fake_vocoder, tone
from tests.serving.live import Live


class Loop:
    """Event loop whose time passes while something is parsed."""

    def __init__(self) -> None:
        self.now, self.soon = 0.0, deque()

    def time(self) -> float:
        return self.now

    def call_soon(self, call):
        handle = _Handle(call)
        self.soon.append(handle)
        return handle

    def turn(self) -> None:
        handle = self.soon.popleft()
        if not handle.cancelled:
            handle.call()


class _Handle:
    def __init__(self, call) -> None:
        self.call, self.cancelled = call, False

    def cancel(self) -> None:
        self.cancelled = True


class Transport:
    def __init__(self) -> None:
        self.paused = self.closing = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.closing


class Parser(PacedInput):
    """Parser that takes so many seconds for a byte, and has room for so many."""

    def __init__(self, cost: float, room: int) -> None:
        super().__init__()
        self.transport, self.loop, self.cost, self.room, self.parsed = Transport(), Loop(), cost, room, b""

    def parse(self, data: bytes) -> None:
        self.parsed += data
        self.room -= len(data)
        self.loop.now += self.cost * len(data)

    def may_parse(self) -> bool:
        return self.room > 0


@settings(max_examples=60)
@given(
    st.lists(st.binary(min_size=1, max_size=9).map(lambda some: some * 2500), min_size=1, max_size=6),
    st.sampled_from([1e-9, 1e-7, 1e-5]),
    st.lists(st.integers(1, 30_000), max_size=50),
)
def test_all_is_parsed_in_order_and_no_turn_is_long(pieces, cost, rooms):
    parser, coming, given_room = Parser(cost, 10_000), deque(pieces), deque(rooms)
    while coming or parser.loop.soon or len(parser.parsed) < sum(map(len, pieces)):
        if parser.loop.soon:
            begun = parser.loop.now
            parser.loop.turn()
            # A turn, and one piece that was begun within it: a large one only where such pieces were quick.
            assert parser.loop.now - begun <= _TURN + max(cost * _SMALLEST, 0.001)
        elif not parser.may_parse():
            assert parser.transport.paused
            parser.room = given_room.popleft() if given_room else 1 << 30
            parser.go_on()
        else:
            assert not parser.transport.paused, "nothing would ever come again"
            parser.take_input(coming.popleft())
    assert parser.parsed == b"".join(pieces)
    assert parser.transport.paused == (not parser.may_parse())


def test_nothing_is_parsed_of_a_connection_that_is_over():
    parser = Parser(1.0, 1 << 30)
    parser.take_input(bytes(100_000))
    parsed = parser.parsed
    parser.transport.closing = True
    parser.loop.turn()
    parser.forget_input()
    assert parser.parsed[len(parsed) + _SMALLEST :] == b""
    assert not parser.loop.soon


def test_a_body_in_chunks_of_a_byte_is_the_same_body():
    vocoder = fake_vocoder(batch=16)
    with Live(App(vocoder, threads=1)) as server:
        for seconds, size in ((0.06, 1), (0.5, 33), (0.5, 5000), (0.5, 1 << 20)):
            body = audio_file(tone(seconds))
            pieces = [body[start : start + size] for start in range(0, len(body), size)]
            sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            with server.connect() as sock:
                sock.sendall(
                    b"POST /v1/vocode?format=pcm HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + sent
                )
                answer = http.client.HTTPResponse(sock)
                answer.begin()
                assert answer.read() == b"".join(everything(vocoder, SoundRequest(form="pcm"), body))
        with server.connect() as sock:
            one = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
            sock.sendall(one * 999 + one.replace(b"Host", b"Connection: close\r\nHost"))
            answers = b""
            while more := sock.recv(1 << 16):
                answers += more
            assert answers.count(b'{"status": "alive"}') == 1000
