"""A thread with a slot bank: commands go in, events come out in batches, one wake-up each."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from serving.bank import Bank, Event, Key, Outlet
from serving.work import Work


class Worker:
    """A thread with a slot bank. Commands go in, events come out in batches, one wake-up each.

    Args:
        bank: touched by this thread only, once started. deliver: takes events, in this thread.
        clock: seconds.
    """

    def __init__(self, number: int, bank: Bank, deliver: Callable[[list[Event]], None]) -> None:
        self._bank, self._deliver = bank, deliver
        self._commands: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let the call under way end, then the thread. Blocks: not for the event loop."""
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

    def nudge(self) -> None:
        """A listener took sound, so there may be room again."""
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
            batch = bank.plan(time.monotonic())
            if batch is not None:
                batch.run()
                bank.commit(batch, time.monotonic())
            if events := bank.events():
                self._deliver(events)
            if batch is None:
                self._sleep()
        bank.clear()
        self._deliver(bank.events())

    def _sleep(self) -> None:
        with self._wake:
            # Room that a reader made since the last look is told by a nudge, which may have come before this; the
            # outlets are looked at again under the lock.
            if not self._commands and not self._stopping and not self._bank.roomy():
                self._wake.wait(self._bank.rest(time.monotonic()))
