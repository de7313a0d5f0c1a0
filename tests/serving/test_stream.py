"""The WebSocket over a real socket, with a client that nobody here wrote."""

from __future__ import annotations

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
from serving.protocol import Limits
from serving.shelf import Fixed, Voice
from serving.vocoder import Settings
from tests.serving.fakes import SPEC, fake_vocoder, tone
from tests.serving.live import Live, wait_for

INIT = {"type": "init", "input": "features", "signature": SPEC.signature}


def expected(vocoder, frames, **settings):
    stream = vocoder.start(Settings(**settings), rate=None)
    stream.push(frames)
    stream.finish()
    return b"".join(pcm16(chunk).astype("<i2").tobytes() for chunk in stream.chunks())


def dial(server, query=""):
    return connect(f"ws://127.0.0.1:{server.port}/v1/stream{query}", compression=None, open_timeout=30)


def say(plug, **fields):
    plug.send(json.dumps(fields))


def push(plug, frames, context=0):
    plug.send(context.to_bytes(4, "little") + frames.astype("<f4").tobytes())


def hear(plug, kind, context=0):
    """Sound of a context up to a text message of that kind, which comes last."""
    sound = bytearray()
    while True:
        message = plug.recv(timeout=30)
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
    with Live(App(vocoder, threads=1)) as server, dial(server) as plug:
        say(plug, **INIT, seed=5)
        _, fields = hear(plug, "ready")
        assert fields["synthetic"] == 'seqgen; kind=vocoder; voice="fake"; seed=5'
        for start in range(0, len(frames), 7):
            push(plug, frames[start : start + 7])
        say(plug, type="flush")
        sound, fields = hear(plug, "flushed")
        assert sound == expected(vocoder, frames, seed=5)
        assert fields["underruns"] >= 0
        push(plug, frames)  # the next utterance is another stream of the same seed
        say(plug, type="close")
        assert hear(plug, "flushed")[0] == expected(vocoder, frames, seed=5, stream=1)
        hear(plug, "closed")
        with pytest.raises(ConnectionClosed) as caught:
            plug.recv(timeout=30)
        assert caught.value.rcvd.code == 1000


def test_sound_starts_while_input_is_still_to_come(vocoder):
    with Live(App(vocoder, threads=1)) as server, dial(server) as plug:
        say(plug, **INIT)
        hear(plug, "ready")
        push(plug, log_mel(tone(0.2), SPEC))
        assert isinstance(plug.recv(timeout=30), bytes)
        say(plug, type="cancel")


def test_audio_and_features_give_the_same_sound_in_contexts_side_by_side(vocoder):
    audio = pcm16(tone(0.3)).astype(np.float32) / 32768
    with Live(App(vocoder, threads=1)) as server, dial(server, "?voice=fake") as plug:
        say(plug, **INIT)
        say(plug, type="init", context=9, input="audio", rate=8000)
        assert {json.loads(plug.recv(timeout=30))["context"] for _ in range(2)} == {0, 9}
        assert server.app.crew.busy == 2
        push(plug, log_mel(audio, SPEC))
        plug.send((9).to_bytes(4, "little") + pcm16(audio).tobytes())
        say(plug, type="flush")
        say(plug, type="flush", context=9)
        sounds, ended = {0: b"", 9: b""}, set()
        while len(ended) < 2:
            message = plug.recv(timeout=30)
            if isinstance(message, bytes):
                sounds[int.from_bytes(message[:4], "little")] += message[4:]
            else:
                ended.add(json.loads(message)["context"])
        assert sounds[9] == sounds[0][: len(sounds[9])]
        assert len(sounds[9]) == 2 * len(audio)
        say(plug, type="close", context=9)
        hear(plug, "closed", 9)
        wait_for(lambda: server.app.crew.busy == 1)


def test_a_full_server_answers_503_to_the_upgrade(vocoder, caplog):
    with Live(App(vocoder, threads=1, slots=1)) as server, dial(server) as plug:
        say(plug, **INIT)
        hear(plug, "ready")
        with pytest.raises(InvalidStatus) as caught:
            dial(server)
        answer = caught.value.response
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert json.loads(answer.body)["error"]["type"] == "overloaded_error"
        say(plug, **INIT, context=1)
        assert hear(plug, "error", 1)[1]["code"] == "overloaded"
        with pytest.raises(InvalidStatus) as caught:
            dial(server, "?voice=none")
        assert caught.value.response.status_code == 404
        assert not [record for record in caplog.records if record.name == "uvicorn.error"]


def test_hanging_up_frees_every_slot(vocoder):
    with Live(App(vocoder, threads=1)) as server:
        for polite in (True, False):
            with dial(server) as plug:
                for context in range(3):
                    say(plug, **INIT, context=context)
                    push(plug, log_mel(tone(1.0), SPEC), context)
                wait_for(lambda: server.app.crew.busy == 3)
                if polite:
                    plug.close()
                else:
                    plug.socket.shutdown(2)
            wait_for(lambda: server.app.crew.busy == 0)


