"""Workers: each steps a batcher; commands go in, events come out in batches. The one here is a thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from serving.scheduling.batcher import Batcher
from serving.scheduling.events import FlowControl, StreamEvent, StreamKey
from serving.streams.capacity import Capacity
from serving.streams.contract import ModelFailure, ServedModel, StreamRequest
from serving.streams.decoding import DecodingThreads

log = logging.getLogger("seqgen.serving")
EventSink = Callable[[list[StreamEvent]], None]
"""Receiver of a worker's events."""


class WorkerLost(RuntimeError):
    """Error of a stream whose worker is gone: neither the caller's fault nor the voice's."""


class Worker(Protocol):
    """Worker as the event loop sees it; all of it but ``stop`` is called there and never blocks."""

    copies: int
    """Copies that it holds of a voice which the server has open: 1 where it is a process of its own."""

    @property
    def up(self) -> bool:
        """Whether it takes streams now."""

    @property
    def tended(self) -> bool:
        """Care for the worker: somebody would start it again; where not, the server is of no use any more."""

    @property
    def restarts(self) -> int:
        """Number of times that it had to be started again."""

    @property
    def pace(self) -> float:
        """Slowdown of its calls, see :class:`serving.scheduling.admission.Pace`."""

    def holds(self, model: ServedModel) -> bool:
        """Test for a voice that it has open, or may open: nobody is sent there for one that it failed to open."""

    def start(self) -> None:
        """Begin; see :meth:`ready`."""

    async def ready(self) -> None:
        """Wait until it is up."""

    def stop(self) -> None:
        """Let the call under way end, then the worker. Blocks: not for the event loop."""

    def prepare(self, model: ServedModel, capacity: Capacity) -> None:
        """A voice that may be asked for soon. Cheap when repeated."""

    def open(self, key: StreamKey, model: ServedModel, request: StreamRequest, flow: FlowControl) -> None:
        """A stream takes a slot."""

    def push(self, key: StreamKey, data: bytes | memoryview) -> None:
        """More input for a stream."""

    def finish(self, key: StreamKey) -> None:
        """A stream's input is complete."""

    def cancel(self, key: StreamKey) -> None:
        """A stream is not wanted any more."""

    def acknowledge(self, key: StreamKey, consumed: int) -> None:
        """A listener took sound, so there may be room again; ``consumed`` counts the bytes of it from the beginning."""


def turn(batcher: Batcher, deliver: EventSink) -> bool:
    """One turn of a batcher by the system's clock; tells whether there was anything to compute."""
    batch = batcher.plan(time.monotonic())
    if batch is not None:
        batch.run()
        batcher.commit(batch, time.monotonic())
    if events := batcher.events():
        deliver(events)
    return batch is not None


class ThreadWorker:
    """Worker that is a thread of the server's own process.

    Args:
        batcher: touched by this thread only, once started. deliver: takes events, in this thread.
    """

    copies = 0

    def __init__(self, number: int, batcher: Batcher, deliver: EventSink, fail: Callable[[], None]) -> None:
        self._number, self._batcher, self._deliver, self._fail = number, batcher, deliver, fail
        self.restarts = 0
        self._commands: deque[tuple[StreamKey, Callable[[], None]]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._decoded = False  # since the last turn
        self._decoders = batcher.decode = DecodingThreads(self._note_decoded)
        self._thread = threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)

    @property
    def up(self) -> bool:
        return self.tended

    @property
    def tended(self) -> bool:
        return self._thread.ident is None or self._thread.is_alive()

    @property
    def pace(self) -> float:
        return self._batcher.pace.at(time.monotonic())

    def holds(self, model: ServedModel) -> bool:
        return True

    def start(self) -> None:
        self._thread.start()

    async def ready(self) -> None:
        pass

    def prepare(self, model: ServedModel, capacity: Capacity) -> None:
        pass

    def stop(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def open(self, key: StreamKey, model: ServedModel, request: StreamRequest, flow: FlowControl) -> None:
        began = time.monotonic()
        self._tell(key, lambda: self._batcher.open(key, model, request, began, flow))

    def push(self, key: StreamKey, data: bytes | memoryview) -> None:
        self._tell(key, lambda: self._batcher.push(key, data))

    def finish(self, key: StreamKey) -> None:
        self._tell(key, lambda: self._batcher.finish(key))

    def cancel(self, key: StreamKey) -> None:
        self._tell(key, lambda: self._batcher.cancel(key))

    def acknowledge(self, key: StreamKey, consumed: int) -> None:
        with self._wake:
            self._wake.notify()

    def _tell(self, key: StreamKey, command: Callable[[], None]) -> None:
        with self._wake:
            self._commands.append((key, command))
            self._wake.notify()

    def _note_decoded(self) -> None:
        with self._wake:
            self._decoded = True
            self._wake.notify()

    def _run(self) -> None:
        batcher = self._batcher
        try:
            while not self._stopping:
                self._take_turn()
            batcher.clear()
            self._deliver(batcher.events())
            self._decoders.close()
        except BaseException:
            log.critical("the thread of worker %d has ended; the server stops", self._number, exc_info=True)
            self._fail()

    def _take_turn(self) -> None:
        """Commands and one call; whatever goes wrong ends the streams that there are, and the worker goes on."""
        self._decoded = False
        try:
            while self._commands:
                self._follow(*self._commands.popleft())
            if not turn(self._batcher, self._deliver):
                self._sleep()
        except Exception as error:
            log.exception("worker %d failed in the middle of its work", self._number)
            self.restarts += 1
            self._batcher.clear(WorkerLost(f"worker {self._number} failed in the middle of the stream ({error!r})"))
            self._deliver(self._batcher.events())

    def _follow(self, key: StreamKey, command: Callable[[], None]) -> None:
        try:
            command()
        except Exception as error:
            log.exception("a command could not be followed")
            self._batcher.reject(key, ModelFailure(f"a command could not be followed: {error!r}"))

    def _sleep(self) -> None:
        with self._wake:
            # Room that a reader made since the last look is told by ``acknowledge``, which may have come before this;
            # the flow of every stream is looked at again under the lock.
            if not (self._commands or self._stopping or self._decoded or self._batcher.roomy()):
                self._wake.wait(self._batcher.rest(time.monotonic()))
