"""Client's side of ``WS /v1/stream`` without any I/O: what may be sent when, what comes, what is sent again."""

from __future__ import annotations

import json
import struct
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.client.backoff import Backoff
from serving.client.errors import ServerError

_HEAD = struct.Struct("<I")
_FLUSH = '{"type": "flush"}'
_CANCEL = '{"type": "cancel"}'
_FIRST_CREDIT = 1 << 16  # bytes of input that the server takes before it says how many
_TIMES = ("word", "phone", "mark")
_MOST_TOLD = 1 << 16  # times that are kept for who does not take them out
_PIECE = 1 << 15  # bytes of input in one message: less than any credit that a server leaves for long


class ClientProtocol:
    """Client's side of the WebSocket protocol as a state machine; one context, number 0.

    Input that the server gives no credit for yet waits here, so that whatever else is said is heard at once. It also
    keeps what is to be sent again after the connection broke.

    Attributes:
        ready: fields of the server's ``ready`` message. cancelled: nothing more is wanted. told: messages about times
            of a text in the order of their coming, for whoever wants them to take out; heard: the fields of
            ``cancelled``, how much of the utterance the server had sent.
    """

    def __init__(self, init: dict[str, Any], backoff: Backoff) -> None:
        self.ready: dict[str, Any] = {}
        self.cancelled = False
        self.told: deque[dict[str, Any]] = deque(maxlen=_MOST_TOLD)
        self.heard: dict[str, Any] = {}
        self._init, self._backoff = init, backoff
        self._kept: list[str | bytes] = []  # said since the end of the last utterance that came whole
        self._unsent: deque[str | bytes] = deque()
        self._credit = self._sent = 0  # bytes of input on this connection
        self._utterance = self._received = 0

    def say(self, data: str | bytes | npt.NDArray[Any]) -> None:
        """Input: a text; float32 of frames or samples as they are, any other array as 16-bit samples."""
        if isinstance(data, str):
            data = data.encode()
        if isinstance(data, np.ndarray):
            data = data.astype("<f4" if data.dtype.kind == "f" else "<i2").tobytes()
        for start in range(0, len(data), _PIECE):
            self._record(_HEAD.pack(0) + data[start : start + _PIECE])

    def finish(self) -> None:
        """The utterance is complete."""
        self._record(_FLUSH)

    def cancel(self) -> None:
        """Nothing more is wanted, nor sent."""
        self.cancelled = True
        self._kept.clear()
        self._unsent = deque([_CANCEL])

    def due(self) -> str | bytes | None:
        """Next message to be sent now, where there is one."""
        if not self._unsent:
            return None
        size = len(self._unsent[0]) - _HEAD.size if isinstance(self._unsent[0], bytes) else 0
        if size and self._sent + size > self._credit:
            return None
        self._sent += size
        return self._unsent.popleft()

    def opening_message(self) -> str:
        """Message that a fresh connection begins with; what was said and is not over comes behind it once more."""
        self._unsent = deque([_CANCEL] if self.cancelled else self._kept)
        self._credit, self._sent = _FIRST_CREDIT, 0
        init = self._init
        if self.ready:
            init = {"type": "init", "resume": self.ready["resume"]}
            init |= {"utterance": self._utterance, "offset": self._received}
        return json.dumps({**init, "credit": True})

    def retry_delay(self, error: Exception) -> float:
        """Seconds to wait before another connection.

        Raises:
            Exception: ``error``, where another would not help or there were enough.
        """
        return self._backoff.delay(error)

    def receive(self, message: str | bytes) -> bytes | None:
        """Sound of a message, ``None`` at the end of the utterance, ``b""`` for what is neither.

        Raises:
            ServerError: for an error message, and for one that no such server sends.
        """
        try:
            return self._take(message)
        except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
            raise ServerError(f"a message of the server cannot be read ({error!r})") from None

    def _take(self, message: str | bytes) -> bytes | None:
        if isinstance(message, bytes):
            self._received += len(message) - _HEAD.size
            self._backoff.progress()
            return message[_HEAD.size :]
        fields = json.loads(message)
        kind = fields["type"]
        if kind == "error":
            raise ServerError(fields["message"], code=fields["code"])
        if kind in ("ready", "credit"):
            self._credit = int(fields["credit" if kind == "ready" else "bytes"])
        if kind == "ready":
            self.ready = fields
        if kind in _TIMES:
            self.told.append(fields)
        if kind == "cancelled":
            self.heard = fields
        if kind == "flushed":
            self._backoff.progress()
            end = self._kept.index(_FLUSH) + 1 if _FLUSH in self._kept else 0
            self._utterance = fields["utterance"] + any(isinstance(said, bytes) for said in self._kept[:end])
            self._kept, self._received = self._kept[end:], 0
        return None if kind in ("flushed", "closed", "cancelled") else b""

    def _record(self, message: str | bytes) -> None:
        if self._backoff.resumable:
            self._kept.append(message)
        self._unsent.append(message)
