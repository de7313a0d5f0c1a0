"""What is stamped on every answer, and what the log and the metrics tell of it."""

from __future__ import annotations

import json
import logging
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serving.app import App
from serving.edge.origin import OriginPolicy
from serving.edge.spans import TraceContext
from serving.http.keys import ApiKeys, add_key, read_keys
from serving.logs import JsonFormatter, TextFormatter, logfmt
from tests.serving.fakes import audio_file, fake_vocoder, tone
from tests.serving.live import Live, wait_for

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def served(tmp_path, caplog):
    caplog.set_level("DEBUG", "seqgen")
    path = tmp_path / "keys.jsonl"
    secret = add_key(path, "radio", 1, 60)
    app = App(fake_vocoder(batch=16), threads=1, slots=2, keys=ApiKeys(read_keys(path)), origins=OriginPolicy())
    with Live(app) as server:
        yield server, {"Authorization": f"Bearer {secret}"}


def told(caplog, count):
    """Fields of the lines about requests, once there are so many."""
    wait_for(lambda: sum(record.name == "seqgen.access" for record in caplog.records) >= count)
    return [record.fields for record in caplog.records if record.name == "seqgen.access"]


def counted(server, auth):
    text = server.request("GET", "/metrics", **auth)[2].decode()
    rows = re.findall(r'seqgen_requests_total\{route="([^"]*)",status="(\d+)"\} (\d+)', text)
    return {(route, int(status)): int(count) for route, status, count in rows}


def test_every_request_is_told_of_and_counted_whatever_came_of_it(served, caplog):
    server, auth = served
    body, hush = audio_file(tone(0.2)), "hush-hush"
    cases = [
        ("POST", "/v1/vocode?format=pcm", body, auth, "/v1/vocode", 200, "radio"),
        ("POST", f"/v1/vocode?speaker={hush}", body, auth, "/v1/vocode", 422, "radio"),
        ("POST", "/v1/vocode", body, {"Authorization": f"Bearer {hush}"}, "/v1/vocode", 401, "-"),
        ("GET", f"/{hush}", None, auth, "-", 404, "radio"),
        ("GET", f"/v1/models/{hush}", None, auth, "/v1/models/{name}", 404, "radio"),
        ("PUT", "/livez", b"", {}, "/livez", 405, "-"),
        ("GET", "/livez", None, {}, "/livez", 200, "-"),
        ("GET", "/livez", None, {"Origin": f"http://{hush}"}, "-", 403, "-"),
        ("GET", "/livez", None, {"Host": hush}, "-", 421, "-"),
    ]
    for method, target, sent, headers, *_ in cases:
        assert server.request(method, target, sent, **headers)[0] in {case[5] for case in cases}
    lines = told(caplog, len(cases))
    got = [(line["method"], line["route"], line["status"], line["key"]) for line in lines]
    assert got == [(method, route, status, key) for method, _, _, _, route, status, key in cases]
    assert {line["client"] for line in lines} == {"127.0.0.1"}
    first = lines[0]
    assert (first["bytes_in"], first["bytes_out"]) == (len(body), 3200)
    assert 0 < first["first_audio_seconds"] <= first["seconds"]
    assert all("first_audio_seconds" not in line for line in lines[1:])
    assert hush not in caplog.text
    assert auth["Authorization"][7:] not in caplog.text
    for (route, status), count in counted(server, auth).items():
        assert count == sum((case[4], case[5]) == (route, status) for case in cases)


def test_refusals_are_warnings_and_counted(served, caplog):
    server, auth = served
    voice = server.app.cache.open["fake"].model
    voice.runtime.gate = threading.Event()
    plugs = [server.app.pool.admit(voice, "radio")]
    assert server.post("", b"x", **auth)[0] == 429
    plugs.append(server.app.pool.admit(voice))
    plugs[0].owner = ""
    assert server.post("", b"x", **auth)[0] == 503
    assert server.post("", b"x")[0] == 401
    for plug in plugs:
        plug.close()
    lines = told(caplog, 3)
    assert [line["status"] for line in lines] == [429, 503, 401]
    levels = [record.levelno for record in caplog.records if record.name == "seqgen.access"]
    assert set(levels) == {logging.WARNING}
    assert {("/v1/vocode", status): 1 for status in (429, 503, 401)}.items() <= counted(server, auth).items()


def test_a_websocket_is_told_of_when_it_ends(served, caplog):
    server, auth = served
    url = f"ws://127.0.0.1:{server.port}/v1/stream"
    with connect(url, additional_headers=auth) as sock:
        sock.send(json.dumps({"type": "init", "input": "audio", "rate": 8000, "encoding": "f32le", "format": "pcm"}))
        sock.send(bytes(4) + tone(0.1).tobytes())
        sock.send(json.dumps({"type": "close"}))
        received = sum(len(message) for message in sock if isinstance(message, bytes))
    with pytest.raises(InvalidStatus):
        connect(url).__enter__()
    stream, refused = told(caplog, 2)
    assert (stream["method"], stream["route"], stream["status"], stream["key"]) == (
        "WEBSOCKET",
        "/v1/stream",
        101,
        "radio",
    )
    assert stream["close_code"] == 1000
    assert stream["bytes_in"] > 3200
    assert stream["bytes_out"] > received >= 1600
    assert 0 < stream["first_audio_seconds"] <= stream["seconds"]
    assert (refused["status"], refused["key"]) == (401, "-")


