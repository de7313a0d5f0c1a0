"""Server-sent events that carry sound, in the words of the OpenAI interface; without any I/O.

data: {"type": "speech.audio.delta", "audio": "…"}        the next bytes of the sound, in base64
data: {"type": "speech.word", "text": "tea", "start": …}  a word (phone, mark) begins in the next of it, where asked for
data: {"type": "speech.audio.done", "usage": {…}}         it is complete
data: {"error": {"message", "type", "param", "code"}}     it went wrong after it had begun, and nothing follows
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

MEDIA_TYPE = "text/event-stream"
_USAGE = dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), 0)  # nothing here is counted in tokens


def accepts_events(accept: bytes) -> bool:
    """Whether a client's ``Accept`` names events; ``*/*`` means plain sound."""
    return MEDIA_TYPE.encode() in (kind.split(b";")[0].strip().lower() for kind in accept.split(b","))


def sound_event(sound: bytes) -> bytes:
    """Event that carries a chunk of sound."""
    return json_event({"type": "speech.audio.delta", "audio": base64.b64encode(sound).decode()})


def moment_event(fields: dict[str, Any]) -> bytes:
    """Event that tells when a word, phone or mark is said."""
    return json_event({**fields, "type": f"speech.{fields['type']}"})


def done_event() -> bytes:
    """Event that ends the sound."""
    return json_event({"type": "speech.audio.done", "usage": _USAGE})


def json_event(fields: dict[str, Any]) -> bytes:
    """Event whose data is a JSON object."""
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


class EventParser:
    """Incremental parser of server-sent events whose data are JSON objects.

    Example:
        >>> events = EventParser()
        >>> list(events.feed(b"data: {")), list(events.feed(b"}\\n\\n"))
        ([], [{}])
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Those that are complete now; comments and fields other than data are passed over.

        Raises:
            ValueError: for data that is not a JSON object.
        """
        self._line += data
        *lines, rest = self._line.split(b"\n")
        self._line = rest
        for line in lines:
            name, _, value = line.removesuffix(b"\r").partition(b":")
            if name == b"data":
                self._data.append(bytes(value))
            elif not name and self._data:
                fields = json.loads(b"\n".join(self._data))
                self._data = []
                if not isinstance(fields, dict):
                    raise ValueError("an event is no JSON object")
                yield fields
