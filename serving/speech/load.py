"""Load of listeners to whom texts are read: one after the other over real sockets, each played in real time."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from seqgen.errors import SeqgenError

_PATIENCE = 30.0
_PIECE = 1 << 16  # bytes taken at once


class Heard(Protocol):
    """Measurements of what listeners heard, to which they add."""

    refused: int
    failed: list[str]

    def play(self, seconds: float, began: float, dry: float) -> float:
        """Count sound that has come, of a text that was asked for at ``began``; when there will be no more of it."""


def read_texts(file: Path) -> list[str]:
    """Texts of a file, one a line.

    Raises:
        SeqgenError: for a file that cannot be read, or holds none.
    """
    try:
        texts = [line for line in map(str.strip, file.read_text(encoding="utf-8").splitlines()) if line]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SeqgenError(f"{file}: {reason}", remedy="name a file with a text on each line") from None
    if not texts:
        raise SeqgenError(f"{file} holds no text", remedy="write one on each line")
    return texts


class Readings:
    """Readings of texts by a voice over real sockets, to listeners who play them in real time.

    Args:
        url: of the server. voice: which reads, at so many Hz (``rate``). texts: read one after the other, again and
            again. heard: what listeners add to.
    """

    def __init__(self, url: str, voice: str, rate: int, texts: Sequence[str], heard: Heard) -> None:
        self._parts, self._voice, self._rate, self._texts = urlsplit(url), voice, rate, texts
        self._heard, self._lock = heard, threading.Lock()

    def run(self, streams: int, seconds: float) -> None:
        """Read to that many listeners for so long, who come within the first second."""
        until = time.monotonic() + seconds
        listeners = [
            threading.Thread(target=self._run, args=(number, number / streams, until)) for number in range(streams)
        ]
        for listener in listeners:
            listener.start()
        for listener in listeners:
            listener.join()

    def _run(self, number: int, wait: float, until: float) -> None:
        time.sleep(wait)
        connection = http.client.HTTPConnection(self._parts.hostname or "", self._parts.port, timeout=_PATIENCE)
        try:
            for turn in itertools.count(number):
                if time.monotonic() >= until or not self._read(connection, turn, until):
                    return
        except (OSError, http.client.HTTPException) as error:
            with self._lock:
                self._heard.failed.append(repr(error))
        finally:
            connection.close()

    def _read(self, connection: http.client.HTTPConnection, turn: int, until: float) -> bool:
        """Hear one text to its end; ``False`` where it was refused."""
        text, began = self._texts[turn % len(self._texts)], time.monotonic()
        asked = {"model": self._voice, "voice": self._voice, "input": text, "response_format": "pcm"}
        connection.request("POST", "/v1/audio/speech", json.dumps(asked), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            with self._lock:
                self._heard.refused += answer.status == 503
                self._heard.failed += [] if answer.status == 503 else [f"HTTP {answer.status}"]
            return False
        dry, size = 0.0, 0
        while data := answer.read1(_PIECE):
            whole, size = (size + len(data)) // 2 - size // 2, size + len(data)
            with self._lock:
                dry = self._heard.play(whole / self._rate, began, dry)
            if time.monotonic() >= until:
                return False
        time.sleep(max(0.0, min(dry, until) - time.monotonic()))  # it plays to its end
        return True
