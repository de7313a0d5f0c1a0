"""The server speaks the Wyoming protocol: to the reference client, and to clients that mean it no good."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seqgen.audio.io import pcm16
from seqgen.audio.watermark import watermarked
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime import open_runtime
from seqgen.runtime.voice import Voice
from serving.app import App
from serving.cli.__main__ import parser
from serving.cli.serve import wyoming
from serving.connections.wyoming import LIMITS
from serving.http.protocol import RequestLimits
from serving.speech.wyoming_protocol import LARGEST, written
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice, served
from tests.runtime.speaking import TEXT
from tests.serving.fakes import fake_vocoder
from tests.serving.live import Live, wait_for
from tests.serving.reading_fakes import fake_voice

pytest.importorskip("wyoming")
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeVoice

RATE = 8000
LONG = "a" * 4000  # 20 s of the fake voice


@contextlib.contextmanager
def speaking(*voices: Any, limits: RequestLimits | None = None, drain: int = 60, **options: Any):
    """A server that speaks Wyoming, and where."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    listener.bind(("127.0.0.1", 0))
    store = FixedVoices(*(one if isinstance(one, LoadedVoice) else LoadedVoice(one) for one in voices))
    options = {"threads": 1, "wyoming": listener, "limits": limits} | options
    with listener, Live(App(store, **options), drain=drain) as server:
        server.wyoming = listener.getsockname()[1]
        yield server


@pytest.fixture(scope="module")
def server():
    with speaking(fake_voice(), fake_vocoder(name="zoe"), aliases={"nova": "ann"}) as live:
        yield live


def told(server, *events: Any, until: tuple[str, ...] = ()) -> list[Event]:
    """What the reference client hears after some events; up to one of certain types, or where it sends no more, all."""

    async def talk() -> list[Event]:
        heard = []
        async with AsyncTcpClient("127.0.0.1", server.wyoming, read_timeout=60) as client:
            for event in events:
                await client.write_event(event if isinstance(event, Event) else event.event())
            if not until:
                client._writer.write_eof()
            while (event := await client.read_event()) is not None:
                heard.append(event)
                if event.type in until:
                    break
        return heard

    return asyncio.run(talk())


def sound(events: list[Event]) -> bytes:
    return b"".join(event.payload for event in events if event.type == "audio-chunk")


def kinds(events: list[Event]) -> list[str]:
    """Types of events, one for those of a kind that follow each other."""
    return [event.type for i, event in enumerate(events) if not i or events[i - 1].type != event.type]


def frames(text: str) -> int:
    return 2 * 40 * len(text)  # bytes of a fake voice's sound


def test_it_says_which_voices_there_are(server) -> None:
    (event,) = told(server, Describe(), until=("info",))
    (program,) = Info.from_event(event).tts
    assert program.supports_synthesize_streaming
    assert [(voice.name, voice.languages, voice.installed) for voice in program.voices] == [
        ("ann", ["en"], True),
        ("nova", ["en"], True),
    ]


def test_a_text_is_spoken_to_the_bit_as_without_a_server(reading_voice: Path) -> None:
    speaker = Voice(open_runtime(Bundle.open(reading_voice)))
    marked = watermarked(np.concatenate(list(speaker.sound(speaker.frames(TEXT, 0.0)))), speaker.spec.sample_rate)
    expected = pcm16(marked).astype("<i2").tobytes()
    with speaking(served(Bundle.open(reading_voice))) as live:
        heard = told(live, Synthesize(TEXT))
        assert kinds(heard) == ["audio-start", "audio-chunk", "audio-stop"]
        assert {tuple(event.data.items()) for event in heard[:-1]} == {(("rate", RATE), ("width", 2), ("channels", 1))}
        assert sound(heard) == expected
        grown = told(live, SynthesizeStart(), SynthesizeChunk(TEXT[:3]), SynthesizeChunk(TEXT[3:]), SynthesizeStop())
        assert len(sound(grown)) > len(expected) // 2


@pytest.mark.parametrize("voice", [None, SynthesizeVoice(name="ann"), SynthesizeVoice(name="nova"),
                                   SynthesizeVoice(language="en_GB")])  # fmt: skip
def test_a_voice_is_had_by_its_name_an_alias_or_as_the_only_one(server, voice) -> None:
    heard = told(server, Synthesize("A tea.", voice=voice))
    assert len(sound(heard)) == frames("A tea.")


def test_several_requests_and_questions_go_through_one_connection(server) -> None:
    heard = told(server, Synthesize("A tea."), Describe(), Event("unheard-of", payload=b"x"), Synthesize("Tea"))
    said = ["audio-start", "audio-chunk", "audio-stop"]
    assert kinds(heard) == [*said, "info", *said]
    assert len(sound(heard)) == frames("A tea.") + frames("Tea")


