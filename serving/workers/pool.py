"""Pool of workers: admission of listeners, leases of slots, and the way of sound back to its listener."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from serving.scheduling.admission import AdmissionControl, Lateness, cost
from serving.scheduling.batcher import MAX_BUFFERED, Batcher
from serving.scheduling.events import FlowControl, StreamEvent, StreamKey
from serving.scheduling.memory import STREAM_BYTES, MemoryBudget, MemoryShare
from serving.streams.capacity import Capacity
from serving.streams.contract import ServedModel, StreamRequest
from serving.workers.worker import ThreadWorker, Worker

log = logging.getLogger("seqgen.serving")
SLOTS_PER_WORKER = 16
"""Slots of one worker: as many as one call of the native engine takes."""


class Abandoned(Exception):
    """Error of a stream that was closed: the listener is gone, or the server is stopping."""


class SlotLease:
    """Lease of a worker's slot by one listener, taken before anything else of a request is read.

    Use as a context manager on the event loop; leaving it, however that happens, gives the slot back once the worker
    has let go of the stream. A lease may serve several streams, one after the other.

    Attributes:
        memory: its share of the server's memory, for whatever else the request keeps; given back with the slot.
        give_way: asked where another request finds no room: closes the lease if its client only holds it up, and tells
            whether it has.

    Example:
        >>> with pool.admit(model) as lease:
        ...     lease.start(request); lease.push(body); lease.finish()
        ...     while (chunk := await lease.take()) is not None: await send(chunk)
    """

    def __init__(
        self, pool: WorkerPool, worker: int, slot: int, model: ServedModel, cost: float, memory: MemoryShare
    ) -> None:
        self._pool, self.worker, self.slot, self.model, self.cost = pool, worker, slot, model, cost
        self.owner = ""  # on whose account it is, where callers have accounts
        self.memory = memory
        self.give_way: Callable[[], bool] = lambda: False
        self.generation = 0
        self.running = False  # a worker has a stream of this lease
        self.request: StreamRequest | None = None  # of the present stream
        self.underruns = 0
        self._ahead = 0.0  # seconds of input that no sound has been made of
        self._flow = FlowControl()
        self._chunks: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._progress = asyncio.Event()
        self._failure: Exception | None = None
        self._ended = self._closed = False

    def __enter__(self) -> SlotLease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def key(self) -> StreamKey:
        """Slot and generation of the present stream."""
        return self.slot, self.generation

    @property
    def closed(self) -> bool:
        """Whether the listener has left."""
        return self._closed

    @property
    def waiting(self) -> int:
        """Bytes of sound that wait to be taken."""
        return self._flow.buffered

    def charge(self, request: StreamRequest, *, ahead: float) -> bool:
        """Take account of what streams of this request cost, and of the seconds of input that may run ahead of them.

        ``False`` where the worker cannot carry that now, or there is no memory for it.
        """
        return self.memory.try_grow(request.waiting(self.model, ahead)) and self._pool.charge(self, request)

    def start(self, request: StreamRequest) -> None:
        """Begin a stream; the one before has ended.

        Raises:
            SeqgenError: for a request that the voice cannot follow.
        """
        if self.running:
            raise ValueError("the stream before has not ended")
        request.check(self.model)
        if self._closed:
            return
        self.generation += 1
        self.request, self.underruns, self._ahead = request, 0, 0.0
        self._ended, self._failure = False, None
        self._flow = FlowControl()
        self._pool.open(self, request, self._flow)
        self.running = True  # only now there is somebody who will tell of its end

    def push(self, data: bytes | memoryview) -> None:
        """More input."""
        assert self.request is not None
        self._ahead += self.request.seconds(self.model, len(data))
        self._pool.workers[self.worker].push(self.key, data)

    def finish(self) -> None:
        """The input of the present stream is complete."""
        self._pool.workers[self.worker].finish(self.key)

    async def take(self) -> bytes | None:
        """Next chunk of sound, or ``None`` at the end.

        Raises:
            Abandoned: when the lease was closed.
            Exception: what went wrong, after the chunks that were made before.
        """
        while True:
            if self._closed:
                raise Abandoned
            if self._chunks:
                chunk = self._chunks.popleft()
                self._flow.consumed += len(chunk)
                self._pool.workers[self.worker].acknowledge(self.key, self._flow.consumed)
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
        self._chunks.clear()
        self._arrived.set()
        self._progress.set()
        if self.running:
            self._pool.workers[self.worker].cancel(self.key)
        else:
            self._pool.release(self)

    def receive(self, event: StreamEvent) -> None:
        """Reports of the worker on the present stream, on the event loop; after its end there are none."""
        if not self.running:
            return
        if event.data and not self._closed:
            self._chunks.append(event.data)
        self.underruns += event.underrun
        self._ahead -= event.seconds
        if event.over:
            self.running, self._ended, self._failure = False, True, event.failure
            if self._closed:
                self._pool.release(self)
        self._arrived.set()
        self._progress.set()


class WorkerPool:
    """Pool of workers, and admission of listeners to their slots.

    Args:
        workers: one per core is all that can help. slots: streams admitted at once, over all of them.
        buffered: seconds of sound that may wait for a slow reader. memory: budget that every lease has a share of;
            by default without a limit. make: makes a worker, by its number; see
            :func:`thread_worker` and :func:`serving.workers.process_worker.process_workers`.

    Attributes:
        observer: told of every event, on the event loop (for the metrics).
        on_failure: called where a worker has ended that nobody starts again. failed: whether that has been.
        copies: of an open voice in memory, the server's own included.
    """

    def __init__(
        self,
        *,
        workers: int,
        slots: int = SLOTS_PER_WORKER,
        buffered: float = MAX_BUFFERED,
        memory: MemoryBudget | None = None,
        make: Callable[[int, WorkerPool], Worker] | None = None,
    ) -> None:
        self.slots, self.buffered, self.memory = slots, buffered, memory or MemoryBudget()
        each = min(SLOTS_PER_WORKER, -(-slots // workers))
        self.admission = AdmissionControl(workers=workers, slots=each)
        self._capacities: WeakKeyDictionary[ServedModel, Capacity] = WeakKeyDictionary()
        self.observer: Callable[[SlotLease, StreamEvent], None] = lambda lease, event: None
        self.on_failure: Callable[[], None] = lambda: None
        self.failed = False
        self.admitted = 0
        self.draining = False  # nobody is admitted any more
        self._lateness = [Lateness() for _ in range(workers)]
        self._free = [list(range(each)) for _ in range(workers)]
        self._leases: dict[tuple[int, int], SlotLease] = {}
        self._held: dict[SlotLease, None] = {}  # in the order of their admission
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self.workers = [(make or thread_worker)(i, self) for i in range(workers)]
        self.copies = 1 + sum(worker.copies for worker in self.workers)

    def resize(self, slots: int) -> int:
        """Admit so many streams at once from now on, or as many as the workers were made for; gives that number."""
        self.slots = min(slots, self.admission.slots * len(self.workers))
        return self.slots

    def capacity(self, model: ServedModel) -> Capacity:
        """Measured capacity of a voice; without a measurement, no limit but the slots."""
        return self._capacities.get(model, Capacity())

    def set_capacity(self, model: ServedModel, capacity: Capacity) -> None:
        """Take note of what was measured of a voice."""
        self._capacities[model] = capacity
        for worker in self.workers:
            worker.prepare(model, capacity)

    def max_listeners(self, model: ServedModel) -> int:
        """Number of listeners of this voice that an idle server would admit."""
        share, price = self.admission.share, self.capacity(model).usual
        each = max(1, int(share / price + 1e-9)) if price else self.admission.slots
        return min(self.slots, min(each, self.admission.slots) * len(self.workers))

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
        """Close every lease, wait for the calls under way and end the workers. Blocks: not for the event loop."""
        self._stopping = True
        assert self._loop is not None
        closed = threading.Event()
        self._loop.call_soon_threadsafe(self._close_all, closed)
        closed.wait(5)
        for number, worker in enumerate(self.workers):
            try:
                worker.stop()
            except Exception:  # the others are still to be stopped
                log.exception("worker %d did not stop", number)

    @property
    def busy(self) -> int:
        """Slots that are taken."""
        return len(self._held)

    @property
    def free(self) -> int:
        """Slots that newcomers would get now, of the voice that costs most among those known."""
        if self._stopping or self.draining:
            return 0
        dearest = max(self._capacities, key=lambda model: self._capacities[model].usual, default=None)
        price = self._capacities[dearest].usual if dearest is not None else 0.0
        free = self.admission.free(price, lambda number: self._pace(number, dearest))
        return max(0, min(self.slots - self.busy, free))

    @property
    def leases(self) -> frozenset[SlotLease]:
        """Leases given out."""
        return frozenset(self._held)

    @property
    def streaming(self) -> bool:
        """Whether a stream is under way, or sound of one still waits for its listener."""
        return any(lease.running or lease.waiting for lease in self._held)

    def models(self) -> set[ServedModel]:
        """Models that have listeners."""
        return {lease.model for lease in self._held}

    def held_by(self, owner: str) -> int:
        """Number of leases on an account whose listeners have not left."""
        return sum(lease.owner == owner and not lease.closed for lease in self._held)

    def admit(self, model: ServedModel, owner: str = "", request: StreamRequest | None = None) -> SlotLease | None:
        """Lease for one more listener of a voice, or ``None`` where that would be too many.

        Without a request, see :meth:`SlotLease.charge`.
        """
        refused = self.admission.refused
        lease = self._admit(model, owner, request)
        if lease is None and not self.draining and self.make_room():
            lease = self._admit(model, owner, request)
        self.admission.refused = refused + (lease is None)  # once, however often it was tried
        return lease

    def make_room(self) -> bool:
        """Have the oldest lease whose client only holds it up give way; ``False`` where there is none."""
        return any(lease.give_way() for lease in tuple(self._held))

    def _admit(self, model: ServedModel, owner: str, request: StreamRequest | None) -> SlotLease | None:
        if self._stopping or self.draining or self.busy >= self.slots:
            return None
        price = cost(self.capacity(model), model, request)
        share = self.memory.share()
        if not share.try_grow(STREAM_BYTES):
            return None
        worker = self.admission.admit(price, lambda number: self._pace(number, model))
        if worker is None:
            share.close()
            return None
        lease = SlotLease(self, worker, self._free[worker].pop(), model, price, share)
        lease.owner = owner
        self._held[lease] = None
        self.admitted += 1
        return lease

    @property
    def full(self) -> bool:
        """Fullness of the pool: every slot is taken, of all that there are and of those of workers that are up."""
        free = any(self._free[number] for number, worker in enumerate(self.workers) if worker.up)
        return self.busy >= self.slots or not free

    def carries(self, model: ServedModel) -> bool:
        """Test for a worker whose time suffices for one more listener of a voice now."""
        price = self.capacity(model).usual
        return self.admission.free(price, lambda number: self._pace(number, model)) > 0

    def charge(self, lease: SlotLease, request: StreamRequest) -> bool:
        """See :meth:`SlotLease.charge`."""
        price = cost(self.capacity(lease.model), lease.model, request)
        if not self.admission.exchange(lease.worker, lease.cost, price, lambda number: self._pace(number, lease.model)):
            return False
        lease.cost = price
        return True

    def open_somewhere(self, model: ServedModel) -> bool:
        """Test for a worker that could take a stream of a voice, were it idle."""
        return any(worker.up and worker.holds(model) for worker in self.workers)

    def fail(self) -> None:
        """A worker has ended for good; called in any thread."""
        self.failed = True
        self.on_failure()

    def _pace(self, number: int, model: ServedModel | None) -> float | None:
        """Slowdown of a worker, by what its calls take and the deadlines that it missed; ``None``: it takes nobody."""
        worker = self.workers[number]
        if not worker.up or not (model is None or worker.holds(model)):
            return None
        return worker.pace * self._lateness[number].slowdown(time.monotonic())

    def release(self, lease: SlotLease) -> None:
        """Give a slot back, by its lease."""
        if lease in self._held:
            del self._held[lease]
            self._leases.pop((lease.worker, lease.slot), None)
            self._free[lease.worker].append(lease.slot)
            self.admission.release(lease.worker, lease.cost)
            lease.memory.close()

    def open(self, lease: SlotLease, request: StreamRequest, flow: FlowControl) -> None:
        """Hand a stream to the worker of a lease."""
        self._leases[lease.worker, lease.slot] = lease
        self.workers[lease.worker].open(lease.key, lease.model, request, flow)

    def deliver_from_thread(self, worker: int) -> Callable[[list[StreamEvent]], None]:
        """As :meth:`deliver`, for any thread."""

        def post(events: list[StreamEvent]) -> None:
            assert self._loop is not None
            with contextlib.suppress(RuntimeError):  # the event loop has closed: nobody is left to hear it
                self._loop.call_soon_threadsafe(self.deliver, worker, events)

        return post

    def deliver(self, worker: int, events: list[StreamEvent]) -> None:
        """Events of a worker, on the event loop."""
        for event in events:
            lease = self._leases.get((worker, event.key[0]))
            if lease is not None and lease.generation == event.key[1]:
                try:
                    self.observer(lease, event)
                except Exception:  # who counts wrongly must not cost anybody his slot
                    log.exception("an event was not counted")
                if event.seconds or event.underrun:
                    self._lateness[worker].add(now=time.monotonic(), missed=event.underrun)
                lease.receive(event)

    def _close_all(self, closed: threading.Event) -> None:
        for lease in tuple(self._held):
            lease.close()
        closed.set()


def thread_worker(number: int, pool: WorkerPool) -> ThreadWorker:
    """Factory of a pool's workers as threads of this process."""
    batcher = Batcher(slots=pool.admission.slots, buffered=pool.buffered, capacity=pool.capacity)
    return ThreadWorker(number, batcher, pool.deliver_from_thread(number), pool.fail)


def summary(pool: WorkerPool) -> dict[str, Any]:
    """State of the workers, as the readiness page shows it."""
    up = sum(worker.up for worker in pool.workers)
    pace = [round(worker.pace, 3) for worker in pool.workers]
    return {"busy": pool.busy, "slots": pool.slots, "load": pool.admission.load, "pace": pace, "workers": up}
