"""The doctor finds what is wrong, says what to do, and is content where nothing is."""

from __future__ import annotations

import json
import socket

import pytest

from serving.cli.__main__ import main, parser
from serving.sound import opus
from serving.voices.directory import VoiceDirectory


def look(capsys, *arguments):
    status = main(["doctor", "--json", *arguments])
    return status, {row["subject"]: row for row in json.loads(capsys.readouterr().out)}


def test_all_is_well(tmp_path, tiny_bundle, capsys):
    VoiceDirectory(tmp_path).install(tiny_bundle, "zoe")
    status, found = look(capsys, "--voices", str(tmp_path), "--port", "0")
    assert status == 0
    assert found["voice"]["message"] == "zoe: vocoder, 8000 Hz, sounds as exported"
    assert {row["state"] for row in found.values()} <= {"ok", "note"}


def test_a_damaged_voice_and_a_taken_port_are_bad(tmp_path, tiny_bundle, capsys):
    store = VoiceDirectory(tmp_path)
    store.install(tiny_bundle, "zoe")
    (tmp_path / "zoe" / "weights.safetensors").write_bytes(b"x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, found = look(capsys, "--voices", str(tmp_path), "--port", str(taken.getsockname()[1]))
    assert status == 1
    assert (found["voice"]["state"], found["address"]["state"]) == ("bad", "bad")
    assert "1 bytes, the manifest says" in found["voice"]["message"]
    assert found["address"]["remedy"] == "choose another --host or --port"


def test_a_missing_engine_is_bad_and_a_missing_codec_a_note(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEQGEN_ENGINE", str(tmp_path / "none.so"))
    monkeypatch.setattr(opus, "library", lambda: None)
    status, found = look(capsys, "--voices", str(tmp_path / "none"), "--port", "0")
    assert status == 1
    assert (found["engine"]["state"], found["opus"]["state"], found["voices"]["state"]) == ("bad", "note", "note")
    assert main(["doctor", "--voices", str(tmp_path), "--port", "0"]) == 1
    assert "install libopus0" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["Dockerfile", "seqgen-serve.service", "kubernetes.yaml"])
def test_what_is_deployed_starts_with_options_that_exist(repository, name):
    text = (repository / "serving" / "deploy" / name).read_text()
    lines = [line for line in text.splitlines() if "--voices" in line and "serve" in line and not line.startswith("#")]
    assert lines
    for line in lines:
        words = line.replace('"', " ").replace(",", " ").replace("[", " ").replace("]", " ").split()
        given = words[words.index("serve") :] if "serve" in words else []
        options = parser().parse_args(given)
        assert options.voices