@pytest.mark.parametrize(
    ("init", "code", "text"),
    [
        ({"input": "features", "signature": "0123456789abcdef"}, "invalid_init", "0123456789abcdef does not match"),
        ({"input": "audio", "rate": 5}, "invalid_init", "unsupported sample rate 5 Hz"),
        ({"input": "audio", "voice": "none"}, "voice_not_found", "there is no voice 'none'; voices here: fake"),
    ],
)
def test_an_init_that_cannot_be_is_told_and_frees_the_slot(vocoder, init, code, text):
    with Live(App(vocoder, threads=1)) as server, dial(server) as plug:
        say(plug, type="init", **init)
        _, fields = hear(plug, "error")
        assert fields["code"] == code
        assert text in fields["message"]
        wait_for(lambda: server.app.crew.busy == 0)
        say(plug, **INIT)
        hear(plug, "ready")


def test_bad_input_is_told_and_frees_the_slot(vocoder, caplog):
    with Live(App(vocoder, threads=1)) as server, dial(server) as plug:
        say(plug, **INIT)
        hear(plug, "ready")
        push(plug, np.full((1, 10), np.nan))
        assert hear(plug, "error")[1]["message"].startswith("NaN or infinity in frame 0")
        wait_for(lambda: server.app.crew.busy == 0)
        plug.send("no json, but a secret")
        assert hear(plug, "error")[1]["code"] == "invalid_json"
        with pytest.raises(ConnectionClosed) as caught:
            plug.recv(timeout=30)
        assert caught.value.rcvd.code == 1007
    assert "secret" not in caplog.text


def test_a_voice_that_fails_says_so_and_the_connection_lives(vocoder, caplog):
    with Live(App(vocoder, threads=1)) as server, dial(server) as plug:
        vocoder.runtime.fail_after = 1000
        say(plug, **INIT)
        hear(plug, "ready")
        push(plug, log_mel(tone(0.5), SPEC))
        assert hear(plug, "error")[1]["code"] == "internal_error"
        vocoder.runtime.fail_after = 1 << 60
        say(plug, **INIT)
        hear(plug, "ready")
    assert "told to fail" in caplog.text


def test_a_reader_that_stops_holds_nothing_up_and_is_cut_off(vocoder):
    app = App(vocoder, threads=1, buffered=0.1, limits=Limits(stall=0.3))
    with Live(app, send_buffer=1 << 12) as server, server.connect(receive_buffer=1 << 12) as plug:
        head = "GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        plug.sendall(f"{head}Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        assert plug.recv(1000).startswith(b"HTTP/1.1 101 ")
        for kind, payload in [(1, json.dumps(INIT).encode()), (2, bytes(4 + 4 * 10 * 1600))]:
            size = len(payload)
            length = bytes([0x80 | size]) if size < 126 else b"\xff" + size.to_bytes(8, "big")
            plug.sendall(bytes([0x80 | kind]) + length + bytes(4) + payload)  # a mask of zeros
        wait_for(lambda: server.app.crew.busy == 1)
        wait_for(lambda: server.app.crew.busy == 0)


def test_one_who_never_says_a_word_is_let_go(vocoder):
    with Live(App(vocoder, threads=1, limits=Limits(idle=0.1))) as server, dial(server) as plug:
        assert hear(plug, "error", None)[1]["code"] == "timeout"
        wait_for(lambda: server.app.crew.busy == 0)


def test_a_stream_keeps_its_voice_when_another_is_asked_for(vocoder):
    other = fake_vocoder(name="other", speakers=("a", "b"), batch=16)
    frames = log_mel(tone(0.2), SPEC)
    with Live(App(Fixed(Voice(vocoder), Voice(other)), threads=1)) as server, dial(server) as plug:
        say(plug, **INIT, voice="other", speaker="b")
        assert hear(plug, "ready")[1]["voice"] == "other"
        push(plug, frames)
        say(plug, type="flush")
        assert hear(plug, "flushed")[0] == expected(other, frames, speaker="b")
        assert server.app.crew.busy == 1  # the slot kept before the upgrade was for the first voice, and is free again


def test_stopping_lets_the_sound_end_and_then_says_goodbye(vocoder, monkeypatch):
    frames, sounding = log_mel(tone(0.4), SPEC), []
    goodbye = uvicorn.Server.shutdown

    async def noted(self, sockets=None):
        sounding.append(server.app.crew.sounding)
        await goodbye(self, sockets)

    monkeypatch.setattr(uvicorn.Server, "shutdown", noted)
    vocoder.runtime.gate, vocoder.runtime.gate_from = threading.Event(), 2
    with Live(App(vocoder, threads=1), drain=30) as server, dial(server) as plug:
        say(plug, **INIT)
        push(plug, frames)
        say(plug, type="flush")
        hear(plug, "ready")
        first = plug.recv(timeout=30)
        server.server.should_exit = True
        wait_for(lambda: server.app.crew.draining)
        assert server.app.crew.admit(vocoder) is None
        with pytest.raises(OSError):
            server.connect().close()
        vocoder.runtime.gate.set()
        sound, _ = hear(plug, "flushed")
        assert first[4:] + sound == expected(vocoder, frames)
        with pytest.raises(ConnectionClosed) as caught:
            plug.recv(timeout=30)
        assert caught.value.rcvd.code == 1012  # the server starts anew; come again
    assert sounding == [False]


def test_stopping_ends_connections(vocoder):
    vocoder.runtime.gate = threading.Event()
    with Live(App(vocoder, threads=1), drain=1) as server, dial(server) as plug:
        say(plug, **INIT)
        push(plug, log_mel(tone(1.0), SPEC))
        hear(plug, "ready")
        server.server.should_exit = True
        with pytest.raises(ConnectionClosed):
            plug.recv(timeout=30)
        vocoder.runtime.gate.set()
