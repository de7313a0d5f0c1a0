"""The workers and what the event loop holds of them: admission, tickets, and the way of sound back to its listener."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from serving.bank import RING, Bank, Event, Key, Outlet
from serving.capacity import RECENT, Capacity, Ledger
from serving.vocoder import Vocoder
from serving.work import Order, Work
from serving.worker import AnyWorker, Worker

log = logging.getLogger("seqgen.serving")
SLOTS = 16
"""Streams that one worker can hold: as many as one call of the native engine takes."""


class Abandoned(Exception):
    """The stream was closed: the listener is gone, or the server is stopping."""


class Ticket:
    """One admitted listener: the right to a slot, taken before anything else of a request is read.

    Use as a context manager on the event loop; leaving it, however that happens, gives the slot back once the worker
    has let go of the stream. A ticket may serve several streams, one after the other.

    Example:
        >>> with crew.admit(vocoder) as ticket:
        ...     ticket.start(order); ticket.push(body); ticket.finish()
        ...     while (chunk := await ticket.take()) is not None: await send(chunk)
    """

    def __init__(self, crew: Crew, worker: int, slot: int, vocoder: Vocoder, cost: float) -> None:
        self._crew, self.worker, self.slot, self.vocoder, self.cost = crew, worker, slot, vocoder, cost
        self.generation = 0
        self.running = False  # a worker has a stream of this ticket
        self.order = Order()
        self.underruns = 0
        self._ahead = 0.0  # seconds of input that no sound has been made of
        self._outlet = Outlet()
        self._ring: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._progress = asyncio.Event()
        self._failure: Exception | None = None
        self._ended = self._closed = False

    def __enter__(self) -> Ticket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def key(self) -> Key:
        """Slot and generation of the present stream."""
        return self.slot, self.generation

    @property
    def closed(self) -> bool:
        """Whether the listener has left."""
        return self._closed

    @property
    def waiting(self) -> int:
        """Bytes of sound that wait to be taken."""
        return self._outlet.waiting

    def check(self, order: Order) -> None:
        """Refuse an order before it is begun.

        Raises:
            SeqgenError: for settings or an input that the voice cannot follow.
        """
        Work(self.vocoder, order)

    def start(self, order: Order) -> None:
        """Begin a stream; the one before has ended.

        Raises:
            SeqgenError: for settings that the voice cannot follow.
        """
        if self.running:
            raise ValueError("the stream before has not ended")
        work = Work(self.vocoder, order)
        if self._closed:
            return
        self.generation += 1
        self.order, self.underruns, self._ahead = order, 0, 0.0
        self.running, self._ended, self._failure = True, False, None
        self._outlet = Outlet()
        self._crew.open(self, work, self._outlet)

    def push(self, data: bytes) -> None:
        """More input."""
        self._ahead += self.order.seconds(self.vocoder, len(data))
        self._crew.workers[self.worker].push(self.key, data)

    def finish(self) -> None:
        """The input of the present stream is complete."""
        self._crew.workers[self.worker].finish(self.key)

    async def take(self) -> bytes | None:
        """The next chunk, or ``None`` at the end.

        Raises:
            Abandoned: when the ticket was closed.
            Exception: what went wrong, after the chunks that were made before.
        """
        while True:
            if self._closed:
                raise Abandoned
            if self._ring:
                chunk = self._ring.popleft()
                self._outlet.taken += len(chunk)
                self._crew.workers[self.worker].nudge(self.key, self._outlet.taken)
                return chunk
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return None
            self._arrived.clear()
            await self._arrived.wait()

    async def room(self, seconds: float) -> None:
        """Wait until no more than that much input is waiting, or the stream is over."""
        while self._ahead > seconds and self.running and not self._closed:
            self._progress.clear()
            await self._progress.wait()

    def close(self) -> None:
        """The listener needs nothing more. May be repeated."""
        if self._closed:
            return
        self._closed = True
        self._ring.clear()
        self._arrived.set()
        self._progress.set()
        if self.running:
            self._crew.workers[self.worker].cancel(self.key)
        else:
            self._crew.release(self)

    def receive(self, event: Event) -> None:
        """What the worker tells of the present stream, on the event loop."""
        if event.data and not self._closed:
            self._ring.append(event.data)
        self.underruns += event.underrun
        self._ahead -= event.seconds
        if event.over:
            self.running, self._ended, self._failure = False, True, event.failure
            if self._closed:
                self._crew.release(self)
        self._arrived.set()
        self._progress.set()


class Crew:
    """Workers with their slot banks, and who is admitted.

    Args:
        workers: one per core is all that can help. slots: streams admitted at once, over all of them.
        ring: seconds that may wait for a slow reader. make: makes a worker, by its number; see :func:`in_threads` and
            :func:`serving.process_worker.in_processes`.

    Attributes:
        watch: told of every event, on the event loop (for the metrics).
    """

    def __init__(
        self,
        *,
        workers: int,
        slots: int = SLOTS,
        ring: float = RING,
        make: Callable[[int, Crew], AnyWorker] | None = None,
    ) -> None:
        self.slots, self.ring = slots, ring
        each = min(SLOTS, -(-slots // workers))
        self.ledger = Ledger(workers=workers, slots=each)
        self._capacities: WeakKeyDictionary[Vocoder, Capacity] = WeakKeyDictionary()
        self.watch: Callable[[Ticket, Event], None] = lambda ticket, event: None
        self.admitted = 0
        self.draining = False  # nobody is admitted any more
        self._dry = [-math.inf] * workers  # when a listener of each ran dry last
        self._free = [list(range(each)) for _ in range(workers)]
        self._tickets: dict[tuple[int, int], Ticket] = {}
        self._held: set[Ticket] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self.workers = [(make or in_threads)(i, self) for i in range(workers)]

    def capacity(self, vocoder: Vocoder) -> Capacity:
        """What was measured of a voice; without a measurement, no limit but the slots."""
        return self._capacities.get(vocoder, Capacity())

    def learn(self, vocoder: Vocoder, capacity: Capacity) -> None:
        """Take note of what was measured of a voice."""
        self._capacities[vocoder] = capacity
        for worker in self.workers:
            worker.prepare(vocoder, capacity)

    def places(self, vocoder: Vocoder) -> int:
        """Listeners of this voice that an idle server would admit."""
        share, cost = self.ledger.share, self.capacity(vocoder).shared
        each = max(1, int(share / cost + 1e-9)) if cost else self.ledger.slots
        return min(self.slots, min(each, self.ledger.slots) * len(self.workers))

    def start(self) -> None:
        """Start the workers; called on the event loop."""
        self._loop = asyncio.get_running_loop()
        for worker in self.workers:
            worker.start()

    async def ready(self) -> None:
        """Wait until every worker takes streams."""
        for worker in self.workers:
            await worker.ready()

    def stop(self) -> None:
        """Close every ticket, wait for the calls under way and end the workers. Blocks: not for the event loop."""
        self._stopping = True
        assert self._loop is not None
        closed = threading.Event()
        self._loop.call_soon_threadsafe(self._close_all, closed)
        closed.wait(5)
        for worker in self.workers:
            worker.stop()

    @property
    def busy(self) -> int:
        """Slots that are taken."""
        return len(self._held)

    @property
    def tickets(self) -> frozenset[Ticket]:
        """Those given out."""
        return frozenset(self._held)

    @property
    def sounding(self) -> bool:
        """Whether a stream is under way, or sound of one still waits for its listener."""
        return any(ticket.running or ticket.waiting for ticket in self._held)

    def vocoders(self) -> set[Vocoder]:
        """Those that have listeners."""
        return {ticket.vocoder for ticket in self._held}

    def admit(self, vocoder: Vocoder) -> Ticket | None:
        """A slot for one more listener of a voice, or ``None`` where that would be too many."""
        if self._stopping or self.draining or self.busy >= self.slots:
            self.ledger.refused += 1
            return None
        cost = self.capacity(vocoder).shared
        worker = self.ledger.admit(cost, self._pace)
        if worker is None:
            return None
        ticket = Ticket(self, worker, self._free[worker].pop(), vocoder, cost)
        self._held.add(ticket)
        self.admitted += 1
        return ticket

    def _pace(self, number: int) -> float | None:
        """Of a worker's calls; without end while its listeners have just run dry, whatever its calls take."""
        worker = self.workers[number]
        if not worker.up:
            return None
        return math.inf if time.monotonic() - self._dry[number] < RECENT else worker.pace

    def release(self, ticket: Ticket) -> None:
        """Give a slot back, by its ticket."""
        if ticket in self._held:
            self._held.discard(ticket)
            self._tickets.pop((ticket.worker, ticket.slot), None)
            self._free[ticket.worker].append(ticket.slot)
            self.ledger.release(ticket.worker, ticket.cost)

    def open(self, ticket: Ticket, work: Work, outlet: Outlet) -> None:
        """Hand a stream to the ticket's worker."""
        self._tickets[ticket.worker, ticket.slot] = ticket
        self.workers[ticket.worker].open(ticket.key, work, outlet)

    def post(self, worker: int) -> Callable[[list[Event]], None]:
        """As :meth:`deliver`, for any thread."""

        def post(events: list[Event]) -> None:
            assert self._loop is not None
            with contextlib.suppress(RuntimeError):  # the event loop has closed: nobody is left to hear it
                self._loop.call_soon_threadsafe(self.deliver, worker, events)

        return post

    def deliver(self, worker: int, events: list[Event]) -> None:
        """Events of a worker, on the event loop."""
        for event in events:
            ticket = self._tickets.get((worker, event.key[0]))
            if ticket is not None and ticket.generation == event.key[1]:
                self.watch(ticket, event)
                if event.underrun:
                    self._dry[worker] = time.monotonic()
                ticket.receive(event)

    def _close_all(self, closed: threading.Event) -> None:
        for ticket in tuple(self._held):
            ticket.close()
        closed.set()


def in_threads(number: int, crew: Crew) -> Worker:
    """Makes the workers of a crew threads of this process."""
    bank = Bank(slots=crew.ledger.slots, ring=crew.ring, capacity=crew.capacity)
    return Worker(number, bank, crew.post(number))


def summary(crew: Crew) -> dict[str, Any]:
    """What the readiness page tells of the workers."""
    up = sum(worker.up for worker in crew.workers)
    pace = [round(worker.pace, 3) for worker in crew.workers]
    return {"busy": crew.busy, "slots": crew.slots, "load": crew.ledger.load, "pace": pace, "workers": up}
