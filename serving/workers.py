"""The slots and the threads behind them: jobs are stepped here, off the event loop, and their output is bounded.

A job is an iterator of bytes. A worker takes the most urgent job that has room in its ring, asks it for one chunk,
hands that to the listener and looks again: a slow listener holds a slot but never a worker.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType

log = logging.getLogger("seqgen.serving")


class Abandoned(Exception):
    """The slot was closed: the listener is gone, or the server is stopping."""


class Crew:
    """Worker threads and a fixed number of slots.

    Args:
        threads: workers; one per core is all that can help.
        slots: streams admitted at once; more are refused.
        ring: bytes that may wait for a listener before its job is passed over.
        byte_rate: bytes of one second of audio, the clock by which urgency is measured.
    """

    def __init__(self, *, threads: int, slots: int, ring: int, byte_rate: int) -> None:
        self.slots, self.ring, self.byte_rate = slots, ring, byte_rate
        self.wake = threading.Condition()
        self._held: set[Slot] = set()
        self._stopping = False
        self._threads = [threading.Thread(target=self._work, name=f"worker-{i}", daemon=True) for i in range(threads)]

    def start(self) -> None:
        """Start the workers."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Close every slot, wait for the chunk under way, and end the workers. Blocks: not for the event loop."""
        with self.wake:
            self._stopping = True
            for slot in tuple(self._held):
                slot.abandon()
            self.wake.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def busy(self) -> int:
        """Slots that are taken."""
        return len(self._held)

    def admit(self) -> Slot | None:
        """A free slot for the running event loop's caller, or ``None`` when all are taken."""
        with self.wake:
            if self._stopping or len(self._held) >= self.slots:
                return None
            slot = Slot(self, asyncio.get_running_loop())
            self._held.add(slot)
            return slot

    def release(self, slot: Slot) -> None:
        """Give a slot back (by whoever used it last; the lock is held)."""
        self._held.discard(slot)

    def _work(self) -> None:
        while True:
            with self.wake:
                while (slot := self._most_urgent()) is None:
                    if self._stopping:
                        return
                    self.wake.wait()
                slot.running = True
            slot.advance()

    def _most_urgent(self) -> Slot | None:
        ready = [slot for slot in self._held if slot.wants_a_worker]
        return min(ready, key=lambda slot: slot.deadline, default=None)


class Slot:
    """One admitted stream: its job, the ring between worker and listener, and how it ended.

    Use as a context manager on the event loop; leaving it, however that happens, closes the slot. The slot is free
    again when the listener has left *and* the worker has let go, so a job is never stepped after its slot was given
    away. A slot serves one stream only: a late :meth:`close` cannot hit another one.

    Example:
        >>> with crew.admit() as slot:
        ...     slot.run(job)
        ...     while (chunk := await slot.take()) is not None: await send(chunk)
    """

    def __init__(self, crew: Crew, loop: asyncio.AbstractEventLoop) -> None:
        self._crew, self._loop = crew, loop
        self._job: Iterator[bytes] | None = None
        self._ring: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._failure: Exception | None = None
        self._closed = self._ended = False
        self.waiting = 0  # bytes in the ring
        self.running = False  # a worker has it
        self.deadline = time.monotonic()  # when the listener's sound runs out

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def wants_a_worker(self) -> bool:
        """Whether there is something to do (the lock is held): make a chunk, or drop a job nobody waits for."""
        # A closed slot has an empty ring, so its job comes up once more, to be dropped.
        return self._job is not None and not self.running and self.waiting < self._crew.ring

    def run(self, job: Iterator[bytes]) -> None:
        """Hand the job to the workers. It is closed by them too, where it has a ``close``."""
        with self._crew.wake:
            self._job = job
            self.deadline = time.monotonic()
            self._crew.wake.notify()

    async def take(self) -> bytes | None:
        """The next chunk, or ``None`` at the end.

        Raises:
            Abandoned: when the slot was closed.
            Exception: what the job raised, after the chunks that it gave before.
        """
        while True:
            with self._crew.wake:
                if self._closed:
                    raise Abandoned
                if self._ring:
                    chunk = self._ring.popleft()
                    self.waiting -= len(chunk)
                    self._crew.wake.notify()
                    return chunk
                if self._failure is not None:
                    raise self._failure
                if self._ended:
                    return None
            # A chunk that comes in between sets the event later, by a callback of this same loop.
            self._arrived.clear()
            await self._arrived.wait()

    def close(self) -> None:
        """The listener needs nothing more; a job under way is dropped after its present chunk. May be repeated."""
        with self._crew.wake:
            self.abandon()
            self._crew.wake.notify()

    def abandon(self) -> None:
        """As :meth:`close`, for callers that hold the lock."""
        self._closed = True
        self._ring.clear()
        self.waiting = 0
        if self._job is None:
            self._crew.release(self)
        self._announce()

    def advance(self) -> None:
        """One chunk, by the worker that set ``running``."""
        job, chunk, failure = self._job, None, None
        assert job is not None
        try:
            if not self._closed:
                chunk = next(job, None)
        except Exception as error:  # whatever goes wrong is the listener's answer, and must not end the worker
            failure = error
        over = chunk is None
        if over:
            trouble = _closing(job)
            failure = failure or trouble
        with self._crew.wake:
            self.running = False
            if chunk is not None and not self._closed:
                self._ring.append(chunk)
                self.waiting += len(chunk)
                self.deadline = max(self.deadline, time.monotonic()) + len(chunk) / self._crew.byte_rate
            if over:
                self._ended, self._failure, self._job = True, failure, None
                if self._closed:
                    self._crew.release(self)
        self._announce()

    def _announce(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:
            log.debug("a chunk came after the event loop had closed")


def _closing(job: Iterator[bytes]) -> Exception | None:
    """Let a generator run its ``finally`` blocks, here in the worker."""
    close = getattr(job, "close", None)
    try:
        if close is not None:
            close()
    except Exception as error:
        log.exception("a job failed while it was being closed")
        return error
    return None
