"""The doctor finds what is wrong, says what to do, and is content where nothing is."""

from __future__ import annotations

import json
import socket

import pytest

from serving.cli.__main__ import main
from serving.http.keys import add_key
from serving.sound import opus
from serving.voices.directory import VoiceDirectory


def look(capsys, *arguments):
    status = main(["doctor", "--json", *arguments])
    return status, {row["subject"]: row for row in json.loads(capsys.readouterr().out)}


def test_all_is_well(tmp_path, tiny_bundle, capsys):
    VoiceDirectory(tmp_path).install(tiny_bundle, "zoe")
    status, found = look(capsys, "--voices", str(tmp_path), "--port", "0")
    assert status == 0
    assert found["voice"]["message"] == "zoe: vocoder, 8000 Hz, one voice, works as exported"
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


@pytest.fixture
def served(tmp_path, tiny_bundle):
    """A file of options and what it names, all of it well."""
    VoiceDirectory(tmp_path / "voices").install(tiny_bundle, "zoe")
    add_key(tmp_path / "keys.jsonl", "radio", 1)
    (tmp_path / "secret").write_text("0123456789abcdef" * 4)
    file = tmp_path / "serve.toml"
    file.write_text('voices = "voices"\nkeys = "keys.jsonl"\nresume-secret = "secret"\nuds = "s"\n')
    return file


def test_a_file_of_options_and_what_it_names_are_looked_at(served, capsys):
    status, found = look(capsys, "--config", str(served))
    assert status == 0
    assert found["config"]["message"] == str(served)
    assert found["address"]["message"] == f"unix:{served.parent / 's'} is free"
    assert found["keys"]["message"].startswith("1 in ")
    assert found["secret"]["state"] == "ok"
    assert not (served.parent / "s").exists()


def test_a_folder_that_systemd_makes_is_no_fault_before_the_unit_has_started(served, capsys):
    served.write_text(served.read_text().replace('uds = "s"', 'uds = "run/s"'))
    status, found = look(capsys, "--config", str(served))
    assert (status, found["address"]["state"]) == (0, "note")
    assert "there is no folder" in found["address"]["message"]
    assert not (served.parent / "run").exists()


@pytest.mark.parametrize(
    ("change", "subject", "message"),
    [
        ("treads = 3", "config", "unknown key 'treads'"),
        ('voice = "v"', "config", "not enough to serve"),
        ('tls-cert = "cert.pem"', "tls", "one of --tls-cert and --tls-key is missing"),
        ('keys = "none.jsonl"', "keys", "none.jsonl: cannot be read"),
        ('resume-secret = "short"', "secret", "short"),
        ('default-voice = "zoee"', "default", "there is no voice 'zoee'"),
        ('host = "0.0.0.0"\nno-keys = false\nport = 0', "address", "without keys"),
    ],
)
def test_what_is_wrong_with_a_file_of_options_is_told(served, capsys, change, subject, message):
    (served.parent / "short").write_text("abc")
    rows = dict(line.split(" = ") for line in served.read_text().splitlines())
    if "host" in change:
        del rows["uds"], rows["keys"]
    rows |= dict(line.split(" = ") for line in change.splitlines())
    served.write_text("".join(f"{key} = {value}\n" for key, value in rows.items()))
    status, found = look(capsys, "--config", str(served))
    assert status == 1
    assert found[subject]["state"] == "bad"
    assert message in found[subject]["message"]
