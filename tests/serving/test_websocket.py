"""The WebSocket over a real socket, with a client that nobody here wrote."""

from __future__ import annotations

import contextlib
import json
import threading

import numpy as np
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from seqgen.audio.features import log_mel
from seqgen.audio.io import pcm16
from serving.app import App
from serving.http.protocol import RequestLimits
from serving.streams.vocoder import VoiceSettings
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice
from tests.serving.fakes import SPEC, fake_vocoder, tone
from tests.serving.live import Live, wait_for

INIT = {"type": "init", "input": "features", "signature": SPEC.signature}


def expected(vocoder, frames, **settings):
    stream = vocoder.start(VoiceSettings(**settings), rate=None)
    stream.push(frames)
    stream.finish()
    return b"".join(pcm16(chunk).astype("<i2").tobytes() for chunk in stream.chunks())


def dial(server, query=""):
    return connect(f"ws://127.0.0.1:{server.port}/v1/stream{query}", compression=None, open_timeout=30)


def say(sock, **fields):
    sock.send(json.dumps(fields))


def push(sock, frames, context=0):
    sock.send(context.to_bytes(4, "little") + frames.astype("<f4").tobytes())


def hear(sock, kind, context=0):
    """Sound of a context up to a text message of that kind, which comes last."""
    sound = bytearray()
    while True:
        message = sock.recv(timeout=30)
        if isinstance(message, bytes):
            assert message[:4] == context.to_bytes(4, "little")
            sound += message[4:]
        else:
            fields = json.loads(message)
            assert fields["type"] == kind, fields
            return bytes(sound), fields


@pytest.fixture
def vocoder():
    return fake_vocoder(batch=16)


def test_features_go_in_bit_by_bit_and_sound_comes_out(vocoder):
    frames = log_mel(tone(0.6), SPEC)
    with Live(App(vocoder, threads=1)) as server, dial(server) as sock:
        say(sock, **INIT, seed=5)
        _, fields = hear(sock, "ready")
        assert fields["synthetic"] == 'seqgen; kind=vocoder; voice="fake"; seed=5'
        for start in range(0, len(frames), 7):
            push(sock, frames[start : start + 7])
        say(sock, type="flush")
        sound, fields = hear(sock, "flushed")
        assert sound == expected(vocoder, frames, seed=5)
        assert fields["underruns"] >= 0
        push(sock, frames)  # the next utterance is another stream of the same seed
        say(sock, type="close")
        assert hear(sock, "flushed")[0] == expected(vocoder, frames, seed=5, stream=1)
        hear(sock, "closed")
        with pytest.raises(ConnectionClosed) as caught:
            sock.recv(timeout=30)
        assert caught.value.rcvd.code == 1000


def test_sound_starts_while_input_is_still_to_come(vocoder):
    with Live(App(vocoder, threads=1)) as server, dial(server) as sock:
        say(sock, **INIT)
        hear(sock, "ready")
        push(sock, log_mel(tone(0.2), SPEC))
        assert isinstance(sock.recv(timeout=30), bytes)
        say(sock, type="cancel")


def test_audio_and_features_give_the_same_sound_in_contexts_side_by_side(vocoder):
    audio = pcm16(tone(0.3)).astype(np.float32) / 32768
    with Live(App(vocoder, threads=1)) as server, dial(server, "?voice=fake") as sock:
        say(sock, **INIT)
        say(sock, type="init", context=9, input="audio", rate=8000)
        assert {json.loads(sock.recv(timeout=30))["context"] for _ in range(2)} == {0, 9}
        assert server.app.pool.busy == 2
        push(sock, log_mel(audio, SPEC))
        sock.send((9).to_bytes(4, "little") + pcm16(audio).tobytes())
        say(sock, type="flush")
        say(sock, type="flush", context=9)
        sounds, ended = {0: b"", 9: b""}, set()
        while len(ended) < 2:
            message = sock.recv(timeout=30)
            if isinstance(message, bytes):
                sounds[int.from_bytes(message[:4], "little")] += message[4:]
            else:
                ended.add(json.loads(message)["context"])
        assert sounds[9] == sounds[0][: len(sounds[9])]
        assert len(sounds[9]) == 2 * len(audio)
        say(sock, type="close", context=9)
        hear(sock, "closed", 9)
        wait_for(lambda: server.app.pool.busy == 1)


