"""Load of readers: texts that are asked for one after the other over real sockets, and how fast they come."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

TEXT = 512
"""Symbols of one text; then the next begins, so that first symbols are counted often."""
_PATIENCE = 30.0


@dataclass
class ReaderReport:
    """Measurements of all readers together."""

    first: list[float] = field(default_factory=list)  # seconds from the request to the first text
    symbols: int = 0
    seconds: float = 0.0  # until the last of them had ended
    refused: int = 0
    failed: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Figures of the readers, as they are printed."""
        first = np.array(self.first or [float("nan")]) * 1000
        return {
            "tokens_per_second": round(self.symbols / self.seconds, 1) if self.seconds else 0.0,
            "tokens": self.symbols,
            "first_text_ms_p50": round(float(np.quantile(first, 0.5)), 2),
            "first_text_ms_p99": round(float(np.quantile(first, 0.99)), 2),
            "first_text_count": len(self.first),
            "refused": self.refused,
            "failed": len(self.failed),
        }


def run_readers(url: str, model: str, streams: int, seconds: float) -> ReaderReport:
    """Measurements of that many readers, each of whom asks for text after text for so long."""
    report, lock, began = ReaderReport(), threading.Lock(), time.monotonic()

    def run(number: int) -> None:
        try:
            _read(url, model, number, began + seconds, report, lock)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            with lock:
                report.failed.append(repr(error))

    readers = [threading.Thread(target=run, args=(number,)) for number in range(streams)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    report.seconds = time.monotonic() - began
    return report


def _read(url: str, model: str, number: int, until: float, report: ReaderReport, lock: threading.Lock) -> None:
    """Read as one reader: text after text, until the time is over."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PATIENCE)
    asked = {"model": model, "prompt": "a", "max_tokens": TEXT, "seed": number, "stream": True}
    body = json.dumps(asked | {"stream_options": {"include_usage": True}})
    try:
        while time.monotonic() < until:
            began, first, last = time.monotonic(), 0.0, b""
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                with lock:
                    report.refused += answer.status == 503
                    report.failed += [] if answer.status == 503 else [f"HTTP {answer.status}"]
                return
            for line in answer:
                first = first or time.monotonic() - began
                last = line if line.startswith(b"data: {") else last
            with lock:
                report.first.append(first)
                report.symbols += json.loads(last[6:])["usage"]["completion_tokens"]
    finally:
        connection.close()
