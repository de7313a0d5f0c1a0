"""Growing text over real sockets: sound and times are those of the text at once, and who cancels is told how far."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from typing import Any

import numpy as np
import openai
import pytest

from seqgen.audio.io import pcm16
from seqgen.audio.watermark import watermarked
from seqgen.runtime.speech import Moment
from serving.app import App
from serving.client import Client
from serving.streams.sound import Record, RecordDecoder, encode_moment, encode_sound, moment_fields
from serving.streams.vocoder import VoiceSettings
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice
from tests.serving.fakes import fake_vocoder
from tests.serving.live import Live
from tests.serving.plain_speaker import plain_voice
from tests.serving.test_websocket import dial, hear, say

TEXT = "Yes, a tea (3.5 m). “Thé” – a tea? The tea! Yes."
DOCUMENT = '<speak>A <mark name="x"/>tea.</speak>'
SECRET = b"s" * 32
TIMES = ["word", "phone", "mark"]


@pytest.fixture(scope="module")
def server():
    voices = FixedVoices(LoadedVoice(plain_voice()), LoadedVoice(fake_vocoder(name="zoe")))
    with Live(App(voices, threads=1, secret=SECRET)) as live:
        yield live


def said(text: str, speed: float = 1.0, stream: int = 0) -> tuple[bytes, list[dict[str, Any]]]:
    """16-bit samples of a text without a server, and its times."""
    voice, times = plain_voice(), list[Moment]()
    assert voice.reader is not None
    frames = np.concatenate(list(voice.reader.frames(text, 0.0, speed=speed, tell=times.append)))
    spoken = voice.start(VoiceSettings(stream=stream), rate=None)
    spoken.push(frames)
    spoken.finish()
    sound = watermarked(np.concatenate(list(spoken.chunks())), voice.sample_rate)
    return pcm16(sound).astype("<i2").tobytes(), [moment_fields(one) for one in times]


def listen(sock, kind: str) -> tuple[bytes, list[dict[str, Any]]]:
    """Sound up to a text message of that kind, and all messages."""
    sound, messages = b"", list[dict[str, Any]]()
    while not messages or messages[-1]["type"] != kind:
        message = sock.recv(timeout=30)
        if isinstance(message, bytes):
            sound += message[4:]
        else:
            messages.append(json.loads(message))
    return sound, messages


def told(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Times of messages, without what they belong to."""
    about = ("context", "utterance")
    times = [{key: value for key, value in one.items() if key not in about} for one in messages if one["type"] in TIMES]
    return times


@pytest.mark.parametrize("seed", range(3))
def test_text_in_any_messages_is_the_same_sound(server, seed: int) -> None:
    rng, data = random.Random(seed), TEXT.encode()
    with dial(server) as sock:
        say(sock, type="init", voice="ann", input="text", timestamp_granularities=TIMES)
        hear(sock, "ready")
        for number in range(2):
            if seed == 0:
                say(sock, type="text", text=TEXT)
            at = 0 if seed else len(data)
            while at < len(data):
                size = rng.choice([1, 2, 9])
                sock.send(bytes(4) + data[at : at + size])
                at += size
            say(sock, type="flush")
            sound, messages = listen(sock, "flushed")
            assert (sound, told(messages)) == said(TEXT, stream=number)
            assert {one["utterance"] for one in messages} == {number}


def test_a_sentence_is_heard_before_the_text_ends(server) -> None:
    """Its sound, and before it when its words are said; a text that is flushed is heard to its end."""
    with dial(server) as sock:
        say(sock, type="init", voice="ann", input="text", speed=0.5, timestamp_granularities=["word"])
        hear(sock, "ready")
        say(sock, type="text", text="Yes. A")
        before, messages = listen(sock, "word")
        assert (messages[-1]["text"], messages[-1]["place"]) == ("yes", [0, 3])
        first = sock.recv(timeout=30)
        assert isinstance(first, bytes)
        say(sock, type="text", text=" tea")
        say(sock, type="close")
        sound, _ = listen(sock, "flushed")
        assert before + first[4:] + sound == said("Yes. A tea", 0.5)[0]


def test_who_cancels_is_told_how_much_was_sent(server) -> None:
    with dial(server) as sock:
        say(sock, type="init", voice="ann", input="text", timestamp_granularities=["phone"])
        hear(sock, "ready")
        say(sock, type="text", text="Yes. A")
        sound = b""
        while not sound:
            message = sock.recv(timeout=30)
            sound = message[4:] if isinstance(message, bytes) else b""
        say(sock, type="cancel")
        more, messages = listen(sock, "cancelled")
        last, seconds = messages[-1], len(sound + more) / 2 / 8000
        assert (last["utterance"], last["bytes"], last["seconds"]) == (0, len(sound + more), seconds)
        words = [one for one in said("Yes. A")[1] if one["type"] == "word" and one["start"] < seconds]
        assert last["word"] == ({key: words[-1][key] for key in words[-1] if key != "type"} if words else None)
        assert {one["type"] for one in messages[:-1]} <= {"phone"}