def test_a_ping_waits_for_nothing() -> None:
    voice = fake_voice()
    voice.runtime.gate = threading.Event()
    with speaking(voice) as server:
        heard = told(server, Synthesize("A tea."), Ping("x"), until=("pong", "audio-start"))
        assert [Pong.from_event(event).text for event in heard] == ["x"]
        voice.runtime.gate.set()


def test_sentences_of_a_growing_text_are_spoken_as_they_end() -> None:
    """The sound of the first one comes while the second is not there yet."""
    voice = fake_voice()
    chunks = ["It is Dr. Wh", "ite. He sa", "ys: «Hm. ", "12» and", " goes"]

    async def talk(port: int) -> None:
        async with AsyncTcpClient("127.0.0.1", port, read_timeout=60) as client:
            await client.write_event(SynthesizeStart(voice=SynthesizeVoice(name="ann")).event())
            for chunk in chunks[:2]:
                await client.write_event(SynthesizeChunk(chunk).event())
            heard = 0
            while heard < frames("It is Dr. White. "):
                event = await client.read_event()
                assert event.type in ("audio-start", "audio-chunk")
                heard += len(event.payload or b"")
            for chunk in chunks[2:]:
                await client.write_event(SynthesizeChunk(chunk).event())
            await client.write_event(Synthesize("".join(chunks)).event())  # for servers that take no pieces
            await client.write_event(SynthesizeStop().event())
            rest = []
            while (event := await client.read_event()).type != "synthesize-stopped":
                rest.append(event)
            assert kinds(rest) == ["audio-chunk", "audio-stop"]
            assert heard + len(sound(rest)) == frames("".join(chunks))

    with speaking(voice) as server:
        asyncio.run(talk(server.wyoming))
    assert voice.reader.texts[0] == "It is Dr. White. "
    assert "".join(voice.reader.texts) == "".join(chunks)


@pytest.mark.parametrize("texts", [[], [""], [" ", "\n"]])
def test_a_growing_text_without_words_ends_without_sound(server, texts: list[str]) -> None:
    heard = told(server, SynthesizeStart(), *map(SynthesizeChunk, texts), SynthesizeStop())
    assert [event.type for event in heard] == ["synthesize-stopped"]


def test_a_document_is_spoken_as_a_whole() -> None:
    voice = fake_voice()
    chunks = ["<sp", "eak>One. Two. ", "Three.</speak>"]
    with speaking(voice) as server:
        told(server, SynthesizeStart(text_format="ssml"), *map(SynthesizeChunk, chunks), SynthesizeStop())
    assert voice.reader.texts == ["".join(chunks)]


@pytest.mark.parametrize(
    ("events", "code", "text"),
    [
        ([Synthesize("A", SynthesizeVoice(name="eve"))], "voice_not_found", "'eve' that reads; voices here: ann"),
        ([Synthesize("A", SynthesizeVoice(name="zoe"))], "voice_not_found", "'zoe' that reads"),
        ([Synthesize("A", SynthesizeVoice(name="ann", speaker="x"))], "invalid_text", "no speaker 'x'"),
        ([Synthesize("A", SynthesizeVoice(language="de"))], "language_not_spoken", "no voice speaks 'de'"),
        ([Synthesize("A \N{BOMB}.")], "invalid_text", "there is a bomb"),
        ([Synthesize("A", text_format="braille")], "invalid_event", "neither 'text' nor 'ssml'"),
        ([Event("synthesize", {})], "invalid_event", "no 'text'"),
        ([Event("synthesize", {"text": ["A"]})], "invalid_event", "no 'text'"),
        ([Event("synthesize", {"text": "A", "voice": 7})], "invalid_event", "'voice' is no object"),
        ([Event("synthesize", {"text": "A", "voice": {"name": {}}})], "invalid_event", "'voice' is no object"),
        ([SynthesizeChunk("A")], "out_of_place", "comes before 'synthesize-start'"),
        ([SynthesizeStop()], "out_of_place", "comes before 'synthesize-start'"),
        ([SynthesizeStart(), Event("synthesize-chunk", {"text": 7})], "invalid_event", "no 'text'"),
        ([SynthesizeStart(), *[SynthesizeChunk("x" * 30_000)] * 3], "too_large", f"more than {LARGEST} bytes"),
    ],
)
def test_what_cannot_be_is_told_in_an_error(server, events: list, code: str, text: str) -> None:
    heard = told(server, *events)
    assert [event.type for event in heard] == ["error"]  # and the connection has ended
    error = Error.from_event(heard[0])
    assert error.code == code
    assert text in error.text
    assert sound(told(server, Synthesize("A tea."))) != b""
    assert server.app.pool.busy == 0