def test_a_context_that_is_refused_is_told_and_counted(served, caplog):
    server, auth = served
    init = {"type": "init", "input": "audio", "rate": 8000, "encoding": "f32le"}
    with connect(f"ws://127.0.0.1:{server.port}/v1/stream", additional_headers=auth) as sock:
        for context, voice in ((0, "fake"), (1, "fake"), (2, "hush-hush")):
            sock.send(json.dumps({**init, "context": context, "voice": voice}))
            sock.recv(timeout=30)
    lines = told(caplog, 3)
    assert [(line["event"], line["status"]) for line in lines] == [("refusal", 429), ("refusal", 404), ("request", 101)]
    assert {line["key"] for line in lines} == {"radio"}
    assert {("/v1/stream", 429): 1, ("/v1/stream", 404): 1, ("/v1/stream", 101): 1}.items() <= counted(
        server, auth
    ).items()
    assert "hush-hush" not in caplog.text


def test_an_answer_that_breaks_off_is_told_as_cut(served, caplog):
    server, auth = served
    server.app.cache.open["fake"].model.runtime.fail_after = 4000
    with server.connect() as sock:
        head = f"POST /v1/vocode HTTP/1.1\r\nHost: localhost\r\nAuthorization: {auth['Authorization']}\r\n"
        body = audio_file(tone(1.0))
        sock.sendall(f"{head}Traceparent: {PARENT}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        while sock.recv(1 << 16):
            pass
    (line,) = told(caplog, 1)
    assert (line["status"], line["cut"]) == (200, "true")


ANSWERS = [("GET", "/"), ("GET", "/demo.js"), ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics"),
           ("GET", "/none"),
           ("GET", "/v1/models"), ("GET", "/v1/models/none"), ("POST", "/v1/audio/speech"), ("PUT", "/livez"),
           ("POST", "/v1/vocode"), ("GET", "/v1/stream"), ("GET", "/openapi.json"),
           ("OPTIONS", "/v1/vocode")]  # fmt: skip


@pytest.mark.parametrize("known", [True, False])
def test_every_answer_bears_what_keeps_browsers_from_guessing(served, known):
    server, auth = served
    for method, path in ANSWERS:
        _, headers, _ = server.request(method, path, b"" if method == "POST" else None, **(auth if known else {}))
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", headers["traceparent"])
        assert headers["x-request-id"]


def test_the_page_may_talk_to_its_own_server_alone(served):
    server, _ = served
    policy = server.request("GET", "/")[1]["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'self'"
    assert "ws:" not in policy
    assert rules.get("connect-src", "'self'") == "'self'"
    assert "unsafe-inline" not in rules.get("script-src", "")


def test_a_trace_goes_on_through_answer_and_every_line(served, caplog):
    server, auth = served
    server.app.cache.open["fake"].model.runtime.fail_after = 0
    spans = set()
    for _ in range(2):
        _, headers, _ = server.post("", audio_file(tone(0.1)), Traceparent=PARENT, X_Request_Id="me-1", **auth)
        version, trace, span, flags = headers["traceparent"].split("-")
        assert (version, trace, flags) == ("00", TRACE, "01")
        spans.add(span)
    assert len(spans) == 2
    assert "b7ad6b7169203331" not in spans


def test_formatters_tell_the_request_of_a_line():
    import contextvars

    from serving.logs import request_fields

    record = logging.LogRecord("seqgen.serving", logging.INFO, "f.py", 1, "it %s", ("broke",), None)

    def within():
        request_fields.set({"request": "r-1", "trace_id": TRACE, "span_id": "s"})
        return JsonFormatter().format(record), TextFormatter().format(record)

    line, text = contextvars.copy_context().run(within)
    assert (
        json.loads(line).items() >= {"request": "r-1", "trace_id": TRACE, "span_id": "s", "message": "it broke"}.items()
    )
    assert text.endswith(f": it broke request=r-1 trace_id={TRACE} span_id=s")
    assert "request" not in json.loads(JsonFormatter().format(record))
    record.fields = {"event": "request", "status": 200}
    assert json.loads(JsonFormatter().format(record))["status"] == 200


def test_words_of_a_line_cannot_be_taken_for_others():
    assert logfmt({"a": 1, "b": "x y", "c": 'q"="', "d": "", "e": "n\nm", "f": "é"}) == (
        'a=1 b="x y" c="q\\"=\\"" d="" e="n\\nm" f=é'
    )


@pytest.mark.parametrize(
    ("given", "parent"),
    [
        ([PARENT], "b7ad6b7169203331"), ([f" {PARENT}\t"], "b7ad6b7169203331"),
        ([f"cc-{TRACE}-b7ad6b7169203331-01-what-comes-later"], "b7ad6b7169203331"),
        ([], ""), ([PARENT, PARENT], ""), ([""], ""), ([PARENT.upper()], ""), ([PARENT + "-x"], ""),
        ([PARENT + "x"], ""),
        ([PARENT.replace("00-", "ff-", 1)], ""), ([f"00-{'0' * 32}-b7ad6b7169203331-01"], ""),
        ([f"00-{TRACE}-{'0' * 16}-01"], ""), ([f"00-{TRACE}-b7ad6b7169203331"], ""),
        ([f"00-{TRACE[1:]}-b7ad6b7169203331-01"], ""),
        ([f"0-{TRACE}-b7ad6b7169203331-01"], ""), ([f"cc-{TRACE}-b7ad6b7169203331-01.x"], ""),
    ],
)  # fmt: skip
def test_trace_contexts(given, parent):
    context = TraceContext.of([text.encode() for text in given])
    assert context.parent == parent
    assert (context.trace_id == TRACE) == bool(parent)
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", str(context))
    assert context.span_id != parent


@given(st.binary(max_size=70))
def test_any_bytes_make_a_valid_context(given):
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", str(TraceContext.of([given])))
