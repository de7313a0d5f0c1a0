"""Logging of every process, as text or as JSON lines: what happened to which request, and never what a user sent."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

request_fields: ContextVar[Mapping[str, str]] = ContextVar("request_fields", default={})  # noqa: B039 - never changed
"""Fields of the request under way: every line that is logged while it is served bears them."""


class JsonFormatter(logging.Formatter):
    """Formatter of log records as ``{"time", "level", "logger", "message", "request", "trace_id", "span_id", …}``.

    A record's ``fields`` stand beside the message, which says the same in words; ``trace`` is a traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Formatter of log records as a line of words, with the request's fields behind it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s%(told)s")

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it where there is one."""
        record.told = "".join(f" {key}={value}" for key, value in _request_of(record).items())
        return super().format(record)


def _request_of(record: logging.LogRecord) -> dict[str, Any]:
    """Fields of the request that a record is about."""
    fields = dict(request_fields.get())
    if (request := getattr(record, "request", None)) is not None:
        fields["request"] = request
    return fields


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    given: Mapping[str, Any] = getattr(record, "fields", {})
    return _request_of(record) | dict(given)


def logfmt(fields: Mapping[str, Any]) -> str:
    """Fields in words: ``key=value``, values quoted where they hold spaces or quotes.

    Example:
        >>> logfmt({"status": 200, "error": "no slot"})
        'status=200 error="no slot"'
    """
    return " ".join(f"{key}={_word(value)}" for key, value in fields.items())


def _word(value: Any) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)


def form() -> str:
    """Format of this process's logs, ``json`` or ``text``, for the processes that it starts."""
    return "json" if any(isinstance(to.formatter, JsonFormatter) for to in logging.getLogger().handlers) else "text"


def set_up(form: str, level: int = logging.INFO) -> None:
    """Send logs to standard error, as ``json`` or ``text``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