def test_text_goes_on_after_a_break(server) -> None:
    """From the byte that was received; times that begin behind it come again, and no others are lost."""
    with dial(server) as sock:
        say(sock, type="init", voice="ann", input="text", speed=0.5, timestamp_granularities=["word"])
        token = json.loads(sock.recv(timeout=30))["resume"]
    sound, times = said(TEXT, 0.5)
    words = [one for one in times if one["type"] == "word"]
    for offset in (0, 1, len(sound) // 2, len(sound)):
        with dial(server) as sock:
            say(sock, type="init", resume=token, offset=offset)
            hear(sock, "ready")
            say(sock, type="text", text=TEXT)
            say(sock, type="flush")
            rest, messages = listen(sock, "flushed")
            assert rest == sound[offset:]
            again = told(messages)
            assert again == words[len(words) - len(again) :]
            assert len(again) >= sum(one["start"] * 8000 * 2 >= offset for one in words)


def test_the_clients_send_text_and_hear_times(server) -> None:
    client = Client(f"http://127.0.0.1:{server.port}", timeout=30)
    asked = {"voice": "ann", "input": "text", "timestamp_granularities": TIMES}
    sound, times = said(TEXT)

    async def hear_all() -> bytes:
        async with client.astream(**asked) as stream:
            await stream.send(TEXT)
            await stream.finish()
            heard = b"".join([sound async for sound in stream])
            assert told(list(stream.told)) == times
            return heard

    with client.stream(**asked) as stream:
        for letter in TEXT:
            stream.send(letter)
        stream.finish()
        assert b"".join(stream) == sound
        assert told(list(stream.told)) == times
        stream.cancel()
        assert list(stream) == []
        assert stream.heard["bytes"] == len(sound)
    assert asyncio.run(hear_all()) == sound


def test_text_to_a_voice_that_cannot_read_is_refused(server) -> None:
    for init, why in (({"voice": "zoe"}, "cannot read text"), ({"voice": "ann", "speed": 9}, "out of range")):
        with dial(server) as sock:
            say(sock, type="init", input="text", **init)
            assert why in json.loads(sock.recv(timeout=30))["message"]
    with dial(server) as sock:
        say(sock, type="init", voice="ann", input="text")
        hear(sock, "ready")
        sock.send(bytes(4) + b"\xff\xff")
        assert json.loads(sock.recv(timeout=30))["code"] == "invalid_input"


def test_events_tell_times_by_the_official_client(server) -> None:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0) as api:
        for text, asked in ((TEXT, ["word"]), (DOCUMENT, TIMES), (TEXT, [])):
            answer = api.audio.speech.create(
                model="ann", voice="ann", input=text, response_format="pcm",
                extra_body={"stream_format": "sse", "timestamp_granularities": asked},
            )  # fmt: skip
            events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
            sound, times = said(text)
            assert b"".join(base64.b64decode(one["audio"]) for one in events if "audio" in one) == sound
            words = [one for one in events if one["type"].removeprefix("speech.") in TIMES]
            assert words == [{**one, "type": f"speech.{one['type']}"} for one in times if one["type"] in asked]
            _require_in_front(events)


def _require_in_front(events: list[dict[str, Any]]) -> None:
    """Whatever has a time is told before the sound that it begins in, and behind the sound before that."""
    heard = 0.0
    for one in events:
        if "audio" in one:
            before, heard = heard, heard + len(base64.b64decode(one["audio"])) / 2 / 8000
        elif "start" in one:
            assert one["start"] >= heard - 1e-9
    assert heard > before


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"timestamp_granularities": ["x"]}, "choose among word, phone, mark"),
        ({"timestamp_granularities": ["word"], "stream_format": "audio"}, "ask for 'stream_format': 'sse'"),
        ({"timestamp_granularities": "word"}, "expected an array"),
        ({"input": "[a](/QQ/)"}, "QQ"),
    ],
)
def test_what_cannot_be_told_is_refused(server, change: dict, text: str) -> None:
    body = {"model": "ann", "voice": "ann", "input": "A tea.", "stream_format": "sse"} | change
    status, _, answer = server.request("POST", "/v1/audio/speech", json.dumps(body).encode())
    assert status in (400, 422)
    assert text in json.loads(answer)["error"]["message"]


def test_records_are_read_however_they_are_cut() -> None:
    moment = Moment("word", "tea", 0.1234567, 0.5, (0, 3))
    data = encode_sound(b"abc", 3) + encode_moment(moment) + encode_sound(b"", 4)
    fields = {"type": "word", "text": "tea", "start": 0.123457, "duration": 0.5, "place": [0, 3]}
    for size in (1, 2, 7, len(data)):
        decoder = RecordDecoder()
        made = [one for at in range(0, len(data), size) for one in decoder.feed(data[at : at + size])]
        assert made == [Record(b"abc", 3), Record(told=fields), Record(b"", 4)]
