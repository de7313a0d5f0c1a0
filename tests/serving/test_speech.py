"""Text is spoken over HTTP by OpenAI's interface, as the voice says it without a server."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import openai
import pytest

from seqgen.audio.io import pcm16
from seqgen.audio.watermark import watermarked
from seqgen.bundle import Bundle
from seqgen.runtime import open_runtime
from seqgen.runtime.voice import Voice
from serving.app import App
from serving.http.protocol import RequestLimits
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice, served
from tests.runtime.speaking import TEXT
from tests.serving.fakes import fake_vocoder
from tests.serving.live import Live


@pytest.fixture(scope="module")
def server(reading_voice: Path):
    reader = served(Bundle.open(reading_voice))
    reader.name = "ann"
    with Live(App(FixedVoices(LoadedVoice(reader), LoadedVoice(fake_vocoder(name="zoe"))), threads=1)) as live:
        yield live


def said(voice: Path, text: str, *, marked: bool = True, **options: float) -> bytes:
    """16-bit samples of a text, without a server."""
    speaker = Voice(open_runtime(Bundle.open(voice)))
    sound = np.concatenate(list(speaker.sound(speaker.frames(text, 0.0, **options))))
    sound = watermarked(sound, speaker.spec.sample_rate) if marked else sound
    return pcm16(sound).astype("<i2").tobytes()


def client(server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0, timeout=60)


def test_the_official_client_has_it_speak(server, reading_voice: Path) -> None:
    """To the bit what the voice says without a server; the voice counts for more than the model's name."""
    with client(server) as api:
        for model, name in (("ann", "ann"), ("seqgen", "ann"), ("ann", "alloy")):
            made = api.audio.speech.create(model=model, voice=name, input=TEXT, response_format="pcm")
            assert made.read() == said(reading_voice, TEXT)
        quick = api.audio.speech.create(model="ann", voice="ann", input=TEXT, response_format="pcm", speed=2.0)
        assert quick.read() == said(reading_voice, TEXT, speed=2.0)
        assert len(quick.read()) < len(made.read())
        assert api.audio.speech.create(model="ann", voice="ann", input="A").read()[:4] == b"RIFF"
        with api.audio.speech.with_streaming_response.create(
            model="ann", voice="ann", input=TEXT, response_format="pcm"
        ) as response:
            assert b"".join(response.iter_bytes()) == said(reading_voice, TEXT)


def test_it_bears_a_mark_unless_the_operator_says_no(reading_voice: Path) -> None:
    """The header tells of it; without, the samples are the voice's own."""
    body = json.dumps({"model": "ann", "voice": "ann", "input": TEXT, "response_format": "pcm"}).encode()
    for choice, marked in (("speech", True), ("all", True), ("none", False)):
        reader = served(Bundle.open(reading_voice))
        reader.name = "ann"
        app = App(FixedVoices(LoadedVoice(reader)), threads=1, limits=RequestLimits(watermark=choice))
        with Live(app) as live:
            status, headers, answer = live.request("POST", "/v1/audio/speech", body)
        assert (status, answer) == (200, said(reading_voice, TEXT, marked=marked))
        assert headers["x-synthetic"].endswith("; watermark=1") == marked
    assert said(reading_voice, TEXT) != said(reading_voice, TEXT, marked=False)


def test_sound_comes_as_events(server, reading_voice: Path) -> None:
    body = {"model": "ann", "voice": "ann", "input": TEXT, "response_format": "pcm", "stream_format": "sse"}
    status, headers, answer = server.request("POST", "/v1/audio/speech", json.dumps(body).encode())
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    events = [json.loads(line[6:]) for line in answer.decode().splitlines() if line.startswith("data: {")]
    sound = b"".join(base64.b64decode(one["audio"]) for one in events if "audio" in one)
    assert sound == said(reading_voice, TEXT)


def test_documents_and_nothing_are_said(server, reading_voice: Path) -> None:
    for text in ('<speak>A <break time="300ms"/>tea.</speak>', "…", ""):
        body = {"model": "ann", "voice": "ann", "input": text, "response_format": "pcm"}
        status, _, answer = server.request("POST", "/v1/audio/speech", json.dumps(body).encode())
        assert (status, answer) == (200, said(reading_voice, text))


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"response_format": "mp3"}, 400, "choose one of wav, pcm"),
        ({"speed": 9}, 400, "give 0.25 to 4.0"),
        ({"stream_format": "x"}, 400, "choose 'audio' or 'sse'"),
        ({"input": "\ud800"}, 400, "whole characters"),
        ({"input": "<speak>A"}, 422, "line 1"),
        ({"model": "x", "voice": "x"}, 404, "models here: ann, zoe"),
        ({"model": "zoe", "voice": "zoe"}, 400, "cannot read text"),
    ],
)
def test_what_cannot_be_said_is_refused(server, change: dict, status: int, text: str) -> None:
    body = {"model": "ann", "voice": "ann", "input": "A tea."} | change
    got, headers, answer = server.request("POST", "/v1/audio/speech", json.dumps(body).encode())
    assert (got, headers["content-type"]) == (status, "application/json")
    assert text in json.loads(answer)["error"]["message"]


def test_it_is_listed_as_a_voice_that_speaks(server) -> None:
    (row, _) = json.loads(server.request("GET", "/v1/audio/voices")[2])["voices"]
    assert (row["id"], row["kind"]) == ("ann", "voice")