def test_a_full_server_answers_503_to_the_upgrade(vocoder, caplog):
    with Live(App(vocoder, threads=1, slots=1)) as server, dial(server) as sock:
        say(sock, **INIT)
        hear(sock, "ready")
        with pytest.raises(InvalidStatus) as caught:
            dial(server)
        answer = caught.value.response
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert json.loads(answer.body)["error"]["type"] == "overloaded_error"
        say(sock, **INIT, context=1)
        assert hear(sock, "error", 1)[1]["code"] == "overloaded"
        with pytest.raises(InvalidStatus) as caught:
            dial(server, "?voice=none")
        assert caught.value.response.status_code == 404
        assert not [record for record in caplog.records if record.name == "uvicorn.error"]


def test_hanging_up_frees_every_slot(vocoder):
    with Live(App(vocoder, threads=1)) as server:
        for polite in (True, False):
            with dial(server) as sock:
                for context in range(3):
                    say(sock, **INIT, context=context)
                    push(sock, log_mel(tone(1.0), SPEC), context)
                wait_for(lambda: server.app.pool.busy == 3)
                if polite:
                    sock.close()
                else:
                    sock.socket.shutdown(2)
            wait_for(lambda: server.app.pool.busy == 0)


@pytest.mark.parametrize(
    ("init", "code", "text"),
    [
        ({"input": "features", "signature": "0123456789abcdef"}, "invalid_init", "0123456789abcdef does not match"),
        ({"input": "audio", "rate": 5}, "invalid_init", "unsupported sample rate 5 Hz"),
        ({"input": "audio", "voice": "none"}, "voice_not_found", "there is no voice 'none'; voices here: fake"),
    ],
)
def test_an_init_that_cannot_be_is_told_and_frees_the_slot(vocoder, init, code, text):
    with Live(App(vocoder, threads=1)) as server, dial(server) as sock:
        say(sock, type="init", **init)
        _, fields = hear(sock, "error")
        assert fields["code"] == code
        assert text in fields["message"]
        wait_for(lambda: server.app.pool.busy == 0)
        say(sock, **INIT)
        hear(sock, "ready")


def test_bad_input_is_told_and_frees_the_slot(vocoder, caplog):
    with Live(App(vocoder, threads=1)) as server, dial(server) as sock:
        say(sock, **INIT)
        hear(sock, "ready")
        push(sock, np.full((1, 10), np.nan))
        assert hear(sock, "error")[1]["message"].startswith("NaN or infinity in frame 0")
        wait_for(lambda: server.app.pool.busy == 0)
        sock.send("no json, but a secret")
        assert hear(sock, "error")[1]["code"] == "invalid_json"
        with pytest.raises(ConnectionClosed) as caught:
            sock.recv(timeout=30)
        assert caught.value.rcvd.code == 1007
    assert "secret" not in caplog.text


def test_a_voice_that_fails_says_so_and_the_connection_lives(vocoder, caplog):
    with Live(App(vocoder, threads=1)) as server, dial(server) as sock:
        vocoder.runtime.fail_after = 1000
        say(sock, **INIT)
        hear(sock, "ready")
        push(sock, log_mel(tone(0.5), SPEC))
        assert hear(sock, "error")[1]["code"] == "internal_error"
        vocoder.runtime.fail_after = 1 << 60
        say(sock, **INIT)
        hear(sock, "ready")
    assert "told to fail" in caplog.text


