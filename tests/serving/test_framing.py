"""Where requests and answers end: one reading of a request's length, and no broken answer that looks whole."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter

import pytest

from serving.app import App
from serving.edge import whole
from serving.sound import opus
from serving.sound.formats import FORMATS
from serving.streams.sound import SoundRequest
from tests.serving.fakes import FakeRuntime, audio_file, everything, fake_vocoder, tone
from tests.serving.live import Live, wait_for

BODY = audio_file(tone(1.0))
FORMS = [form for form in FORMATS if form != "opus" or opus.library()]


@pytest.fixture(scope="module")
def one():
    vocoder = fake_vocoder(batch=16)
    with Live(App(vocoder, threads=1, slots=4)) as server:
        yield server, vocoder


@pytest.fixture
def served(one):
    """A server whose voice does what it should until a test says otherwise."""
    server, vocoder = one
    wait_for(lambda: server.app.pool.busy == 0)
    vocoder.runtime = FakeRuntime(vocoder.runtime.bundle)
    return one


def request_for(form, version, accept="*/*", connection="close"):
    head = (
        f"POST /v1/vocode?format={form} HTTP/{version}\r\nHost: x\r\nAccept: {accept}\r\nConnection: {connection}\r\n"
    )
    return f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


def talk(server, sent, *, half_close=False):
    """What comes back until the end: status, headers, the rest, and whether the connection ended in order."""
    with server.connect() as sock:
        sock.sendall(sent)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        data, clean = b"", True
        try:
            while more := sock.recv(1 << 16):
                data += more
        except ConnectionError:
            clean = False
    if not data:
        return 0, {}, b"", clean
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), rest, clean


def unchunked(rest):
    """Body of an answer in chunks, and whether its end mark came."""
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if not int(size, 16):
            return body, True
        if len(rest) < int(size, 16) + 2:
            break
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body, False


def body_of(headers, rest):
    """Body of an answer, and whether it is whole as its headers tell."""
    if "content-length" in headers:
        return rest, len(rest) == int(headers["content-length"])
    if headers.get("transfer-encoding") == "chunked":
        return unchunked(rest)
    return rest, None  # nothing tells


@pytest.mark.parametrize("half_close", [False, True])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("form", FORMS)
def test_every_format_comes_whole_and_says_so(served, form, version, half_close):
    server, vocoder = served
    status, headers, rest, clean = talk(server, request_for(form, version), half_close=half_close)
    assert (status, clean) == (200, True)
    body, told = body_of(headers, rest)
    assert told is True
    assert body == b"".join(everything(vocoder, SoundRequest(form=form), BODY))
    assert ("content-length" in headers) == (version == "1.0")


@pytest.mark.parametrize("half_close", [False, True])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("form", FORMS)
def test_no_format_that_breaks_off_looks_whole(served, form, version, half_close):
    server, vocoder = served
    vocoder.runtime.fail_after = 6000
    status, headers, rest, _ = talk(server, request_for(form, version), half_close=half_close)
    if version == "1.0":
        assert status == 500
        assert json.loads(rest)["error"]["type"] == "server_error"
    else:
        assert (status, body_of(headers, rest)[1]) == (200, False)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("failing", [False, True])
def test_events_tell_of_their_end_themselves(served, version, failing):
    server, vocoder = served
    vocoder.runtime.fail_after = 4000 if failing else 1 << 60
    _, headers, rest, _ = talk(server, request_for("pcm", version, accept="text/event-stream"))
    assert headers["content-type"] == "text/event-stream"
    last = (rest if version == "1.0" else unchunked(rest)[0]).decode().strip().split("\n\n")[-1]
    assert ("error" in last) == failing
    assert ("speech.audio.done" in last) == (not failing)


@pytest.mark.parametrize("failures", [1, 99])
def test_an_answer_for_http_1_0_goes_on_the_disk_and_gives_its_slot_back(served, monkeypatch, failures):
    server, vocoder = served
    monkeypatch.setattr(whole, "_IN_MEMORY", 1000)
    want = b"".join(everything(vocoder, SoundRequest(form="pcm"), BODY))
    assert talk(server, request_for("pcm", "1.0"))[2] == want

    left, write = [failures], whole.asyncio.to_thread

    async def full(*given):
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(28, "No space left on device")
        return await write(*given)

    monkeypatch.setattr(whole.asyncio, "to_thread", full)
    status, _, rest, _ = talk(server, request_for("pcm", "1.0"))
    assert (status, json.loads(rest)["error"]["code"]) == (507, "insufficient_storage")
    monkeypatch.undo()
    wait_for(lambda: server.app.pool.busy == 0)


@pytest.mark.parametrize("read", [0, 100])
@pytest.mark.parametrize("form", ["pcm", "wav"])
def test_who_shuts_down_and_then_goes_keeps_no_slot(served, form, read):
    """After the end of input nobody hears of the other end; what is sent does."""
    server, vocoder = served
    vocoder.runtime.gate, vocoder.runtime.gate_from = threading.Event(), len(vocoder.runtime.blocks) + 3
    sock = server.connect()
    sock.sendall(request_for(form, "1.1"))
    if read:
        assert sock.recv(read)
    sock.shutdown(socket.SHUT_WR)
    wait_for(lambda: len(vocoder.runtime.blocks) >= 2)
    while read and sock.recv(1 << 16, socket.MSG_DONTWAIT | socket.MSG_PEEK):
        break
    sock.close()
    vocoder.runtime.gate.set()
    vocoder.runtime.delay = 0.01
    wait_for(lambda: server.app.pool.busy == 0)
    assert sum(vocoder.runtime.blocks) < 200, "all of it was made for nobody"


def test_who_hangs_up_in_the_middle_is_noticed_before_the_next_sound(served):
    server, vocoder = served
    vocoder.runtime.gate, vocoder.runtime.gate_from = threading.Event(), len(vocoder.runtime.blocks) + 2
    sock = server.connect()
    sock.sendall(request_for("pcm", "1.1"))
    answer = b""
    while answer.count(b"\r\n") < 15 and len(answer) < 100:
        answer += sock.recv(1 << 16)
    wait_for(lambda: len(vocoder.runtime.blocks) >= 2)
    sock.close()  # while the worker is held at the gate, so that no sound can tell
    lease = next(iter(server.app.pool.leases))
    wait_for(lambda: lease.closed)
    vocoder.runtime.gate.set()


def test_requests_sent_together_are_answered_before_a_half_closed_connection_ends(served):
    server, _ = served
    one = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    _, _, rest, _ = talk(server, one * 3, half_close=True)
    assert rest.count(b"alive") == 3
    _, _, rest, _ = talk(server, one + b"GET /li", half_close=True)
    assert rest.count(b"alive") == 1


def test_a_body_that_is_cut_short_is_no_request(served):
    server, _ = served
    talk(server, request_for("pcm", "1.1")[:-9], half_close=True)
    wait_for(lambda: server.app.pool.busy == 0)
    assert server.app.pool.admission.load == [0.0]


LINE = b"POST /v1/vocode?format=pcm HTTP/1.1\r\nHost: x\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
SMUGGLED = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
TWO_READINGS = {
    "both": LINE + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "both, the other way round": LINE + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + CHUNKS,
    "both, without a body": LINE + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both on a GET": LINE.replace(b"POST", b"GET")
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "both, in other letters": LINE + LENGTH.upper() + b"TRANSFER-ENCODING: Chunked\r\n\r\n" + CHUNKS,
    "chunks in HTTP/1.0": LINE.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "chunks twice": LINE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "chunks of chunks": LINE + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS,
    "identity": LINE + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked after gzip": LINE + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    "a space before the colon": LINE + b"Transfer-Encoding : chunked\r\n" + LENGTH + b"\r\n" + BODY,
    "two lengths": LINE + LENGTH + b"Content-Length: 1\r\n\r\n" + BODY,
    "a list of lengths": LINE + b"Content-Length: 3, 4\r\n\r\nabcd",
    "a signed length": LINE + b"Content-Length: +4\r\n\r\nabcd",
    "a negative length": LINE + b"Content-Length: -4\r\n\r\nabcd",
    "a length in hexadecimal": LINE + b"Content-Length: 0x4\r\n\r\nabcd",
    "crumbs": LINE + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 1030,
    "no number of a chunk": LINE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a chunk longer than it says": LINE + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
    "two hosts": LINE + b"Host: y\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "no version": b"GET /livez\r\n\r\n",
    "a NUL in a header": LINE + b"A: \0\r\n\r\n",
    "a bare CR in a header": LINE + b"A: b\rContent-Length: 3\r\n\r\n",
    "a head too long": LINE + b"A: " + b"b" * 40_000,
}


def answers(server):
    text = server.request("GET", "/metrics")[2].decode()
    rows = re.findall(r'seqgen_requests_total\{route="([^"]*)",status="(\d+)"\} (\d+)', text)
    return Counter({(route, status): int(count) for route, status, count in rows})


@pytest.mark.parametrize("case", TWO_READINGS)
def test_a_request_that_ends_in_two_places_is_refused_and_what_follows_is_not_read(served, caplog, case):
    server, _ = served
    before = answers(server)
    status, headers, rest, _ = talk(server, TWO_READINGS[case] + SMUGGLED)
    assert status == 400, rest
    assert headers["connection"] == "close"
    assert headers["x-content-type-options"] == "nosniff"
    assert json.loads(rest)["error"]["type"] == "invalid_request_error"
    assert not [record for record in caplog.records if record.exc_info]
    after = answers(server)
    assert after["-", "400"] == before["-", "400"] + 1
    assert after["/metrics", "200"] == before["/metrics", "200"] + 1
    wait_for(lambda: server.app.pool.busy == 0)


UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize(
    "change",
    [(b"GET", b"POST"), (b"13", b"8"), (b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b""),
     (b"HTTP/1.1", b"HTTP/1.0"), (b"websocket\r", b"h2c\r"), (b"AAAAAAAAAAAAAAAAAAAAAA==", b"no key"),
     (b"x\r", b"x\r\nContent-Length: 2\r"), (b"x\r", b"x\r\nTransfer-Encoding: chunked\r"),
     (b"x\r", b"x\r\nCookie: " + b"c" * 9000 + b"\r"), (b"stream", b"stream?voice=" + b"v" * 9000),
     (b"x\r", b"x\r\n" + b"A: b\r\n" * 150 + b"C: d\r")],
)  # fmt: skip
def test_a_handshake_that_is_none_is_answered_in_json(served, caplog, change):
    server, _ = served
    with server.connect() as sock:
        sock.sendall(UPGRADE.replace(*change))
        answer = b""
        while not answer.endswith(b"}}") and (data := sock.recv(1 << 16)):
            answer += data
    assert answer.split()[1] in (b"426", b"400", b"405", b"414", b"431")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
    assert b"nosniff" in answer
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    ("frame", "code"),
    [(b"\x81\x01a", 1002), (b"\x81\x82\0\0\0\0\xff\xff", 1007), (b"\xc1\x80\0\0\0\0", 1002),
     (b"\x82\xff" + bytes([0, 0, 1, 0, 0, 0, 0, 0]) + bytes(4), 1009), (b"\x80\x80\0\0\0\0", 1002),
     (b"\x88\x82\0\0\0\0\0\1", 1002), (b"\x89\xfe\0\x80" + bytes(132), 1002), (b"\x83\x80\0\0\0\0", 1002)],
)  # fmt: skip
def test_frames_that_are_none_end_their_connection_without_a_traceback(served, caplog, frame, code):
    server, _ = served
    with server.connect() as sock:
        sock.sendall(UPGRADE)
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 101 ")
        wait_for(lambda: server.app.pool.busy == 1)
        sock.sendall(frame)
        told = b""
        while data := sock.recv(1 << 16):
            told += data
    assert (told[0], int.from_bytes(told[2:4], "big")) == (0x88, code)
    wait_for(lambda: server.app.pool.busy == 0)
    assert not [record for record in caplog.records if record.exc_info]
