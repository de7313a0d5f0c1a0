"""The official ``openai`` client, which nobody here wrote, understands what the server answers."""

from __future__ import annotations

import openai
import pytest

from serving.app import App
from serving.http.keys import ApiKeys, add_key, read_keys
from tests.serving.fakes import fake_vocoder
from tests.serving.live import Live


@pytest.fixture
def secret(tmp_path):
    return add_key(tmp_path / "keys.jsonl", "me", 1)


@pytest.fixture
def server(tmp_path, secret):
    keys = read_keys(tmp_path / "keys.jsonl")
    with Live(App(fake_vocoder(name="zoe"), threads=1, keys=ApiKeys(keys))) as live:
        yield live


def client(server, key):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=key, max_retries=0, timeout=30)


def test_it_lists_the_voices(server, secret):
    with client(server, secret) as api:
        assert [model.id for model in api.models.list()] == ["zoe"]
        assert api.models.retrieve("zoe").owned_by == "seqgen"
        with pytest.raises(openai.NotFoundError):
            api.models.retrieve("none")


def test_it_is_told_that_a_vocoder_cannot_read(server, secret):
    with client(server, secret) as api:
        with pytest.raises(openai.BadRequestError, match="cannot read text") as caught:
            api.audio.speech.create(model="zoe", voice="zoe", input="Hello.", response_format="wav")
        assert (caught.value.code, caught.value.param) == ("voice_has_no_text_front_end", "model")
        assert caught.value.request_id
        with pytest.raises(openai.NotFoundError) as caught:
            api.audio.speech.create(model="tts-1", voice="alloy", input="Hello.")
        assert caught.value.code == "model_not_found"


def test_it_is_turned_away_without_a_key(server):
    with client(server, "sk-wrong") as api, pytest.raises(openai.AuthenticationError) as caught:
        api.models.list()
    assert caught.value.code == "invalid_api_key"