def test_a_reader_that_stops_holds_nothing_up_and_is_cut_off(vocoder):
    app = App(vocoder, threads=1, buffered=0.1, limits=RequestLimits(stall=0.3))
    with Live(app, send_buffer=1 << 12) as server, server.connect(receive_buffer=1 << 12) as sock:
        head = "GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        sock.sendall(f"{head}Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 101 ")
        for kind, payload in [(1, json.dumps(INIT).encode()), (2, bytes(4 + 4 * 10 * 1600))]:
            size = len(payload)
            length = bytes([0x80 | size]) if size < 126 else b"\xff" + size.to_bytes(8, "big")
            sock.sendall(bytes([0x80 | kind]) + length + bytes(4) + payload)  # a mask of zeros
        wait_for(lambda: server.app.pool.busy == 1)
        wait_for(lambda: server.app.pool.busy == 0)


def test_one_who_never_says_a_word_is_let_go(vocoder):
    with Live(App(vocoder, threads=1, limits=RequestLimits(idle=0.1))) as server, dial(server) as sock:
        assert hear(sock, "error", None)[1]["code"] == "timeout"
        wait_for(lambda: server.app.pool.busy == 0)


def test_a_slot_does_not_wait_for_one_who_says_everything_but_what_to_make(vocoder):
    limits = RequestLimits(greeting=0.3)
    with Live(App(vocoder, threads=1, limits=limits)) as server, dial(server) as sock:
        codes = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                say(sock, type="init", inputs="none")
                codes.append(json.loads(sock.recv(timeout=30))["code"])
        assert len(codes) > 5
        assert set(codes) <= {"invalid_message", "timeout"}
        wait_for(lambda: server.app.pool.busy == 0)


def test_a_stream_keeps_its_voice_when_another_is_asked_for(vocoder):
    other = fake_vocoder(name="other", speakers=("a", "b"), batch=16)
    frames = log_mel(tone(0.2), SPEC)
    with Live(App(FixedVoices(LoadedVoice(vocoder), LoadedVoice(other)), threads=1)) as server, dial(server) as sock:
        say(sock, **INIT, voice="other", speaker="b")
        assert hear(sock, "ready")[1]["voice"] == "other"
        push(sock, frames)
        say(sock, type="flush")
        assert hear(sock, "flushed")[0] == expected(other, frames, speaker="b")
        assert server.app.pool.busy == 1  # the slot kept before the upgrade was for the first voice, and is free again


def test_stopping_lets_the_sound_end_and_then_says_goodbye(vocoder, monkeypatch):
    frames, streaming = log_mel(tone(0.4), SPEC), []
    goodbye = uvicorn.Server.shutdown

    async def noted(self, sockets=None):
        streaming.append(server.app.pool.streaming)
        await goodbye(self, sockets)

    monkeypatch.setattr(uvicorn.Server, "shutdown", noted)
    vocoder.runtime.gate, vocoder.runtime.gate_from = threading.Event(), 2
    with Live(App(vocoder, threads=1), drain=30) as server, dial(server) as sock:
        say(sock, **INIT)
        push(sock, frames)
        say(sock, type="flush")
        hear(sock, "ready")
        first = sock.recv(timeout=30)
        server.server.should_exit = True
        wait_for(lambda: server.app.pool.draining)
        assert server.app.pool.admit(vocoder) is None
        with pytest.raises(OSError):
            server.connect().close()
        vocoder.runtime.gate.set()
        sound, _ = hear(sock, "flushed")
        assert first[4:] + sound == expected(vocoder, frames)
        with pytest.raises(ConnectionClosed) as caught:
            sock.recv(timeout=30)
        assert caught.value.rcvd.code == 1012  # the server starts anew; come again
    assert streaming == [False]


def test_stopping_ends_connections(vocoder):
    vocoder.runtime.gate = threading.Event()
    with Live(App(vocoder, threads=1), drain=1) as server, dial(server) as sock:
        say(sock, **INIT)
        push(sock, log_mel(tone(1.0), SPEC))
        hear(sock, "ready")
        server.server.should_exit = True
        with pytest.raises(ConnectionClosed):
            sock.recv(timeout=30)
        vocoder.runtime.gate.set()
