"""Inter-process protocol of server and workers, without any I/O: frames of commands, short notices back."""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from enum import IntEnum
from typing import Any

from serving.scheduling.events import StreamKey
from serving.streams.completion import TextRequest
from serving.streams.contract import StreamRequest
from serving.streams.sound import InputFormat, SoundRequest
from serving.streams.text import TextSettings
from serving.streams.vocoder import VoiceSettings

NO_STREAM: StreamKey = (0, 0)
"""Key of a command that concerns no stream."""
MAX_PIECE = 1 << 16
"""Bytes of input in one frame at most; another stream's come in between."""
_FRAME = struct.Struct("<BIII")  # kind, slot, generation, size
_NOTICE = struct.Struct("<BQ")
_NUMBER = struct.Struct("<Q")


class Command(IntEnum):
    """Command of the server to a worker, with its data.

    ``OPEN``, ``VOICE``: JSON; ``PUSH``: input; ``CONSUMED``, ``FREED``, ``FORGET``: a number.
    """

    OPEN = 1
    PUSH = 2
    FINISH = 3
    CANCEL = 4
    CONSUMED = 5  # bytes that the listener has taken in all
    VOICE = 6
    FORGET = 7  # a voice, by its number
    FREED = 8  # the position up to which the ring has been read
    STOP = 9
    PING = 10  # answered at the next turn


class Notice(IntEnum):
    """Notice of a worker to the server: ``HELLO``; ``HEAD``, how far the ring is written; ``LOADED`` and ``MISSING``,
    the number of a voice that it has opened or could not; ``PACE``, of its calls in thousandths; ``ALIVE``, the answer
    to ``PING``."""

    HELLO = 1
    HEAD = 2
    LOADED = 3
    PACE = 4
    ALIVE = 5
    MISSING = 6


Frame = tuple[Command, StreamKey, bytes]
"""Command, the stream that it concerns, and its data."""


def encode_command(command: Command, key: StreamKey = NO_STREAM, data: bytes | memoryview = b"") -> bytes:
    """Frame of a command, as bytes."""
    return _FRAME.pack(command, *key, len(data)) + data


def encode_notice(kind: Notice, value: int = 0) -> bytes:
    """Notice as bytes."""
    return _NOTICE.pack(kind, value)


def encode_number(value: int) -> bytes:
    """Data of a command that carries a number."""
    return _NUMBER.pack(value)


def decode_number(data: bytes) -> int:
    """Number that :func:`encode_number` wrote."""
    return int(_NUMBER.unpack(data)[0])


class CommandDecoder:
    """Incremental decoder of commands."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Commands that are complete now."""
        self._rest += data
        at = 0
        while len(self._rest) - at >= _FRAME.size:
            kind, slot, generation, size = _FRAME.unpack_from(self._rest, at)
            end = at + _FRAME.size + size
            if end > len(self._rest):
                break
            yield Command(kind), (slot, generation), bytes(self._rest[at + _FRAME.size : end])
            at = end
        del self._rest[:at]


class NoticeDecoder:
    """Incremental decoder of notices."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[Notice, int]]:
        """Notices that are complete now."""
        self._rest += data
        whole = len(self._rest) // _NOTICE.size * _NOTICE.size
        now, self._rest = self._rest[:whole], self._rest[whole:]
        for kind, value in _NOTICE.iter_unpack(now):
            yield Notice(kind), value


class CommandQueue:
    """Queue of commands that wait to be sent: short ones first, and input of all streams in turn, a piece of each.

    So a cancel never waits behind a neighbour's recording. What one stream says keeps its order: it is opened by a
    short command, and its end waits behind its input.
    """

    def __init__(self) -> None:
        self._short: deque[bytes] = deque()
        self._inputs: dict[StreamKey, deque[tuple[Command, memoryview]]] = {}

    def __bool__(self) -> bool:
        return bool(self._short or self._inputs)

    def put(self, command: Command, key: StreamKey = NO_STREAM, data: bytes | memoryview = b"") -> None:
        """Add a command."""
        if command in (Command.PUSH, Command.FINISH):
            self._inputs.setdefault(key, deque()).append((command, memoryview(data)))
            return
        if command is Command.CANCEL:
            self._inputs.pop(key, None)
        self._short.append(encode_command(command, key, data))

    def take(self) -> bytes:
        """Next frame, or nothing."""
        if self._short:
            return self._short.popleft()
        if not self._inputs:
            return b""
        key = next(iter(self._inputs))
        waiting = self._inputs.pop(key)
        command, data = waiting.popleft()
        if len(data) > MAX_PIECE:
            waiting.appendleft((command, data[MAX_PIECE:]))
        if waiting:
            self._inputs[key] = waiting  # behind the others
        return encode_command(command, key, data[:MAX_PIECE])


def encode_request(request: StreamRequest) -> dict[str, Any]:
    """Stream request as plain JSON."""
    assert is_dataclass(request)
    return {"body": type(request).__name__, **asdict(request)}


def decode_request(fields: dict[str, Any]) -> StreamRequest:
    """Stream request that :func:`encode_request` wrote."""
    body, given = fields["body"], {key: value for key, value in fields.items() if key != "body"}
    if body == TextRequest.__name__:
        given |= {"settings": TextSettings(**given["settings"]), "stops": tuple(given["stops"])}
        return TextRequest(**given)
    given |= {"settings": VoiceSettings(**given["settings"]), "input": InputFormat(**given["input"])}
    return SoundRequest(**given)


def encode_json(fields: dict[str, Any]) -> bytes:
    """Data of a command that carries JSON."""
    return json.dumps(fields).encode()
