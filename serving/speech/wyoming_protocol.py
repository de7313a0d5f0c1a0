"""Wyoming protocol without any I/O: events as bytes, and bytes as events.

An event is a line of JSON, ``{"type", "data", "data_length", "payload_length"}``, then so many bytes of JSON, whose
fields join ``data``, then so many bytes of payload. Source: https://github.com/OHF-Voice/wyoming, its README.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = "1.7.0"
"""Version of the protocol that is spoken: the first in which a text may come bit by bit."""
LARGEST = 1 << 16
"""Bytes of a header, and of an event's data."""
LARGEST_PAYLOAD = 1 << 20


class WyomingError(Exception):
    """Error of a client that breaks the protocol, or asks for what is not there: ``code`` for programs, one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Event:
    """Event without its payload.

    Attributes:
        type: its name. data: its fields. size: bytes that it took.
    """

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0


def written(kind: str, data: Mapping[str, Any] | None = None, payload: bytes = b"") -> bytes:
    """Bytes of an event.

    Example:
        >>> written("synthesize-stopped")
        b'{"type": "synthesize-stopped", "version": "1.7.0"}\\n'
    """
    header: dict[str, Any] = {"type": kind, "version": VERSION}
    body = json.dumps(data).encode() if data else b""
    header |= {"data_length": len(body)} if body else {}
    header |= {"payload_length": len(payload)} if payload else {}
    return json.dumps(header).encode() + b"\n" + body + payload


class EventReader:
    """Reader of one client's events. A payload is passed over as it comes: nothing that is asked for here has one.

    Example:
        >>> EventReader().feed(b'{"type": "describe"}\\n')
        [Event(type='describe', data={}, size=21)]
    """

    def __init__(self) -> None:
        self._unread = bytearray()
        self._looked = 0  # bytes of a header without its end
        self._header: dict[str, Any] | None = None
        self._size = self._length = 0  # bytes of the header, and of the data that follow it
        self._passed = 0  # bytes of payload still to come

    @property
    def amid(self) -> bool:
        """An event has begun and has not ended."""
        return bool(self._unread or self._header is not None or self._passed)

    def feed(self, data: bytes) -> list[Event]:
        """Events that are complete now.

        Raises:
            WyomingError: for what is no event, or too large; nothing may be fed after it.
        """
        self._unread += data
        events: list[Event] = []
        while self._pass_over() and (self._header is not None or self._take_header()):
            if len(self._unread) < self._length:
                break
            events.append(self._take_event())
        return events

    def _pass_over(self) -> bool:
        """Drop what there is of a payload; whether it is all there."""
        gone = min(self._passed, len(self._unread))
        del self._unread[:gone]
        self._passed -= gone
        return not self._passed

    def _take_header(self) -> bool:
        end = self._unread.find(b"\n", self._looked)
        self._looked = len(self._unread)
        if max(end, self._looked if end < 0 else 0) > LARGEST:
            raise WyomingError("too_large", f"an event's header has more than {LARGEST} bytes")
        if end < 0:
            return False
        line = bytes(self._unread[: end + 1])
        del self._unread[: end + 1]
        self._looked = 0
        header = _table(line, "an event's header")
        if not isinstance(header.get("type"), str):
            raise WyomingError("invalid_event", "an event's header has no 'type' that is a text")
        self._length = _length(header, "data_length", LARGEST)
        _length(header, "payload_length", LARGEST_PAYLOAD)
        self._header, self._size = header, len(line)
        return True

    def _take_event(self) -> Event:
        header, self._header = self._header, None
        assert header is not None
        data = header.get("data") or {}
        if not isinstance(data, dict):
            raise WyomingError("invalid_event", "an event's data are not a JSON object")
        if self._length:
            data = data | _table(bytes(self._unread[: self._length]), "an event's data")
        del self._unread[: self._length]
        self._passed = _length(header, "payload_length", LARGEST_PAYLOAD)
        return Event(header["type"], data, self._size + self._length)


def _table(text: bytes, what: str) -> dict[str, Any]:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        raise WyomingError("invalid_event", f"{what} is not JSON in UTF-8") from None
    if not isinstance(table, dict):
        raise WyomingError("invalid_event", f"{what} is not a JSON object")
    return table


def _length(header: Mapping[str, Any], key: str, most: int) -> int:
    given = header.get(key)
    if given is None:
        return 0
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise WyomingError("invalid_event", f"'{key}' is no whole number from 0")
    if given > most:
        raise WyomingError("too_large", f"'{key}' is more than {most}")
    return given
