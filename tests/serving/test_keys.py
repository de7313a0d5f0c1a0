"""API keys: hashed, compared whole, limited in streams, and never to be seen again."""

from __future__ import annotations

import json
import os
import threading

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from seqgen.errors import SeqgenError
from serving.app import App
from serving.cli.__main__ import main
from serving.http.keys import ApiKeys, add_key, read_keys
from tests.serving.fakes import audio_file, fake_vocoder, tone
from tests.serving.live import Live, message, wait_for


def test_keys_are_made_listed_and_removed(tmp_path, capsys):
    path = tmp_path / "keys.jsonl"
    place = ["--keys", str(path)]
    assert main(["keys", "add", "radio", "--streams", "2", *place]) == 0
    secret = capsys.readouterr().out.strip()
    assert len(secret) > 40
    assert secret not in path.read_text()
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert main(["keys", "add", "radio", *place]) == 1
    assert main(["keys", "add", "../x", *place]) == 1
    assert main(["keys", "add", "tv", *place]) == 0
    assert main(["keys", "remove", "radio", *place]) == 0
    assert main(["keys", "remove", "radio", *place]) == 1
    assert main(["keys", "list", *place]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["tv", "4", "streams"]


@pytest.mark.parametrize("line", ["x", "[]", '{"name": "a", "sha256": "0", "streams": 1}', '{"name": "a"}',
                                  '{"name": "a", "sha256": "' + "0" * 64 + '", "streams": 0}', '"x"',
                                  '{"name": "a", "sha256": "' + "0" * 64 + '", "streams": 1, "per_minute": -1}',
                                  *('{"name": ' + name + ', "sha256": "' + "0" * 64 + '", "streams": 1}'
                                    for name in ('["a"]', "3", "null", '""', '"a\\n"', '"a\\ud800"', f'"{"a" * 65}"')),
                                  "[" * 100_000,
                                 ])  # fmt: skip
def test_a_damaged_file_of_keys_is_refused(tmp_path, line):
    path = tmp_path / "keys.jsonl"
    path.write_text("\n" + line)
    with pytest.raises(SeqgenError, match=r"keys.jsonl:2: not a key"):
        read_keys(path)


@pytest.fixture
def guarded(tmp_path):
    path = tmp_path / "keys.jsonl"
    secrets = [add_key(path, "radio", 1), add_key(path, "tv", 3)]
    vocoder = fake_vocoder()
    with Live(App(vocoder, threads=1, keys=ApiKeys(read_keys(path)))) as server:
        yield server, vocoder, *secrets


def test_a_browser_shows_its_key_as_a_protocol(guarded):
    server, _, radio, _ = guarded
    url = f"ws://127.0.0.1:{server.port}/v1/stream"
    with connect(url, subprotocols=["seqgen", f"seqgen-key.{radio}"]) as sock:
        assert sock.subprotocol == "seqgen"  # and not the key
    wait_for(lambda: server.app.pool.busy == 0)
    for offered in (["seqgen"], ["seqgen", "seqgen-key.x"], ["seqgen", radio], ["seqgen-key."]):
        with pytest.raises(InvalidStatus) as caught:
            connect(url, subprotocols=offered).__enter__()
        assert caught.value.response.status_code == 401


def test_only_a_key_opens_what_makes_sound_or_tells_of_it(guarded, caplog):
    server, _, radio, _ = guarded
    body = audio_file(tone(0.1))
    for given in ("", "Bearer", "Bearer x", f"Basic {radio}", f"Bearer {radio}x", f"Bearer {radio[:-1]}", "Bearer é"):
        for method, path in [("POST", "/v1/vocode"), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/none")]:
            headers = {"Authorization": given.encode("latin-1")} if given else {}
            status, headers, answer = server.request(method, path, body if method == "POST" else None, **headers)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert json.loads(answer)["error"]["code"] == "invalid_api_key"
    for path in ("/", "/livez", "/readyz", "/openapi.json", "/demo.js", "/worklet.js"):
        assert server.request("GET", path)[0] == 200
    assert server.post("", body, Authorization=f"Bearer {radio}")[0] == 200
    assert server.request("GET", "/v1/models", Authorization=f"bearer  {radio}")[0] == 200
    assert radio not in caplog.text


def test_a_key_has_so_many_streams_at_once(guarded):
    server, vocoder, radio, tv = guarded
    vocoder.runtime.gate = threading.Event()
    body = audio_file(tone(0.1))
    url = f"ws://127.0.0.1:{server.port}/v1/stream"
    with connect(url, additional_headers={"Authorization": f"Bearer {radio}"}) as sock:
        wait_for(lambda: server.app.pool.busy == 1)
        status, headers, answer = server.post("", body, Authorization=f"Bearer {radio}")
        assert (status, headers["retry-after"]) == (429, "1")
        assert "all 1 streams of this key" in message(answer)
        vocoder.runtime.gate.set()
        assert server.post("", body, Authorization=f"Bearer {tv}")[0] == 200
        sock.close()
    wait_for(lambda: server.app.pool.busy == 0)
    assert server.post("", body, Authorization=f"Bearer {radio}")[0] == 200
    with pytest.raises(InvalidStatus) as caught, connect(url):
        pass
    assert caught.value.response.status_code == 401


def test_a_key_has_so_many_requests_a_minute(tmp_path, capsys):
    path, now = tmp_path / "keys.jsonl", [100.0]
    assert main(["keys", "add", "radio", "--per-minute", "3", "--keys", str(path)]) == 0
    secret = capsys.readouterr().out.strip()
    tv = add_key(path, "tv", 1)
    assert main(["keys", "list", "--keys", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("4 streams, 3 requests a minute")
    with Live(App(fake_vocoder(), threads=1, keys=ApiKeys(read_keys(path), clock=lambda: now[0]))) as server:

        def ask(secret=secret):
            return server.request("GET", "/v1/models", Authorization=f"Bearer {secret}")

        assert [ask()[0] for _ in range(4)] == [200, 200, 200, 429]
        assert ask(tv)[0] == 200
        status, headers, answer = ask()
        assert (status, headers["retry-after"]) == (429, "20")
        assert "3 requests a minute; try again in 20.0 s" in message(answer)
        now[0] += 20
        assert [ask()[0] for _ in range(2)] == [200, 429]
        now[0] += 3600  # the bucket is full again, and no fuller
        assert [ask()[0] for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.parametrize(("public", "status"), [(False, 401), (True, 200)])
def test_metrics_want_a_key_unless_they_are_public(tmp_path, public, status):
    add_key(tmp_path / "keys.jsonl", "radio", 1)
    keys = ApiKeys(read_keys(tmp_path / "keys.jsonl"))
    with Live(App(fake_vocoder(), threads=1, keys=keys, public_metrics=public)) as server:
        assert server.request("GET", "/metrics")[0] == status
        assert server.request("GET", "/v1/audio/voices")[0] == 401
