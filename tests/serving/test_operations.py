"""TLS and logs, as an operator meets them: in a process of its own."""

from __future__ import annotations

import http.client
import json
import logging
import ssl

import pytest

from serving.cli.__main__ import main
from serving.logs import JsonFormatter
from tests.serving.fakes import audio_file, tone
from tests.serving.live import make_certificate
from tests.serving.test_real_voice import start


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate for 127.0.0.1, made for this test."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_sound_and_listings_over_tls_and_logs_as_json(repository, tiny_bundle, certificate):
    cert, key = certificate
    process = start(repository, "serve", "--voice", tiny_bundle, "--port", "0", "--log", "json",
                    "--tls-cert", cert, "--tls-key", key)  # fmt: skip
    try:
        address = process.stdout.readline().decode().split(" on ")[-1].strip()
        assert address.startswith("https://127.0.0.1:")
        port = int(address.rsplit(":", 1)[1])
        trust = ssl.create_default_context(cafile=str(cert))
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=trust)
        connection.request("POST", "/v1/vocode?format=pcm", audio_file(tone(0.1)))
        answer = connection.getresponse()
        assert (answer.status, len(answer.read())) == (200, 1600)
        connection.close()
        plain = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        plain.request("GET", "/livez")
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            plain.getresponse()
    finally:
        process.terminate()
        _, err = process.communicate(timeout=60)
    for line in err.decode().splitlines():
        if line.startswith("{"):
            assert {"time", "level", "logger", "message"} <= set(json.loads(line))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tls-cert", "cert.pem"], "one of --tls-cert and --tls-key is missing; give both, or none"),
        (["--tls-cert", "no.pem", "--tls-key", "no.pem"], "no.pem: cannot be read"),
        (["--keys", "no.jsonl"], "no.jsonl: cannot be read"),
    ],
)
def test_options_that_cannot_be_are_told_in_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "--voices", "voices", "--port", "0", *arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_log_line_is_one_json_object_with_its_request():
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        trouble = (type(error), error, error.__traceback__)
    record = logging.LogRecord("seqgen.serving", logging.ERROR, "f.py", 1, "it %s", ("broke",), trouble)
    record.request = "id-1"
    text = JsonFormatter().format(record)
    line = json.loads(text)
    assert "\n" not in text
    assert (line["level"], line["message"], line["request"]) == ("error", "it broke", "id-1")
    assert line["trace"].endswith("ValueError: two\nlines")
    assert line["time"].endswith("Z")
