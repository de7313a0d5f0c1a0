"""Trace context of requests (W3C Trace Context, version 00), and their spans for OpenTelemetry.

A span is what the access log tells of a request, sent to a collector (OTLP over HTTP).
Nothing here imports OpenTelemetry before somebody asks for it; it comes with ``pip install 'seqgen[otel]'``.

Source: the semantic conventions of OpenTelemetry for HTTP server spans, version 1.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from seqgen.errors import SeqgenError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger("seqgen.serving")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1  # the one flag that version 00 knows
ACCESS = "seqgen.access"
_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PATIENCE = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
_LONGEST = 2.0  # seconds for a collector that does not answer; a restart waits no longer for it
_PATH = "/v1/traces"
_ATTRIBUTES = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "client": "client.address",
    "bytes_in": "http.request.body.size",
    "bytes_out": "http.response.body.size",
    "key": "seqgen.key",
    "close_code": "seqgen.websocket.close_code",
    "first_audio_seconds": "seqgen.first_audio.seconds",
    "cut": "seqgen.cut",
}
_NOWHERE = "-"


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Trace context of one request: identifiers in hexadecimal; ``parent`` is the caller's span, where it told one."""

    trace_id: str
    span_id: str
    parent: str = ""
    sampled: bool = False

    @staticmethod
    def of(given: list[bytes]) -> TraceContext:
        """Trace context of a request with these ``traceparent`` headers; a new trace where they are not one valid one.

        Example:
            >>> TraceContext.of([b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]).trace_id
            '0af7651916cd43dd8448eb211c80319c'
        """
        text = given[0].decode("latin-1").strip(" \t") if len(given) == 1 else ""
        found = _TRACEPARENT.fullmatch(text)
        if found is None or not _valid(*found.groups()):
            return TraceContext(secrets.token_hex(16), secrets.token_hex(8))
        _, trace, parent, flags, _ = found.groups()
        return TraceContext(trace, secrets.token_hex(8), parent, bool(int(flags, 16) & _SAMPLED))

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def _valid(version: str, trace: str, parent: str, _: str, rest: str | None) -> bool:
    """Validity of the parts of a ``traceparent``; later versions may add something at the end."""
    known = version != "ff" and (version != "00" or rest is None)
    return known and set(trace) != {"0"} and set(parent) != {"0"}


@contextlib.contextmanager
def exported(endpoint: str | None) -> Iterator[None]:
    """Context in which requests are traced, where a collector is named here or by OpenTelemetry's own variables.

    Raises:
        SeqgenError: for an ``endpoint`` that is none, or without OpenTelemetry.
    """
    if not endpoint and not any(os.environ.get(name) for name in _VARIABLES):
        yield
        return
    ids = GivenIds()
    try:
        provider = _provider(_collector(endpoint) if endpoint else None, ids)
    except ModuleNotFoundError:
        remedy = "pip install 'seqgen[otel]'"
        if endpoint:
            raise SeqgenError("traces need OpenTelemetry, which is not installed", remedy=remedy) from None
        log.warning("a collector is named, but OpenTelemetry is not installed; %s", remedy)
        yield
        return
    handler = SpanHandler(provider, ids)
    logging.getLogger(ACCESS).addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger(ACCESS).removeHandler(handler)
        provider.shutdown()


def _collector(endpoint: str) -> str:
    """Address that spans are sent to."""
    try:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        raise SeqgenError(f"'{endpoint[:100]}' is no collector", remedy="give --otel http://127.0.0.1:4318") from None
    return endpoint if parts.path.strip("/") else endpoint.rstrip("/") + _PATH


def _provider(collector: str | None, ids: GivenIds) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    about = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME") or "seqgen-serve",
        "service.version": importlib.metadata.version("seqgen"),
    }
    generator: Any = ids  # has the methods without being of the class, which only OpenTelemetry could give it
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False, id_generator=generator)
    patience = None if any(os.environ.get(name) for name in _PATIENCE) else _LONGEST
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=collector, timeout=patience)))
    return provider


class SpanHandler(logging.Handler):
    """Log handler that makes a span of each line of the access log, under the identifiers that the answer told.

    Args:
        provider: where spans go; its samplers decide by the caller's mark whether they do. ids: what it takes for
            their identifiers.
    """

    def __init__(self, provider: TracerProvider, ids: GivenIds) -> None:
        super().__init__()
        self._ids = ids
        self._tracer = provider.get_tracer("seqgen")

    def emit(self, record: logging.LogRecord) -> None:
        """Make the span of one request; under the handler's lock, so that identifiers are not mixed up."""
        context: TraceContext | None = getattr(record, "context", None)
        if context is None:
            return
        from opentelemetry.trace import SpanKind, StatusCode

        fields: dict[str, Any] = getattr(record, "fields", {})
        end = int(record.created * 1e9)
        start = end - int(fields["seconds"] * 1e9)
        self._ids.context = context
        told = {name: fields[key] for key, name in _ATTRIBUTES.items() if fields.get(key, _NOWHERE) != _NOWHERE}
        name = " ".join(fields[key] for key in ("method", "route") if fields[key] != _NOWHERE)
        span = self._tracer.start_span(name, _parent(context), SpanKind.SERVER, told, start_time=start)
        if "first_audio_seconds" in fields:
            span.add_event("first audio", timestamp=start + int(fields["first_audio_seconds"] * 1e9))
        if fields["status"] >= 500 or "cut" in fields:
            span.set_status(StatusCode.ERROR)
        span.end(end)


class GivenIds:
    """Identifiers of the request that is told of, where OpenTelemetry would draw new ones."""

    context = TraceContext("", "")

    def generate_trace_id(self) -> int:
        """Identifier of the trace."""
        return int(self.context.trace_id, 16)

    def generate_span_id(self) -> int:
        """Identifier of the request's own span."""
        return int(self.context.span_id, 16)

    def is_trace_id_random(self) -> bool:
        """Randomness of the identifiers: samplers may go by their bits."""
        return not self.context.parent


def _parent(context: TraceContext) -> Context:
    """Span of the caller, as OpenTelemetry carries it; none for a trace that begins here."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if not context.parent:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    caller = SpanContext(int(context.trace_id, 16), int(context.parent, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(caller), Context())