def test_a_voice_has_to_be_named_where_there_are_several() -> None:
    with speaking(fake_voice(), fake_voice("bob")) as server:
        (event,) = told(server, Synthesize("A"))
        assert (event.data["code"], "name one of: ann, bob" in event.data["text"]) == ("voice_required", True)
        assert sound(told(server, Synthesize("A", SynthesizeVoice(name="bob"))))
    with speaking(fake_voice(), fake_voice("bob"), default="bob") as server:
        assert sound(told(server, Synthesize("A")))
    with speaking(fake_vocoder(name="zoe")) as server:
        (event,) = told(server, Synthesize("A"))
        assert "name one of: none" in event.data["text"]


def raw(server, sent: bytes, *, end: bool = False) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.wyoming), timeout=60)
    sock.sendall(sent)
    if end:
        sock.shutdown(socket.SHUT_WR)
    return sock


def last_words(sock: socket.socket) -> bytes:
    with sock:
        return b"".join(iter(lambda: sock.recv(1 << 16), b""))


HALF = written("synthesize", {"text": "A tea."})[:-3]
SLOW = {
    "header": b'{"type": "synth',
    "data": HALF,
    "payload": b'{"type": "x", "payload_length": 9}\n1234',
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_an_event_that_does_not_end_is_not_waited_for(sent: bytes) -> None:
    """Nor one that comes byte by byte, and nobody else waits meanwhile."""
    with speaking(fake_voice(), limits=RequestLimits(greeting=0.3)) as server:
        socks = [raw(server, sent) for _ in range(4)]
        assert sound(told(server, Synthesize("A tea.")))
        with contextlib.suppress(OSError):  # the server has gone before all bytes were sent
            for _ in range(200):
                socks[0].sendall(b" ")
                threading.Event().wait(0.01)
        for sock in socks[1:]:
            assert b"took longer than 0.3 s" in last_words(sock)
        with contextlib.suppress(OSError):
            last_words(socks[0])


def test_a_growing_text_that_stands_still_is_given_up() -> None:
    with speaking(fake_voice(), limits=RequestLimits(idle=0.2)) as server:
        heard = last_words(raw(server, written("synthesize-start") + written("synthesize-chunk", {"text": "One. Two"})))
        assert b'"audio-chunk"' in heard
        assert b"no event came for 0.2 s" in heard
        wait_for(lambda: server.app.pool.busy == 0)


@pytest.mark.parametrize("sent", [HALF, b'{"type"', b"", written("synthesize-start")])
def test_an_end_in_the_middle_is_an_end(server, sent: bytes) -> None:
    assert b"audio" not in last_words(raw(server, sent, end=True))
    assert server.app.pool.busy == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + written("synthesize", {"text": "A"}),
        b"x" * 10_000_000,
        b'{"type": "x", "data_length": 99999999999}\n' + b"x" * 1_000_000,
        b"\x16\x03\x01\x02\x00\x01\n",
    ],
)
def test_what_is_no_wyoming_is_told_so_and_let_go(server, sent: bytes) -> None:
    sock = socket.create_connection(("127.0.0.1", server.wyoming), timeout=60)
    with contextlib.suppress(OSError):
        sock.sendall(sent)
    header = json.loads(last_words(sock).splitlines()[0])
    assert header["type"] == "error"


def test_a_client_that_leaves_frees_its_slot() -> None:
    voice = fake_voice()
    voice.runtime.delay = 0.002
    with speaking(voice) as server:
        for _ in range(3):
            sock = raw(server, written("synthesize", {"text": LONG}))
            assert sock.recv(1000)
            assert server.app.pool.busy == 1
            sock.close()
            wait_for(lambda: server.app.pool.busy == 0, 10)
        assert len(voice.runtime.blocks) < 3 * len(LONG) / 8


def test_a_client_that_does_not_read_is_given_up() -> None:
    text = "a" * 60_000  # 300 s
    with speaking(fake_voice(), limits=RequestLimits(stall=0.3)) as server:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)  # or the system takes all of it
        sock.connect(("127.0.0.1", server.wyoming))
        sock.sendall(written("synthesize", {"text": text}))
        wait_for(lambda: server.app.pool.busy == 1)
        wait_for(lambda: server.app.pool.busy == 0)
        sock.close()
        assert "WYOMING" not in server.app.metrics.text()
        assert 'seqgen_requests_total{route="wyoming",status="499"} 1' in server.app.metrics.text()


