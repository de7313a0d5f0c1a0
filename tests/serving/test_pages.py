"""Listings, counts and the OpenAI speech interface."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from serving.app import App
from serving.http.metrics import Metrics
from serving.http.pages import resource
from serving.scheduling.events import StreamEvent
from serving.voices.cache import VoiceCache
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice
from serving.workers.pool import WorkerPool
from tests.serving.fakes import SPEC, audio_file, fake_vocoder, tone
from tests.serving.live import Live, message


@pytest.fixture
def server():
    with Live(App(FixedVoices(LoadedVoice(fake_vocoder()), LoadedVoice(fake_vocoder(name="zoe"))), threads=1)) as live:
        yield live


def test_voices_are_listed_and_chosen_by_name(server):
    models = json.loads(server.request("GET", "/v1/models")[2])
    assert [row["id"] for row in models["data"]] == ["fake", "zoe"]
    row = json.loads(server.request("GET", "/v1/models/zoe")[2])
    assert row == models["data"][1]
    assert (row["object"], row["sample_rate"], row["feature_signature"]) == ("model", 8000, SPEC.signature)
    assert json.loads(server.request("GET", "/v1/audio/voices")[2])["voices"][1]["id"] == "zoe"
    assert server.request("GET", "/v1/models/none")[0] == 404
    body = audio_file(tone(0.1))
    assert 'voice="zoe"' in server.post("voice=zoe", body)[1]["x-synthetic"]
    status, _, answer = server.post("", body)  # which of the two is nobody's guess
    assert (status, json.loads(answer)["error"]["code"]) == (422, "voice_required")
    assert message(answer) == "no voice is named, and none is the default; name one of: fake, zoe"
    status, _, answer = server.post("voice=none", body)
    assert (status, message(answer)) == (404, "there is no voice 'none'; voices here: fake, zoe")


def test_text_for_a_vocoder_is_refused_with_what_it_needs(server):
    body = json.dumps({"model": "zoe", "input": "a secret", "voice": "zoe"}).encode()
    status, _, answer = server.request("POST", "/v1/audio/speech", body, Content_Type="application/json")
    error = json.loads(answer)["error"]
    assert (status, error["code"], error["param"]) == (400, "voice_has_no_text_front_end", "model")
    assert "POST /v1/vocode" in error["message"]
    assert "secret" not in error["message"]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b"[1]", 400, "not a JSON object"),
        (b"[" * 60_000, 400, "not JSON"),
        (b"x" * 70_000, 413, "larger than 65536 bytes"),
        (b"{}", 400, "Missing required parameter: 'model'"),
        (b'{"model": "zoe", "voice": "zoe"}', 400, "Missing required parameter: 'input'"),
        (b'{"model": "zoe", "input": 7, "voice": "zoe"}', 400, "Invalid type for 'input'"),
        (b'{"model": "zoe", "input": "x", "voice": "zoe", "sped": 1}', 400, "Unrecognized request argument"),
        (b'{"model": "x", "input": "x", "voice": "zoe"}', 404, "the model 'x' does not exist; models here: fake, zoe"),
    ],
)
def test_bad_speech_requests(server, body, status, text):
    got, headers, answer = server.request("POST", "/v1/audio/speech", body)
    assert (got, headers["content-type"]) == (status, "application/json")
    assert text in message(answer)


def test_counts_are_there_for_prometheus(server):
    body = audio_file(tone(0.5))
    assert server.post("voice=fake", body)[0] == 200
    assert server.post("voice=zoe", b"")[0] == 422
    status, headers, text = server.request("GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    lines = text.decode().splitlines()
    for line in lines:
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{[^}]*\})? \S+", line), line
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values['seqgen_streams_total{voice="fake"}'] == "1"
    assert values['seqgen_failed_total{voice="zoe"}'] == "1"
    assert values['seqgen_audio_seconds_total{voice="fake"}'] == "0.5"
    assert values['seqgen_first_audio_seconds_count{voice="fake"}'] == "1"
    assert values['seqgen_first_audio_seconds_bucket{voice="fake",le="+Inf"}'] == "1"
    assert (values["seqgen_admitted_total"], values["seqgen_refused_total"]) == ("2", "0")
    assert values['seqgen_worker_load{worker="0"}'] == "0.0"


def test_every_event_of_a_stream_is_counted():
    pool = WorkerPool(workers=1)
    metrics = Metrics(pool, VoiceCache(FixedVoices()))
    playing = SimpleNamespace(model=SimpleNamespace(name='a"b'), closed=False)
    gone = SimpleNamespace(model=playing.model, closed=True)
    metrics.record(playing, StreamEvent((0, 1), b"xx", seconds=0.5, first=0.03, lead=0.6))
    metrics.record(playing, StreamEvent((0, 1), b"xx", seconds=0.25, underrun=True, lead=9.0))
    metrics.record(gone, StreamEvent((0, 1), over=True))
    metrics.record(playing, StreamEvent((1, 1), over=True, failure=ValueError()))
    values = dict(line.rsplit(" ", 1) for line in metrics.text().splitlines() if not line.startswith("#"))
    label = '{voice="a\\"b"}'
    told = {name: values[f"seqgen_{name}_total{label}"] for name in ("streams", "underruns", "cancelled", "failed")}
    assert told == {"streams": "2", "underruns": "1", "cancelled": "1", "failed": "1"}
    assert values[f"seqgen_audio_seconds_total{label}"] == "0.75"
    rows = {le: values[f'seqgen_first_audio_seconds_bucket{label[:-1]},le="{le}"}}'] for le in ("0.02", "0.05", "+Inf")}
    assert rows == {"0.02": "0", "0.05": "1", "+Inf": "1"}
    assert values[f'seqgen_lead_seconds_bucket{label[:-1]},le="2.5"}}'] == "1"
    assert values[f"seqgen_lead_seconds_sum{label}"] == "9.600000"


def test_the_interface_describes_what_there_is(server):
    status, headers, body = server.request("GET", "/openapi.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    described = json.loads(body)
    assert body == resource("openapi.json")
    for path, methods in described["paths"].items():
        for method in methods:
            got = server.request(method.upper(), path.replace("{name}", "zoe"), b"" if method == "post" else None)
            assert str(got[0]) in methods[method]["responses"], path
