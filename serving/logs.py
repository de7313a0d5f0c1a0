"""Logging of every process, as text or as JSON lines: what happened to which request, and never what a user sent."""

from __future__ import annotations

import json
import logging
import sys
import time


class JsonFormatter(logging.Formatter):
    """Formatter of log records as ``{"time", "level", "logger", "message", "request", "trace"}``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request := getattr(record, "request", None)) is not None:
            line["request"] = request
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def form() -> str:
    """Format of this process's logs, ``json`` or ``text``, for the processes that it starts."""
    return "json" if any(isinstance(to.formatter, JsonFormatter) for to in logging.getLogger().handlers) else "text"


def set_up(form: str, level: int = logging.INFO) -> None:
    """Send logs to standard error, as ``json`` or ``text``."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else plain)
    logging.basicConfig(level=level, handlers=[handler], force=True)
