"""A WebSocket stream that was cut goes on where it was: by the protocol, and by the clients."""

from __future__ import annotations

import asyncio
import socket
import threading

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from seqgen.audio.features import log_mel
from serving.app import App
from serving.client import Client, ServerError
from tests.serving.fakes import SPEC, audio_file, fake_vocoder, tone
from tests.serving.live import Live
from tests.serving.test_websocket import INIT, dial, expected, hear, push, say

SECRET = b"s" * 32
FRAMES = log_mel(tone(0.5), SPEC)


@pytest.fixture(scope="module")
def servers():
    """Two servers that share a secret, and one that shares nothing."""
    with (
        Live(App(fake_vocoder(batch=16), threads=1, secret=SECRET)) as one,
        Live(App(fake_vocoder(batch=16), threads=1, secret=SECRET)) as other,
        Live(App(fake_vocoder(batch=16), threads=1)) as stranger,
    ):
        yield one, other, stranger


class Cable:
    """A way to a server that can be cut after so many bytes of its answers; every other connection passes all."""

    def __init__(self, server, cuts):
        self._server, self._cuts = server, list(cuts)
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.port = self._sock.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._sock.close()

    def _serve(self):
        while True:
            try:
                here, _ = self._sock.accept()
            except OSError:
                return
            there = self._server.connect()
            left = self._cuts.pop(0) if self._cuts else 1 << 40
            threading.Thread(target=self._pass, args=(here, there, 1 << 40), daemon=True).start()
            threading.Thread(target=self._pass, args=(there, here, left), daemon=True).start()

    def _pass(self, source, sink, left):
        try:
            while left > 0 and (data := source.recv(min(left, 1 << 16))):
                sink.sendall(data)
                left -= len(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def said_and_heard(sock):
    push(sock, FRAMES)
    say(sock, type="flush")
    return hear(sock, "flushed")


@pytest.mark.parametrize("utterance", [0, 3])
@pytest.mark.parametrize("offset", [0, 1, 999, -1, None])
def test_the_rest_of_an_utterance_comes_from_another_server(servers, utterance, offset):
    one, other, _ = servers
    with dial(one) as sock:
        say(sock, **INIT, seed=5, temperature=0.5, output_rate=16000)
        _, fields = hear(sock, "ready")
        whole = [said_and_heard(sock)[0] for _ in range(utterance + 2)][utterance:]
    received = {None: len(whole[0]), -1: len(whole[0]) - 1}.get(offset, offset)
    with dial(other) as sock:
        say(sock, type="init", resume=fields["resume"], utterance=utterance, offset=received)
        again = hear(sock, "ready")[1]
        assert again == fields
        for number in range(2):  # the second of them from its beginning
            sound, flushed = said_and_heard(sock)
            assert sound == (whole[0][received:], whole[1])[number]
            assert flushed["utterance"] == utterance + number


def test_what_cannot_be_gone_on_with_is_refused(servers):
    one, other, stranger = servers
    with dial(one) as sock:
        say(sock, **INIT)
        token = hear(sock, "ready")[1]["resume"]
    of_http = one.post("", audio_file(tone(0.1)))[1]["x-resume-token"]
    for server, fields, code in (
        (stranger, {"resume": token}, "invalid_resume_token"),
        (other, {"resume": token[:-2] + "xx"}, "invalid_resume_token"),
        (other, {"resume": of_http}, "invalid_resume_token"),
        (other, {"resume": token, "offset": -1}, "invalid_resume_token"),
        (other, {"resume": token, "utterance": 1 << 33}, "invalid_resume_token"),
        (other, {"resume": token, "seed": 1}, "invalid_resume_token"),
        (other, {"offset": 1}, "invalid_message"),
    ):
        with dial(server) as sock:
            say(sock, type="init", **fields)
            assert hear(sock, "error")[1]["code"] == code, fields
    with dial(other) as sock:
        say(sock, type="init", resume=token, offset=10**6)
        hear(sock, "ready")
        push(sock, FRAMES)
        say(sock, type="flush")
        assert "behind the end" in hear(sock, "error")[1]["message"]
    assert other.post(f"resume={token}&offset=0", audio_file(tone(0.1)))[0] == 409
    vocoder = fake_vocoder(batch=16)
    vocoder.manifest.digest = "1" * 64
    with Live(App(vocoder, threads=1, secret=SECRET)) as changed, dial(changed) as sock:
        say(sock, type="init", resume=token)
        assert hear(sock, "error")[1]["code"] == "voice_changed"


def talk(stream):
    """Two utterances, said and heard."""
    heard = []
    for _ in range(2):
        for start in range(0, len(FRAMES), 9):
            stream.send(FRAMES[start : start + 9])
        stream.finish()
        heard.append(b"".join(stream))
    return heard


async def atalk(stream):
    heard = []
    for _ in range(2):
        for start in range(0, len(FRAMES), 9):
            await stream.send(FRAMES[start : start + 9])
        await stream.finish()
        heard.append(b"".join([sound async for sound in stream]))
    return heard


@pytest.mark.parametrize("cuts", [(700,), (1500, 2500, 900), (9000,), (1500, 100), (12000, 400)])
def test_the_clients_go_on_by_themselves(servers, cuts):
    one = servers[0]
    want = [expected(fake_vocoder(batch=16), FRAMES, seed=2, stream=number) for number in range(2)]
    init = {"voice": "fake", "signature": SPEC.signature, "seed": 2}
    with Cable(one, cuts) as cable:
        client = Client(f"http://127.0.0.1:{cable.port}", timeout=30)
        with client.stream(resumes=len(cuts), **init) as stream:
            assert talk(stream) == want

    async def listen(client):
        async with client.astream(resumes=len(cuts), **init) as stream:
            return await atalk(stream)

    with Cable(one, (1 << 40, *cuts)[1:]) as cable:
        assert asyncio.run(listen(Client(f"http://127.0.0.1:{cable.port}", timeout=30))) == want


def test_a_client_that_may_not_go_on_says_so(servers):
    init = {"voice": "fake", "signature": SPEC.signature}
    with Cable(servers[0], (1500, 1500)) as cable:
        client = Client(f"http://127.0.0.1:{cable.port}", timeout=30)
        with pytest.raises(ConnectionClosed), client.stream(resumes=1, **init) as stream:
            talk(stream)
    client = Client(f"http://127.0.0.1:{servers[0].port}", timeout=30)
    with client.stream(resumes=5, **init) as stream:
        stream.send(np.full((1, 10), np.nan, np.float32))
        with pytest.raises(ServerError, match="NaN"):
            list(stream)
