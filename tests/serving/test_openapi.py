"""The served OpenAPI description and the server hold each other to their word: schemathesis asks for what the one
allows, and for what it does not. `make fuzz` asks other questions each time."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

import serving.http
from seqgen.audio.features import log_mel
from serving.app import App
from serving.http.protocol import RequestLimits
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice
from tests.serving.fakes import SPEC, audio_file, fake_vocoder, features_file, tone
from tests.serving.live import Live
from tests.serving.text_fakes import fake_text

LIMITS = RequestLimits(body=100_000, sound=5.0)
SOUND = tone(0.05)
schema = schemathesis.openapi.from_path(Path(serving.http.__path__[0]) / "openapi.json")
for kind in ("wav", "flac", "ogg"):
    schemathesis.openapi.media_type(f"audio/{kind}", st.just(audio_file(SOUND, form=kind.upper())))
schemathesis.openapi.media_type("application/octet-stream", st.just(audio_file(SOUND)))
with tempfile.TemporaryDirectory() as folder:
    features = features_file(Path(folder), log_mel(SOUND, SPEC))
schemathesis.openapi.media_type("application/x-safetensors", st.just(features))


MEDIA = ("*/*", "text/event-stream")


def unsaid(case) -> bool:
    """Whether parameters are such that OpenAPI cannot say which go together, or which a voice takes."""
    query, body = case.query or {}, case.body if isinstance(case.body, dict) else {}
    together = {"resume", "offset", "speaker"} & query.keys() or body.get("stream_options")
    return bool(together) or {"format": "opus"}.items() <= query.items()


@pytest.fixture(scope="module")
def served():
    seen = Counter()
    store = FixedVoices(LoadedVoice(fake_vocoder(batch=16)), LoadedVoice(fake_text()))
    with Live(App(store, threads=1, slots=64, limits=LIMITS)) as server:
        yield f"http://127.0.0.1:{server.port}", seen
    assert {200, 404, 422} <= seen.keys(), "the questions were not what they were meant to be"
    assert seen[MEDIA[1]] > 5


@schema.parametrize()
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_are_as_described(case, served):
    url, seen = served
    left_out = [positive_data_acceptance] if unsaid(case) else []
    for accepted in MEDIA if case.path == "/v1/vocode" else MEDIA[:1]:
        answer = case.call_and_validate(base_url=url, headers={"Accept": accepted}, excluded_checks=left_out)
        seen.update([answer.status_code, *answer.headers.get("content-type", ())])