def test_who_finds_no_slot_is_told_so() -> None:
    voice = fake_voice()
    voice.runtime.gate = threading.Event()
    with speaking(voice, slots=1) as server:
        sock = raw(server, written("synthesize", {"text": "A"}))
        wait_for(lambda: server.app.pool.busy == 1)
        (event,) = told(server, Synthesize("A"))
        assert (event.data["code"], event.data["text"][:24]) == ("overloaded", "all 1 streams are taken;")
        voice.runtime.gate.set()
        sock.shutdown(socket.SHUT_WR)
        assert b"audio-stop" in last_words(sock)


def test_a_failing_voice_is_told_and_the_next_request_heard() -> None:
    voice = fake_voice()
    voice.runtime.fail_after = 1000
    with speaking(voice) as server:
        *_, event = told(server, Synthesize("A" * 100))
        assert (event.type, event.data["code"]) == ("error", "failed")
        assert sound(told(server, Synthesize("A tea.")))


def test_what_is_being_said_is_said_to_its_end_when_the_server_stops() -> None:
    voice = fake_voice()
    voice.runtime.delay = 0.001
    with speaking(voice) as server:
        idle = raw(server, b"")
        sock = raw(server, written("synthesize", {"text": "a" * 1000}))
        assert sock.recv(10)
        server.server.should_exit = True
        heard = last_words(sock) if not sock.shutdown(socket.SHUT_WR) else b""
        assert heard.count(b"audio-stop") == 1
        assert last_words(idle) == b""
        with pytest.raises(OSError):
            wait_for(lambda: raw(server, b"").close())


def test_a_request_that_the_server_does_not_wait_for_is_told_so() -> None:
    voice = fake_voice()
    voice.runtime.delay = 0.02
    with speaking(voice, drain=1) as server:
        sock = raw(server, written("synthesize", {"text": LONG}))
        assert sock.recv(10)
        server.server.should_exit = True
        heard = last_words(sock)
    assert heard.endswith(b'{"text": "the server is being stopped", "code": "stopping"}')
    assert b"audio-stop" not in heard


def test_connections_are_counted_and_the_idle_make_room(monkeypatch) -> None:
    monkeypatch.setattr("serving.connections.wyoming.LIMITS", replace(LIMITS, total=4, each=4))
    voice = fake_voice()
    voice.runtime.gate = threading.Event()
    with speaking(voice) as server:
        socks = [raw(server, b"") for _ in range(4)]
        wait_for(lambda: "seqgen_connections 4" in server.app.metrics.text())
        busy = [raw(server, written("synthesize", {"text": "A"})) for _ in range(4)]  # each takes an idle one's place
        assert [last_words(sock) for sock in socks] == [b""] * 4
        wait_for(lambda: server.app.pool.busy == 4)
        assert b"all connections are taken" in last_words(raw(server, b""))
        voice.runtime.gate.set()
        for sock in busy:
            sock.shutdown(socket.SHUT_WR)
            assert b"audio-stop" in last_words(sock)


@pytest.mark.parametrize(("allowed", "comes"), [((), False), (("127.0.0.0/8",), True), (("10.0.0.0/8",), False)])
def test_only_those_may_come_that_are_allowed(monkeypatch, allowed: tuple, comes: bool) -> None:
    monkeypatch.setattr("ipaddress.IPv4Address.is_loopback", False)
    with speaking(fake_voice(), wyoming_allowed=allowed) as server:
        (event,) = told(server, Describe(), until=("info", "error"))
        assert event.type == ("info" if comes else "error")
        assert comes or event.data["code"] == "forbidden"


def test_other_machines_come_only_where_it_is_said_which() -> None:
    words = ["serve", "--voices", "v", "--wyoming-port", "0", "--wyoming-host", "0.0.0.0"]
    with pytest.raises(SeqgenError, match="Wyoming knows no keys"), wyoming(parser().parse_args(words)):
        pass
    with wyoming(parser().parse_args([*words, "--wyoming-allow", "192.168.1.0/24"])) as listener:
        assert listener.getsockname()[1]
    with wyoming(parser().parse_args(words[:3])) as listener:
        assert listener is None


def test_the_command_speaks(reading_voice: Path) -> None:
    """As an operator starts it, with workers that are processes."""
    options = ["--voice", str(reading_voice), "--alias", "nova=frames", "--threads", "1"]
    command = [sys.executable, "-m", "serving.cli", "serve", *options, "--port", "0", "--wyoming-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            port = int(re.fullmatch(r"ready: .+ on http://127.0.0.1:\d+, Wyoming at 127.0.0.1:(\d+)\n", line)[1])
            heard = told(SimpleNamespace(wyoming=port), Synthesize(TEXT, SynthesizeVoice(name="nova")))
            assert kinds(heard) == ["audio-start", "audio-chunk", "audio-stop"]
        finally:
            process.terminate()
    assert process.returncode == -signal.SIGTERM
