"""Further names of voices: how they are read, what is listed, and who is had by them through OpenAI's own client."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import openai
import pytest

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from serving.app import App
from serving.cli.__main__ import main, parser
from serving.reload import Reload
from serving.voices.aliases import read_aliases
from serving.voices.store import FixedVoices
from serving.voices.voice import LoadedVoice, served
from tests.runtime.speaking import TEXT
from tests.serving.fakes import fake_vocoder
from tests.serving.live import Live
from tests.serving.text_fakes import fake_text

ALIASES = {"nova": "ann", "tts-1-hd": "bob", "old": "zoe", "davinci": "fake-text"}


def reader(voice: Path, name: str) -> LoadedVoice:
    model = served(Bundle.open(voice))
    model.name = name
    return LoadedVoice(model)


def store(voice: Path, *names: str) -> FixedVoices:
    text = fake_text()
    text.name = "fake-text"
    return FixedVoices(LoadedVoice(fake_vocoder(name="zoe")), LoadedVoice(text), *(reader(voice, one) for one in names))


@pytest.fixture(scope="module")
def server(reading_voice: Path):
    with Live(App(store(reading_voice, "ann", "bob"), threads=1, aliases=ALIASES)) as live:
        yield live


def client(server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0, timeout=60)


def spoken_by(server, model: str, voice: str) -> str:
    """Voice that speaks by two names, as the answer's mark tells."""
    with client(server) as api:
        answer = api.audio.speech.with_raw_response.create(model=model, voice=voice, input=TEXT)
        return answer.headers["x-synthetic"].partition('voice="')[2].partition('"')[0]


@pytest.mark.parametrize(
    ("model", "name", "speaks"),
    [
        ("tts-1", "nova", "ann"),
        ("tts-1-hd", "shimmer", "bob"),
        ("tts-1-hd", "nova", "ann"),
        ("nova", "whoever", "ann"),
        ("nova", "bob", "bob"),
        ("zoe", "nova", "ann"),
    ],
)
def test_a_voice_is_had_by_its_aliases(server, model: str, name: str, speaks: str) -> None:
    assert spoken_by(server, model, name) == speaks


def test_a_usual_name_is_nobodys_where_there_are_several(server) -> None:
    with client(server) as api:
        with pytest.raises(openai.NotFoundError, match="models here: zoe, fake-text, ann, bob, nova, tts-1-hd") as told:
            api.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
        assert told.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError, match="'old' is a vocoder"):
            api.audio.speech.create(model="old", voice="old", input=TEXT)
        assert api.completions.create(model="davinci", prompt="a", max_tokens=3).choices[0].text


@pytest.mark.parametrize(("readers", "default"), [(["ann"], None), (["ann", "bob"], "ann"), (["ann", "bob"], "nova")])
def test_a_usual_name_is_that_of_the_only_voice_or_of_the_default(reading_voice: Path, readers: list, default) -> None:
    app = App(store(reading_voice, *readers), threads=1, default=default, aliases={"nova": "ann"})
    with Live(app) as server:
        assert spoken_by(server, "gpt-4o-mini-tts", "coral") == "ann"
        for model, name in (("tts-1", "alloi"), ("tts1", "alloy")):
            with client(server) as api, pytest.raises(openai.NotFoundError):
                api.audio.speech.create(model=model, voice=name, input=TEXT)


def test_an_alias_counts_for_features_and_recordings_too(server) -> None:
    status, headers, _ = server.request("POST", "/v1/vocode?voice=old", b"")
    assert (status, headers["content-type"]) == (422, "application/json")
    assert server.request("POST", "/v1/vocode?voice=young", b"")[0] == 404


def test_voices_are_listed_for_clients_that_speak(server) -> None:
    """Those that read first, each with an id and a name, as Open WebUI wants them."""
    rows = json.loads(server.request("GET", "/v1/audio/voices")[2])["voices"]
    assert [(row["id"], row["name"], row["reads"], row.get("alias_of")) for row in rows] == [
        ("ann", "ann", True, None),
        ("bob", "bob", True, None),
        ("nova", "nova", True, "ann"),
        ("tts-1-hd", "tts-1-hd", True, "bob"),
        ("zoe", "zoe", False, None),
        ("old", "old", False, "zoe"),
    ]
    told = {key: rows[0][key] for key in ("kind", "language", "sample_rate", "licence", "description")}
    assert told == {"kind": "voice", "language": "en", "sample_rate": 8000, "licence": "CC0",
                    "description": "text in, audio out"}  # fmt: skip
    assert "language" not in rows[4]
    models = json.loads(server.request("GET", "/v1/audio/models")[2])["models"]
    assert models == [{"id": name, "name": name} for name in ("ann", "bob", "nova", "tts-1-hd")]


def test_aliases_are_models_of_the_official_client(server) -> None:
    with client(server) as api:
        listed = ["zoe", "fake-text", "ann", "bob", "nova", "tts-1-hd", "old", "davinci"]
        assert [model.id for model in api.models.list()] == listed
        assert api.models.retrieve("nova").alias_of == "ann"
        with pytest.raises(openai.NotFoundError):
            api.models.retrieve("alloy")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["alloy"], "write NAME=VOICE"),
        (["=ann"], "write NAME=VOICE"),
        (["../x=ann"], "write NAME=VOICE"),
        (["a b=ann"], "write NAME=VOICE"),
        (["x" * 65 + "=ann"], "write NAME=VOICE"),
        (["alloy=eve"], "there is no voice 'eve'; voices here: ann, zoe"),
        (["alloy="], "there is no voice ''"),
        (["ann=zoe"], "'ann' is a voice of its own"),
        (["alloy=ann", "alloy=zoe"], "'alloy' is 'ann' already"),
        (["alloy=ann", "nova=alloy"], "there is no voice 'alloy'"),
    ],
)
def test_an_alias_that_cannot_be_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(SeqgenError, match="alias ") as caught:
        read_aliases(words, ["ann", "zoe"])
    assert told in str(caught.value)


def test_the_server_does_not_start_with_an_alias_of_nobody(tmp_path: Path, capsys) -> None:
    (tmp_path / "voices").mkdir()
    words = ["--voices", str(tmp_path / "voices"), "--port", "0", "--alias", "alloy=ann"]
    assert main(["serve", *words]) == 1
    assert "alias 'alloy=ann': there is no voice 'ann'" in capsys.readouterr().err


def test_aliases_are_reloaded_and_wrong_ones_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text('voices = "voices"\nport = 0\n')
    options = parser().parse_args(["serve", "--config", str(tmp_path / "serve.toml")])
    app = App(fake_vocoder(name="zoe"), threads=1)

    def reloaded(line: str) -> str:
        (tmp_path / "serve.toml").write_text(f'voices = "voices"\nport = 0\n{line}\n')

        async def ask() -> None:
            reload = Reload(app, None, options, options.parser.read_again, lambda _: None)
            reload._read_limits = lambda: lambda: None  # there is no configuration of a web server here
            reload.ask()
            await reload._task

        asyncio.run(ask())
        return next((line for line in app.metrics.text().splitlines() if "reload_failed{" in line), "")

    assert reloaded('alias = ["old=zoe"]') == ""
    assert app.cache.aliases == {"old": "zoe"}
    assert 'part="aliases"' in reloaded('alias = ["old=ann"]')
    assert app.cache.aliases == {"old": "zoe"}
    assert reloaded("") == ""
    assert app.cache.aliases == {}
