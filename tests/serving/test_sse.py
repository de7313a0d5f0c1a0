"""Sound as server-sent events: the same bytes, whoever reads them, and an event where it goes wrong."""

from __future__ import annotations

import base64
import json
import random

import openai
import pytest

from serving.app import App
from serving.client import Client, ServerError
from serving.sound import sse
from serving.streams.sound import SoundRequest
from serving.streams.vocoder import VoiceSettings
from tests.serving.fakes import audio_file, everything, fake_vocoder, tone
from tests.serving.live import Live

BODY = audio_file(tone(0.3))


@pytest.fixture
def served():
    vocoder = fake_vocoder(batch=16)
    with Live(App(vocoder, threads=1, slots=2)) as server:
        yield vocoder, server, Client(f"http://127.0.0.1:{server.port}", timeout=30)


def test_events_are_read_however_they_are_cut():
    text = (
        b': hello\r\ndata: {"a":\ndata: 1}\n\nevent: x\nid: 7\ndata:{"b": 2}\r\n\r\n\n\n'
        + sse.sound_event(b"\0\1")
        + b"data: {"
    )
    want = [{"a": 1}, {"b": 2}, {"type": "speech.audio.delta", "audio": "AAE="}]
    for seed in range(50):
        rng, events, got, at = random.Random(seed), sse.EventParser(), [], 0
        while at < len(text):
            size = rng.choice([1, 2, 7, 100])
            got += events.feed(text[at : at + size])
            at += size
        assert got == want, seed
    for wrong in (b"data: x\n\n", b"data: []\n\n"):
        with pytest.raises(ValueError):
            list(sse.EventParser().feed(wrong))


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [(b"text/event-stream", True), (b"audio/wav, Text/Event-Stream;q=0.5", True), (b"*/*", False), (b"", False),
     (b"text/event-streams", False)],
)  # fmt: skip
def test_who_names_events_gets_them(accept, wanted):
    assert sse.accepts_events(accept) is wanted


def test_the_events_carry_the_same_bytes_and_end(served):
    vocoder, server, client = served
    want = b"".join(everything(vocoder, SoundRequest(VoiceSettings(4), "pcm"), BODY))
    status, headers, body = server.post("format=pcm&seed=4", BODY, Accept="text/event-stream")
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert headers["x-synthetic"].startswith("seqgen; kind=vocoder")
    *deltas, last = sse.EventParser().feed(body)
    assert {fields["type"] for fields in deltas} == {"speech.audio.delta"}
    assert len(deltas) > 2
    assert b"".join(base64.b64decode(fields["audio"]) for fields in deltas) == want
    assert (last["type"], set(last["usage"].values())) == ("speech.audio.done", {0})
    assert b"".join(client.vocode(BODY, form="pcm", seed=4, events=True)) == want
    token = headers["x-resume-token"]
    status, _, body = server.post(f"resume={token}&offset=1001", BODY, Accept="text/event-stream")
    sound = [fields["audio"] for fields in sse.EventParser().feed(body) if "audio" in fields]
    assert b"".join(map(base64.b64decode, sound)) == want[1001:]
    # What is refused is refused as ever.
    status, headers, body = server.post("seed=-1", BODY, Accept="text/event-stream")
    assert (status, headers["content-type"]) == (422, "application/json")


def test_a_failure_in_the_middle_is_an_event(served):
    vocoder, server, client = served
    vocoder.runtime.fail_after = 1000
    status, headers, body = server.post("format=pcm", BODY, Accept="text/event-stream")
    *deltas, last = sse.EventParser().feed(body)
    assert (status, len(deltas) > 0) == (200, True)
    assert last["error"]["type"] == "server_error"
    assert headers["x-request-id"] in last["error"]["message"]
    with pytest.raises(ServerError, match="the voice failed"):
        list(client.vocode(BODY, form="pcm", events=True, resumes=3))


def test_the_client_does_not_take_a_cut_for_the_end(served, monkeypatch):
    _, _, client = served
    monkeypatch.setattr(sse, "done_event", lambda: b"")
    with pytest.raises(OSError, match="the events ended before the sound did"):
        list(client.vocode(BODY, events=True))


def test_the_official_client_reads_them(served):
    vocoder, server, _ = served
    options = {"content": BODY, "cast_to": object, "stream": True, "stream_cls": openai.Stream[object]}
    headers = {"Accept": "text/event-stream", "Content-Type": "audio/wav"}
    with openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="x", max_retries=0, timeout=30) as api:
        *deltas, last = api.post("/vocode?format=pcm", options={"headers": headers}, **options)
        sound = b"".join(base64.b64decode(fields["audio"]) for fields in deltas)
        assert sound == b"".join(everything(vocoder, SoundRequest(form="pcm"), BODY))
        assert last["type"] == "speech.audio.done"
        vocoder.runtime.fail_after = 1000
        with pytest.raises(openai.APIError, match="the voice failed"):
            list(api.post("/vocode?format=pcm", options={"headers": headers}, **options))
        # Text in: still no voice that reads.
        with pytest.raises(openai.BadRequestError, match="cannot read text"):
            api.audio.speech.create(model="fake", voice="fake", input="Hello.", stream_format="sse")


def test_speech_in_an_unknown_stream_format_is_refused(served):
    _, server, _ = served
    for key, value, code in (("stream_format", "x", "invalid_value"), ("speed", "1", "invalid_type")):
        body = json.dumps({"model": "fake", "input": "x", "voice": "fake", key: value}).encode()
        status, _, answer = server.request("POST", "/v1/audio/speech", body)
        assert (status, json.loads(answer)["error"]["code"], json.loads(answer)["error"]["param"]) == (400, code, key)
