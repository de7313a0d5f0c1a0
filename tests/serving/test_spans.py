"""Traces of requests: a collector hears of each under the identifiers of its answer; without one nothing changes."""

from __future__ import annotations

import builtins
import http.server
import logging
import threading

import pytest

from seqgen.errors import SeqgenError
from serving.app import App
from serving.cli.__main__ import main
from serving.edge import spans
from tests.serving.fakes import audio_file, fake_vocoder, tone
from tests.serving.live import Live

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in (*VARIABLES, "OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def collector():
    """Address of a collector, and the paths and bodies that it was sent."""
    heard: list[tuple[str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", heard
        server.shutdown()
        thread.join()


@pytest.fixture
def told(caplog):
    """The access log is on, as ``serve`` has it."""
    with caplog.at_level(logging.INFO, spans.ACCESS):
        yield


def received(heard):
    """Resource and spans of what a collector was sent."""
    trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    found = []
    for _, body in heard:
        message = trace_service.ExportTraceServiceRequest.FromString(body)
        for resource in message.resource_spans:
            about = values(resource.resource.attributes)
            found += [(about, span) for scope in resource.scope_spans for span in scope.spans]
    return found


def values(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@pytest.mark.usefixtures("told")
def test_a_collector_hears_of_a_sound_under_the_identifiers_of_its_answer(collector):
    url, heard = collector
    with spans.exported(url), Live(App(fake_vocoder(), threads=1)) as server:
        _, headers, _ = server.post("format=pcm", audio_file(tone(0.1)), traceparent=f"00-{TRACE}-{CALLER}-01")
    assert {path for path, _ in heard} == {"/v1/traces"}
    ((about, span),) = received(heard)
    assert about["service.name"] == "seqgen-serve"
    assert headers["traceparent"].split("-")[1:3] == [span.trace_id.hex(), span.span_id.hex()]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, CALLER)
    assert (span.name, span.kind) == ("POST /v1/vocode", 2)
    given = values(span.attributes)
    assert given["http.response.status_code"] == 200
    assert given["http.route"] == "/v1/vocode"
    assert given["http.response.body.size"] == 1600
    assert span.start_time_unix_nano < span.events[0].time_unix_nano <= span.end_time_unix_nano
    assert span.status.code == 0


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("traceparent", "spans_heard"),
    [(None, 1), ("00-nonsense", 1), (f"00-{TRACE}-{CALLER}-01", 1), (f"00-{TRACE}-{CALLER}-00", 0)],
)
def test_the_caller_s_choice_is_kept_and_who_made_none_is_traced(collector, traceparent, spans_heard):
    url, heard = collector
    with spans.exported(url), Live(App(fake_vocoder(), threads=1)) as server:
        given = {"traceparent": traceparent} if traceparent else {}
        server.request("GET", "/v1/audio/voices", **given)
    assert len(received(heard)) == spans_heard


@pytest.mark.usefixtures("told")
def test_requests_side_by_side_keep_their_own_identifiers(collector):
    url, heard = collector
    answered = set()
    with spans.exported(url), Live(App(fake_vocoder(), threads=1)) as server:

        def ask():
            for _ in range(10):
                _, headers, _ = server.request("GET", "/v1/models")
                answered.add(tuple(headers["traceparent"].split("-")[1:3]))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {(span.trace_id.hex(), span.span_id.hex()) for _, span in received(heard)} == answered
    assert len(answered) == 40


@pytest.mark.usefixtures("told")
def test_failures_are_marked_and_nothing_that_a_client_sent_is_told(collector):
    url, heard = collector
    vocoder = fake_vocoder()
    vocoder.runtime.fail_after = 0
    with spans.exported(url), Live(App(vocoder, threads=1)) as server:
        assert server.post("format=pcm&speaker=secret", audio_file(tone(0.1)))[0] in (400, 422)
        assert server.post("format=pcm", audio_file(tone(0.1)))[0] == 500
        assert server.request("GET", "/secret")[0] == 404
    statuses = {values(span.attributes)["http.response.status_code"]: span.status.code for _, span in received(heard)}
    assert {code for status, code in statuses.items() if status < 500} == {0}
    assert statuses[500] == 2
    assert not any(b"secret" in body for _, body in heard)


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("variable", VARIABLES)
def test_opentelemetry_s_own_variables_name_the_collector(collector, monkeypatch, variable):
    url, heard = collector
    monkeypatch.setenv(variable, url + ("/v1/traces" if "TRACES" in variable else ""))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "zoe")
    with spans.exported(None), Live(App(fake_vocoder(), threads=1)) as server:
        server.request("GET", "/livez")
    ((about, _),) = received(heard)
    assert about["service.name"] == "zoe"


def test_without_a_collector_nothing_is_added():
    before = list(logging.getLogger(spans.ACCESS).handlers)
    with spans.exported(None):
        assert logging.getLogger(spans.ACCESS).handlers == before


@pytest.fixture
def absent(monkeypatch):
    """OpenTelemetry is not installed."""
    inner = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(name)
        return inner(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.usefixtures("absent")
def test_without_opentelemetry_the_option_says_so(tmp_path, capsys):
    assert main(["serve", "--voices", str(tmp_path), "--port", "0", "--otel", "http://127.0.0.1:4318"]) == 1
    assert capsys.readouterr().err.endswith("error: traces need OpenTelemetry, which is not installed; "
                                            "pip install 'seqgen[otel]'\n")  # fmt: skip


@pytest.mark.usefixtures("absent")
def test_without_opentelemetry_a_variable_of_the_machine_stops_nobody(monkeypatch, caplog):
    monkeypatch.setenv(VARIABLES[0], "http://127.0.0.1:4318")
    before = list(logging.getLogger(spans.ACCESS).handlers)
    with spans.exported(None):
        assert logging.getLogger(spans.ACCESS).handlers == before
    assert "not installed" in caplog.text


@pytest.mark.parametrize("url", ["collector:4318", "grpc://x:4317", "http://", "http://x:99999", "http://[::1"])
def test_what_is_no_collector_is_told(url):
    with pytest.raises(SeqgenError, match="no collector"), spans.exported(url):
        pass
