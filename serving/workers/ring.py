"""Ring buffer in shared memory that carries events from one process to another: one writer, one reader.

Neither side looks at the other's position in the memory: the writer's goes by message, and so does the reader's answer.
A system call lies between a record and whoever reads it, so no processor's memory model matters here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import replace

from seqgen.errors import SeqgenError
from serving.scheduling.events import StreamEvent
from serving.sound.body import NoRoom
from serving.streams.contract import ModelFailure
from serving.workers.worker import WorkerLost

RING_BYTES = 1 << 20
"""Size of a ring in bytes. It holds what is on its way only: the reader empties it at every message."""
MAX_RECORD = 1 << 16
"""Bytes of sound in one record at most; more of it goes in several."""
_HEAD = struct.Struct("<IIIBdddI")  # number, slot, generation, flags, seconds, first, lead, size
_UNDERRUN, _OVER, _FIRST, _FAILED = 1, 2, 4, 8


class RingError(RuntimeError):
    """Error for a ring whose content cannot have been written by this code: nothing of the writer can be trusted."""


class RingWriter:
    """Writing end of a ring buffer.

    Attributes:
        head: bytes written since the beginning; to be told to the reader.

    Example:
        >>> memory = memoryview(bytearray(RING_BYTES))
        >>> writer, reader = RingWriter(memory), RingReader(memory)
        >>> writer.put(StreamEvent((0, 1), b"sound"))
        True
        >>> reader.read(writer.head)[0].data
        b'sound'
    """

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self.head = 0
        self._tail = 0
        self._number = 0

    def put(self, event: StreamEvent) -> bool:
        """Write an event of at most ``MAX_RECORD`` bytes, see :func:`records`; ``False`` where there is no room now."""
        data = _pack(event.failure) if event.failure is not None else event.data
        if self.head - self._tail + _HEAD.size + len(data) > len(self._memory):
            return False
        first = event.first if event.first is not None else 0.0
        flags = (
            _UNDERRUN * event.underrun
            | _OVER * event.over
            | _FIRST * (event.first is not None)
            | _FAILED * (event.failure is not None)
        )
        fields = (self._number, *event.key, flags, event.seconds, first, event.lead, len(data))
        self._write(_HEAD.pack(*fields))
        self._write(data)
        self._number = (self._number + 1) % (1 << 32)
        return True

    def freed(self, tail: int) -> None:
        """The reader has read so far."""
        self._tail = tail

    def _write(self, data: bytes) -> None:
        at = self.head % len(self._memory)
        before_the_end = min(len(data), len(self._memory) - at)
        self._memory[at : at + before_the_end] = data[:before_the_end]
        self._memory[: len(data) - before_the_end] = data[before_the_end:]
        self.head += len(data)


class RingReader:
    """Reading end of a ring buffer.

    Attributes:
        tail: bytes read since the beginning; to be told to the writer.
    """

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self.tail = 0
        self._number = 0

    def read(self, head: int) -> list[StreamEvent]:
        """The events up to a position of the writer.

        Raises:
            RingError: for a position or record that cannot be.
        """
        if not self.tail <= head <= self.tail + len(self._memory):
            raise RingError(f"the writer is at {head}, the reader at {self.tail}")
        events = []
        while self.tail < head:
            events.append(self._record(head))
        return events

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.release()

    def _record(self, head: int) -> StreamEvent:
        number, slot, generation, flags, seconds, first, lead, size = _HEAD.unpack(self._read(_HEAD.size, head))
        if number != self._number:
            raise RingError(f"record {number} came where {self._number} was due")
        self._number = (self._number + 1) % (1 << 32)
        data = self._read(size, head)
        if flags & _FAILED:
            return StreamEvent((slot, generation), over=bool(flags & _OVER), failure=_unpack(data))
        return StreamEvent(
            (slot, generation),
            data,
            seconds,
            first if flags & _FIRST else None,
            bool(flags & _UNDERRUN),
            lead,
            bool(flags & _OVER),
        )

    def _read(self, size: int, head: int) -> bytes:
        if self.tail + size > head:
            raise RingError(f"a record of {size} bytes at {self.tail} ends behind {head}")
        at = self.tail % len(self._memory)
        before_the_end = min(size, len(self._memory) - at)
        self.tail += size
        return bytes(self._memory[at : at + before_the_end]) + bytes(self._memory[: size - before_the_end])


def records(event: StreamEvent) -> Iterator[StreamEvent]:
    """Parts of an event that fit into a record each; what it tells beside its sound comes with the last of them."""
    data = event.data
    while len(data) > MAX_RECORD:
        yield StreamEvent(event.key, data[:MAX_RECORD])
        data = data[MAX_RECORD:]
    yield replace(event, data=data)


def _pack(failure: Exception) -> bytes:
    """A user's mistake crosses as one; anything else is the voice's failure, whose trace the writer has logged."""
    if isinstance(failure, SeqgenError):
        kind = "room" if isinstance(failure, NoRoom) else "user"
        return json.dumps([kind, failure.problem[:2000], failure.remedy[:2000]]).encode()
    kind = "worker" if isinstance(failure, WorkerLost) else "voice"
    return json.dumps([kind, str(failure)[:2000], ""]).encode()


def _unpack(data: bytes) -> Exception:
    kind, problem, remedy = json.loads(data)
    if kind in ("voice", "worker"):
        return ModelFailure(problem) if kind == "voice" else WorkerLost(problem)
    return (NoRoom if kind == "room" else SeqgenError)(problem, remedy=remedy)
