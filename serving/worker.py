"""Workers: a slot bank each, commands in, events out in batches with one wake-up each. This one is a thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from serving.bank import Bank, Event, Key, Outlet
from serving.capacity import Capacity
from serving.vocoder import Vocoder
from serving.work import Work

Deliver = Callable[[list[Event]], None]
"""Takes the events of a worker."""


class WorkerLost(RuntimeError):
    """The worker that made a stream is gone, and the stream with it: neither the caller's fault nor the voice's."""


class AnyWorker(Protocol):
    """What the event loop holds of a worker; all of it but ``stop`` is called there and never blocks."""

    @property
    def up(self) -> bool:
        """Whether it takes streams now."""

    @property
    def restarts(self) -> int:
        """How often it had to be started again."""

    @property
    def pace(self) -> float:
        """How long its calls take over what they should, see :class:`serving.capacity.Pace`."""

    def start(self) -> None:
        """Begin; see :meth:`ready`."""

    async def ready(self) -> None:
        """Wait until it is up."""

    def stop(self) -> None:
        """Let the call under way end, then the worker. Blocks: not for the event loop."""

    def prepare(self, vocoder: Vocoder, capacity: Capacity) -> None:
        """A voice that may be asked for soon. Cheap when repeated."""

    def open(self, key: Key, work: Work, outlet: Outlet) -> None:
        """A stream takes a slot."""

    def push(self, key: Key, data: bytes) -> None:
        """More input for a stream."""

    def finish(self, key: Key) -> None:
        """A stream's input is complete."""

    def cancel(self, key: Key) -> None:
        """A stream is not wanted any more."""

    def nudge(self, key: Key, taken: int) -> None:
        """A listener took sound, so there may be room again; ``taken`` counts the bytes of it from the beginning."""


def turn(bank: Bank, deliver: Deliver) -> bool:
    """One turn of a bank by the system's clock; tells whether there was anything to compute."""
    batch = bank.plan(time.monotonic())
    if batch is not None:
        batch.run()
        bank.commit(batch, time.monotonic())
    if events := bank.events():
        deliver(events)
    return batch is not None


class Worker:
    """A thread with a slot bank, in the server's own process.

    Args:
        bank: touched by this thread only, once started. deliver: takes events, in this thread.
        clock: seconds.
    """

    up = True
    restarts = 0

    def __init__(self, number: int, bank: Bank, deliver: Deliver) -> None:
        self._bank, self._deliver = bank, deliver
        self._commands: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)

    @property
    def pace(self) -> float:
        return self._bank.pace.at(time.monotonic())

    def start(self) -> None:
        self._thread.start()

    async def ready(self) -> None:
        pass

    def prepare(self, vocoder: Vocoder, capacity: Capacity) -> None:
        pass

    def stop(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def open(self, key: Key, work: Work, outlet: Outlet) -> None:
        began = time.monotonic()
        self._tell(lambda: self._bank.open(key, work, began, outlet))

    def push(self, key: Key, data: bytes) -> None:
        self._tell(lambda: self._bank.push(key, data))

    def finish(self, key: Key) -> None:
        self._tell(lambda: self._bank.finish(key))

    def cancel(self, key: Key) -> None:
        self._tell(lambda: self._bank.cancel(key))

    def nudge(self, key: Key, taken: int) -> None:
        with self._wake:
            self._wake.notify()

    def _tell(self, command: Callable[[], None]) -> None:
        with self._wake:
            self._commands.append(command)
            self._wake.notify()

    def _run(self) -> None:
        bank = self._bank
        while not self._stopping:
            while self._commands:
                self._commands.popleft()()
            if not turn(bank, self._deliver):
                self._sleep()
        bank.clear()
        self._deliver(bank.events())

    def _sleep(self) -> None:
        with self._wake:
            # Room that a reader made since the last look is told by a nudge, which may have come before this; the
            # outlets are looked at again under the lock.
            if not self._commands and not self._stopping and not self._bank.roomy():
                self._wake.wait(self._bank.rest(time.monotonic()))
