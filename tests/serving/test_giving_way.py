"""Who only holds a slot or memory gives way to others: bodies that come slowly, WebSockets that say nothing."""

from __future__ import annotations

import http.client

import numpy as np
import pytest

from serving.app import App
from serving.http import vocode
from serving.scheduling.memory import STREAM_BYTES
from serving.websocket import endpoint
from tests.serving.fakes import audio_file, fake_vocoder, tone
from tests.serving.live import Live, message, wait_for
from tests.serving.test_websocket import INIT, dial, hear, say

BODY = audio_file(tone(0.1))
LONG = audio_file(np.zeros(8000 * 60, np.int16))


@pytest.fixture(scope="module")
def vocoder():
    return fake_vocoder(batch=16)


def uploading(server, declared):
    """A request of which a first bit of the body has come."""
    sock = server.connect()
    sock.sendall(b"POST /v1/vocode HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % declared + BODY[:4])
    return sock


def answer_of(sock):
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    return answer.status, answer.read()


# Slots, or memory for a stream or for its body, is what a newcomer does not find.
SHORT = {
    "slot": ({"slots": 2}, len(BODY), BODY),
    "stream": ({"slots": 9, "request_memory": 3 * STREAM_BYTES}, STREAM_BYTES // 2, BODY),
    "body": ({"slots": 9, "request_memory": 4 * STREAM_BYTES}, STREAM_BYTES // 2, LONG),
}


@pytest.mark.parametrize("short", SHORT)
def test_the_oldest_body_that_comes_slowly_gives_way(vocoder, monkeypatch, short):
    options, declared, body = SHORT[short]
    with Live(App(vocoder, threads=1, **options)) as server:
        pool = server.app.pool
        first = uploading(server, declared)
        wait_for(lambda: pool.busy == 1)
        second = uploading(server, len(BODY) if short == "slot" else declared)
        wait_for(lambda: pool.busy == 2)
        refused = pool.admission.refused
        assert server.post("", body)[0] == 503  # it may yet come as it should
        monkeypatch.setattr(vocode, "_HASTE", 0.0)
        assert server.post("", body)[0] == 200
        assert pool.admission.refused == refused + (short != "body")
        status, told = answer_of(first)
        assert (status, "came too slowly while others waited" in message(told)) == (408, True)
        wait_for(lambda: pool.busy == 1)  # and the other goes on
        second.sendall(BODY[4:] if short == "slot" else b"x" * (declared - 4))
        assert answer_of(second)[0] == (200 if short == "slot" else 422)
        wait_for(lambda: (pool.busy, pool.memory.held) == (0, 0))
        for sock in (first, second):
            sock.close()


def test_a_body_that_comes_as_it_should_keeps_its_slot(vocoder, monkeypatch):
    monkeypatch.setattr(vocode, "_HASTE", 0.0)
    monkeypatch.setattr(vocode, "_SLOWEST", 0)
    with Live(App(vocoder, threads=1, slots=1)) as server:
        sock = uploading(server, len(BODY))
        wait_for(lambda: server.app.pool.busy == 1)
        assert server.post("", BODY)[0] == 503
        sock.sendall(BODY[4:])
        assert answer_of(sock)[0] == 200
        sock.close()


def test_a_websocket_that_says_nothing_keeps_no_slot_from_others(vocoder, monkeypatch):
    with Live(App(vocoder, threads=1, slots=1)) as server, dial(server) as sock:
        assert server.post("", BODY)[0] == 503
        monkeypatch.setattr(endpoint, "_HASTE", 0.0)
        assert server.post("", BODY)[0] == 200
        wait_for(lambda: server.app.pool.busy == 0)
        say(sock, **INIT)
        hear(sock, "ready")
        assert server.post("", BODY)[0] == 503  # whoever has a stream keeps it
