"""What a server and its worker processes say to each other, without any I/O: frames of commands, short notices back."""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from enum import IntEnum
from typing import Any

from serving.bank import Key
from serving.vocoder import Settings
from serving.work import Input, Order

NOBODY: Key = (0, 0)
"""The key of a command that concerns no stream."""
PIECE = 1 << 16
"""Bytes of input in one frame; another stream's come in between."""
_FRAME = struct.Struct("<BIII")  # kind, slot, generation, size
_NOTICE = struct.Struct("<BQ")
_NUMBER = struct.Struct("<Q")


class Command(IntEnum):
    """From the server. ``OPEN``, ``VOICE``: JSON; ``PUSH``: input; ``TOOK``, ``FREED``, ``FORGET``: a number."""

    OPEN = 1
    PUSH = 2
    FINISH = 3
    CANCEL = 4
    TOOK = 5  # bytes that the listener has taken in all
    VOICE = 6
    FORGET = 7  # a voice, by its number
    FREED = 8  # the position up to which the ring has been read
    STOP = 9
    PING = 10  # answered at the next turn


class Notice(IntEnum):
    """From the worker: ``HELLO``; ``HEAD``, how far the ring is written; ``LOADED``, the number of a voice; ``PACE``,
    of its calls in thousandths; ``ALIVE``, the answer to ``PING``."""

    HELLO = 1
    HEAD = 2
    LOADED = 3
    PACE = 4
    ALIVE = 5


Frame = tuple[Command, Key, bytes]


def frame(command: Command, key: Key = NOBODY, data: bytes | memoryview = b"") -> bytes:
    """The bytes of a command."""
    return _FRAME.pack(command, *key, len(data)) + data


def notice(kind: Notice, value: int = 0) -> bytes:
    """The bytes of a notice."""
    return _NOTICE.pack(kind, value)


def number(value: int) -> bytes:
    """A number as the data of a command."""
    return _NUMBER.pack(value)


def read_number(data: bytes) -> int:
    """The other way."""
    return int(_NUMBER.unpack(data)[0])


class Frames:
    """Cuts what arrives into commands."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Those that are complete now."""
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


class Notices:
    """Cuts what arrives into notices."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[Notice, int]]:
        """Those that are complete now."""
        self._rest += data
        whole = len(self._rest) // _NOTICE.size * _NOTICE.size
        now, self._rest = self._rest[:whole], self._rest[whole:]
        for kind, value in _NOTICE.iter_unpack(now):
            yield Notice(kind), value


class Outbox:
    """Commands that wait to be sent: short ones first, and input of all streams in turn, a piece of each.

    So a cancel never waits behind a neighbour's recording. What one stream says keeps its order: it is opened by a
    short command, and its end waits behind its input.
    """

    def __init__(self) -> None:
        self._short: deque[bytes] = deque()
        self._inputs: dict[Key, deque[tuple[Command, memoryview]]] = {}

    def __bool__(self) -> bool:
        return bool(self._short or self._inputs)

    def put(self, command: Command, key: Key = NOBODY, data: bytes = b"") -> None:
        """One more."""
        if command in (Command.PUSH, Command.FINISH):
            self._inputs.setdefault(key, deque()).append((command, memoryview(data)))
            return
        if command is Command.CANCEL:
            self._inputs.pop(key, None)
        self._short.append(frame(command, key, data))

    def take(self) -> bytes:
        """The next frame, or nothing."""
        if self._short:
            return self._short.popleft()
        if not self._inputs:
            return b""
        key = next(iter(self._inputs))
        waiting = self._inputs.pop(key)
        command, data = waiting.popleft()
        if len(data) > PIECE:
            waiting.appendleft((command, data[PIECE:]))
        if waiting:
            self._inputs[key] = waiting  # behind the others
        return frame(command, key, data[:PIECE])


def write_order(order: Order) -> dict[str, Any]:
    """An order as plain JSON."""
    return asdict(order)


def read_order(fields: dict[str, Any]) -> Order:
    """The other way."""
    nested = {"settings": Settings(**fields["settings"]), "input": Input(**fields["input"])}
    return Order(**{**fields, **nested})


def as_json(fields: dict[str, Any]) -> bytes:
    """The data of a command."""
    return json.dumps(fields).encode()
