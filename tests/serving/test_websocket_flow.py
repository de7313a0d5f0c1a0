"""Much input at once over real sockets: it arrives whole, and nobody's control waits behind it."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time

import numpy as np
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from seqgen.audio.features import log_mel
from seqgen.audio.io import pcm16
from serving.app import App
from serving.client import Client, ServerError, bench
from serving.client.backoff import Backoff
from serving.client.protocol import ClientProtocol
from serving.connections.budget import ConnectionBudget
from serving.connections.server import DrainingServer
from serving.http.protocol import RequestLimits
from serving.scheduling import batcher
from serving.websocket.protocol import FIRST_CREDIT
from tests.serving.fakes import SPEC, fake_vocoder, tone
from tests.serving.live import Live, wait_for
from tests.serving.test_websocket import dial, expected, hear, say

AUDIO = pcm16(np.tile(tone(10.0), 10))  # longer than any keep-alive lets pass when it is made as it is heard


@pytest.fixture
def unhurried(monkeypatch):
    """A server whose listeners take sound as fast as it can be made."""
    monkeypatch.setattr(batcher, "MAX_LEAD", 1e9)
    vocoder = fake_vocoder(batch=16)
    with Live(App(vocoder, threads=1)) as server:
        yield vocoder, server


@pytest.fixture(scope="module")
def whole():
    return expected(fake_vocoder(batch=16), log_mel(AUDIO.astype(np.float32) / 32768, SPEC))[: AUDIO.nbytes]


def test_minutes_at_once_arrive_whole_by_the_clients(unhurried, whole):
    _, server = unhurried
    client = Client(f"http://127.0.0.1:{server.port}", timeout=30)

    async def listen():
        async with client.astream(rate=8000) as stream:
            await stream.send(AUDIO)
            await stream.finish()
            return b"".join([sound async for sound in stream])

    with client.stream(rate=8000) as stream:
        stream.send(AUDIO)  # in one piece, and only then is anything read
        stream.finish()
        assert b"".join(stream) == whole
    assert asyncio.run(listen()) == whole


def test_minutes_at_once_arrive_whole_by_a_client_that_knows_nothing_of_credit(unhurried, whole):
    _, server = unhurried
    with dial(server) as sock:
        say(sock, type="init", input="audio", rate=8000)
        for start in range(0, len(AUDIO), 8000):
            sock.send(bytes(4) + AUDIO[start : start + 8000].tobytes())
        say(sock, type="close")
        hear(sock, "ready")
        assert hear(sock, "flushed")[0] == whole


@pytest.mark.parametrize("credit", [False, True])
def test_cancel_passes_a_minute_of_input_that_nobody_takes(credit):
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.gate = threading.Event()  # no sound is made
    with Live(App(vocoder, threads=1)) as server:
        if credit:
            with Client(f"http://127.0.0.1:{server.port}", timeout=30).stream(rate=8000) as stream:
                stream.send(AUDIO)
                stream.finish()
                stream.cancel()
                assert list(stream) == []
        else:
            with dial(server) as sock:
                say(sock, type="init", input="audio", rate=8000)
                for start in range(0, len(AUDIO), 800):
                    sock.send(bytes(4) + AUDIO[start : start + 800].tobytes())
                say(sock, type="cancel")
                hear(sock, "ready")
                hear(sock, "cancelled")
        vocoder.runtime.gate.set()
        wait_for(lambda: server.app.pool.busy == 0 and server.app.pool.memory.held == 0)


def test_input_without_end_is_refused_in_words_and_costs_no_other_context():
    vocoder = fake_vocoder(batch=16)
    vocoder.runtime.gate, vocoder.runtime.gate_from = threading.Event(), 1
    app = App(vocoder, threads=1, limits=RequestLimits(waiting=1 << 20))
    with Live(app) as server, dial(server) as sock:
        say(sock, type="init", input="audio", rate=8000, context=1)
        hear(sock, "ready", 1)
        say(sock, type="init", input="audio", rate=8000)
        for _ in range(40):
            sock.send(bytes(4 + 65536))
        hear(sock, "ready")
        while not isinstance(message := sock.recv(timeout=30), str):
            pass
        assert json.loads(message)["code"] == "too_much_input"
        vocoder.runtime.gate.set()
        sock.send((1).to_bytes(4, "little") + AUDIO[:800].tobytes())
        say(sock, type="flush", context=1)
        assert len(hear(sock, "flushed", 1)[0]) == 1600


def test_a_stream_is_resumed_behind_more_sound_than_input_may_lie_ahead(unhurried, whole):
    _, server = unhurried
    with dial(server) as sock:
        say(sock, type="init", input="audio", rate=8000)
        token = hear(sock, "ready")[1]["resume"]
    offset = len(whole) - 1000
    with dial(server) as sock:
        say(sock, type="init", resume=token, offset=offset)
        for start in range(0, len(AUDIO), 8000):
            sock.send(bytes(4) + AUDIO[start : start + 8000].tobytes())
        say(sock, type="close")
        hear(sock, "ready")
        assert hear(sock, "flushed")[0] == whole[offset:]


def test_a_close_tells_its_reason():
    with Live(App(fake_vocoder(batch=16), threads=1)) as server, dial(server) as sock:
        say(sock, type="flush", context=9)
        hear(sock, "error", None)
        with pytest.raises(ConnectionClosed) as caught:
            sock.recv(timeout=30)
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (
            1008,
            "context 9 is not open; send init first",
        )


def test_a_reader_that_pauses_may_leave_pings_unanswered():
    app = App(fake_vocoder(batch=16), threads=1)
    config = uvicorn.Config(app, ws_ping_interval=0.05, ws_ping_timeout=0.05)
    DrainingServer(config, budget=ConnectionBudget(), drain=app.drain, streaming=lambda: False)
    assert config.ws_ping_interval == 0.05  # what lies between may cut connections without any traffic
    assert config.ws_ping_timeout is None


def drained(protocol):
    return list(iter(protocol.due, None))


@pytest.mark.parametrize("seed", range(30))
def test_a_client_sends_in_order_no_more_than_it_has_credit_for(seed):
    rng = random.Random(seed)
    protocol, said, sent, credit = ClientProtocol({"type": "init"}, Backoff(1)), [], [], FIRST_CREDIT
    assert json.loads(protocol.opening_message())["credit"] is True
    for _ in range(60):
        act = rng.random()
        if act < 0.5:
            data = rng.randbytes(rng.choice([1, 100, 40_000, 200_000]))
            protocol.say(data)
            said.append(data)
        elif act < 0.6:
            protocol.finish()
            said.append("flush")
        else:
            credit += rng.choice([1, 20_000, 300_000])
            protocol.receive(json.dumps({"type": "credit", "context": 0, "bytes": credit}))
        sent += drained(protocol)
        total = sum(len(message) - 4 for message in sent if isinstance(message, bytes))
        assert total <= credit
    protocol.receive(json.dumps({"type": "credit", "context": 0, "bytes": 1 << 40}))
    sent += drained(protocol)

    def joined(messages, head):
        parts = [b""]
        for message in messages:
            if isinstance(message, bytes):
                parts[-1] += message[head:]
            else:
                parts.append(b"")
        return parts

    assert joined(sent, 4) == joined(said, 0)
    protocol.opening_message()  # after a break all of it is said again, as far as a fresh connection takes it
    again = drained(protocol)
    assert again == sent[: len(again)]
    protocol.cancel()
    assert drained(protocol) == ['{"type": "cancel"}']
    protocol.opening_message()
    assert drained(protocol) == ['{"type": "cancel"}']


@pytest.mark.parametrize(
    "message",
    ["", "x", "[]", "3", "{}", "[" * 100_000, '{"type": "ready"}', '{"type": "ready", "credit": "x"}',
     '{"type": "credit", "bytes": null}', '{"type": "credit", "bytes": Infinity}', '{"type": "flushed"}',
     '{"type": "flushed", "utterance": "x"}', '{"type": "error"}'],
)  # fmt: skip
def test_what_no_such_server_says_is_an_error_and_no_silence(message):
    protocol = ClientProtocol({"type": "init"}, Backoff(9))
    protocol.opening_message()
    protocol.say(bytes(9))
    protocol.finish()
    with pytest.raises(ServerError, match="cannot be read") as told:
        protocol.receive(message)
    with pytest.raises(ServerError):
        protocol.retry_delay(told.value)
    assert len(drained(protocol)) == 2  # what was due is due as before


def cancel_time(url, rng):
    """Seconds from a cancel to its answer, at a random moment behind a minute of input."""
    with connect(f"{url.replace('http', 'ws', 1)}/v1/stream", compression=None) as sock:
        say(sock, type="init", input="audio", rate=16000)
        for _ in range(600):
            sock.send(bytes(4 + 3200))
        time.sleep(rng.random() * 0.5)
        begin = time.monotonic()
        say(sock, type="cancel")
        while isinstance(message := sock.recv(timeout=30), bytes) or json.loads(message)["type"] != "cancelled":
            pass
        return time.monotonic() - begin


@pytest.mark.soak
def test_cancel_is_answered_soon_at_any_moment():
    rng, times = random.Random(0), []
    with bench.server("--voice", "egs/demo/voice", "--threads", "1") as (_, url):
        while len(times) < 200:
            try:
                times.append(cancel_time(url, rng))
            except InvalidStatus:  # no slot is free yet
                time.sleep(0.5)
    times.sort()
    assert times[197] <= 0.05, times


@pytest.mark.soak
@pytest.mark.parametrize("knowing", [True, False])
def test_an_hour_at_once_arrives_whole_over_one_socket(monkeypatch, knowing):
    monkeypatch.setattr(batcher, "MAX_LEAD", 1e9)  # an hour takes an hour otherwise
    hour = pcm16(np.tile(tone(10.0), 360))
    with Live(App(fake_vocoder(batch=16), threads=1)) as server:
        if knowing:
            with Client(f"http://127.0.0.1:{server.port}", timeout=30).stream(rate=8000) as stream:
                stream.send(hour)
                stream.finish()
                sound = b"".join(stream)
        else:
            with dial(server) as sock:
                say(sock, type="init", input="audio", rate=8000)
                for start in range(0, len(hour), 8000):
                    sock.send(bytes(4) + hour[start : start + 8000].tobytes())
                say(sock, type="close")
                hear(sock, "ready")
                sound = hear(sock, "flushed")[0]
    want = expected(fake_vocoder(batch=16), log_mel(hour.astype(np.float32) / 32768, SPEC))[: hour.nbytes]
    same = sound == want  # nobody wants to see where they differ
    assert same
