"""A worker in a process of its own: what goes wrong in it ends its own streams, and it is started again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from serving.bank import Event, Key, Outlet
from serving.capacity import RECENT, Capacity
from serving.link import Ears, Launch, Link
from serving.nursery import Nursery, Process
from serving.reopen import Recipe, recipe
from serving.vocoder import Vocoder
from serving.wire import Command, Notice, as_json, number, write_order
from serving.work import Work
from serving.worker import Deliver, WorkerLost

if TYPE_CHECKING:
    from serving.crew import Crew

log = logging.getLogger("seqgen.serving")
STEADY = 60.0
"""Seconds after which a worker that ends is no longer held to have ended at once."""
LONGEST = 30.0
"""Seconds that a worker which ends again and again waits at most for its next start."""
BEAT = 1.0
"""Seconds for a worker to give a sign of life; nobody is sent to one that owes it."""
HUNG = 5
"""Signs owed in a row after which a worker hangs: it is killed and started again."""
_STARTING = 60  # the same, before it has said its first word
_PATIENCE = 5.0  # seconds for a process to end by itself


def pause(ends: int) -> float:
    """Seconds before the next start of a worker that has ended so often in a row: none, 0.25, 0.5, … ``LONGEST``.

    Example:
        >>> [pause(ends) for ends in (1, 2, 3, 4)]
        [0.0, 0.25, 0.5, 1.0]
    """
    return min(0.25 * 2.0 ** min(ends - 2, 20), LONGEST) if ends > 1 else 0.0


class ProcessWorker:
    """A worker process and its supervisor; see :class:`serving.worker.AnyWorker`.

    Args:
        number: of the worker. launch: what its process is started with. deliver: takes events, on the event loop.
        recipe: tells how the process can open a voice. beat: see ``BEAT``.
    """

    def __init__(
        self,
        number: int,
        launch: Launch,
        deliver: Deliver,
        *,
        recipe: Callable[[Vocoder], Recipe] = recipe,
        beat: float = BEAT,
    ) -> None:
        self.number, self._launch, self._deliver, self._recipe, self._beat = number, launch, deliver, recipe, beat
        self.restarts = 0
        self._pace = 1.0, 0.0  # and when it was told
        self._open = False  # it has its voices
        self._owes = 0  # signs of life in a row
        self._alive = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link: Link | None = None
        self._live: dict[Key, Outlet] = {}
        self._voices: WeakKeyDictionary[Vocoder, tuple[int, Capacity]] = WeakKeyDictionary()
        self._told: set[int] = set()  # numbers of the voices that the process knows of
        self._loading: set[int] = set()
        self._count = 0  # of voices, for their numbers
        self._cut = 0  # streams that the last end of the process cut
        self._greeted = False
        self._ended = asyncio.Event()
        self._arrived = asyncio.Event()
        self._stopping = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        return self._open and not self._owes

    @property
    def pace(self) -> float:
        value, told = self._pace
        return value if time.monotonic() - told < RECENT else 1.0

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._link.process.pid if self._link else None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._launch.nursery.join()
        self._supervisor = self._loop.create_task(self._supervise())

    async def ready(self) -> None:
        await self._arrived.wait()

    def stop(self) -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()

    def prepare(self, vocoder: Vocoder, capacity: Capacity) -> None:
        known = self._voices.get(vocoder)
        if known is not None and known[1] == capacity:
            return
        self._count += 1
        self._voices[vocoder] = self._count, capacity
        self._teach()

    def open(self, key: Key, work: Work, outlet: Outlet) -> None:
        assert self._loop is not None
        if self._link is None:
            lost = WorkerLost(f"worker {self.number} is being started again")
            self._loop.call_soon(self._deliver, [Event(key, over=True, failure=lost)])
            return
        if work.vocoder not in self._voices:
            self.prepare(work.vocoder, Capacity())
        self._live[key] = outlet
        voice, _ = self._voices[work.vocoder]
        fields = {"voice": voice, "began": time.monotonic(), "order": write_order(work.order)}
        self._link.send(Command.OPEN, key, as_json(fields))

    def push(self, key: Key, data: bytes) -> None:
        self._tell(Command.PUSH, key, data)

    def finish(self, key: Key) -> None:
        self._tell(Command.FINISH, key)

    def cancel(self, key: Key) -> None:
        self._tell(Command.CANCEL, key)

    def nudge(self, key: Key, taken: int) -> None:
        self._tell(Command.TOOK, key, number(taken))

    def _tell(self, command: Command, key: Key, data: bytes = b"") -> None:
        """What concerns one stream; whoever is gone already gets none."""
        if self._link is not None and key in self._live:
            self._link.send(command, key, data)

    async def _supervise(self) -> None:
        ends = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                # Starting a process takes milliseconds, which the event loop does not have.
                link = await asyncio.to_thread(Link, self._launch)
            except OSError as error:
                told = f"worker {self.number} could not be started ({error})"
            else:
                status = await self._run(link)
                told = (
                    f"worker {self.number} (process {link.process.pid}) ended by {status} and cut {self._cut} streams"
                )
            if not self._stopping.is_set():
                ends = ends + 1 if time.monotonic() - began < STEADY else 1
                await self._again(told, ends)

    async def _run(self, link: Link) -> str:
        """Hold a process until it ends; tells how it did."""
        self._ended.clear()
        self._greeted = False
        self._told.clear()
        self._loading.clear()
        self._link = link
        link.attach(Ears(self._noticed, self._heard, self._lost))
        self._teach()
        if self._stopping.is_set():
            link.send(Command.STOP)
        watch = asyncio.create_task(self._watch(link))
        await self._ended.wait()
        watch.cancel()
        return await asyncio.to_thread(_reap, link.process)

    async def _watch(self, link: Link) -> None:
        """Ask the process for a sign of life again and again; kill it where none comes.

        Beats are counted, not seconds: who stops the server for a while stops its workers too, and then it wakes up
        first.
        """
        self._owes = 0
        self._alive.clear()
        while self._owes < (HUNG if self._greeted else _STARTING):
            if not self._owes:
                link.send(Command.PING)
            try:
                await asyncio.wait_for(self._alive.wait(), self._beat)
            except TimeoutError:
                self._owes += 1
            else:
                self._alive.clear()
                self._owes = 0
                await asyncio.sleep(self._beat)
        log.error("worker %d (process %d) gives no sign of life and is killed", self.number, link.process.pid)
        link.process.kill()

    async def _again(self, told: str, ends: int) -> None:
        """Tell of an end that nobody asked for, and wait before the next start."""
        self.restarts += 1
        wait = pause(ends)
        then = f"{ends} times in a row, the next start is in {wait:g} s" if ends > 1 else "it is started again"
        log.error("%s; %s", told, then)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), wait)

    def _teach(self) -> None:
        """Tell the process of voices that it does not know, and of those that nobody holds any more."""
        if self._link is None:
            return
        current = {voice: (vocoder, capacity) for vocoder, (voice, capacity) in self._voices.items()}
        for voice in self._told - current.keys():
            self._link.send(Command.FORGET, data=number(voice))
        for voice in current.keys() - self._told:
            vocoder, capacity = current[voice]
            measured = {"alone": capacity.alone, "shared": capacity.shared, "batch": capacity.batch}
            fields = {"number": voice, "recipe": self._recipe(vocoder), "capacity": measured}
            self._link.send(Command.VOICE, data=as_json(fields))
            self._loading.add(voice)
        self._told = set(current)

    def _noticed(self, kind: Notice, value: int) -> None:
        if kind is Notice.PACE:
            self._pace = value / 1000, time.monotonic()
            return
        if kind is Notice.ALIVE:
            self._alive.set()
            return
        if kind is Notice.HELLO:
            self._greeted = True
        else:
            self._loading.discard(value)
        if self._greeted and not self._loading and not self._open:
            self._open = True
            self._arrived.set()

    def _heard(self, events: list[Event]) -> None:
        for event in events:
            outlet = self._live.get(event.key)
            if outlet is not None:
                outlet.given += len(event.data)
            if event.over:
                self._live.pop(event.key, None)
        self._deliver(events)

    def _lost(self) -> None:
        """The process is gone: so are its streams."""
        self._link, self._open, self._pace = None, False, (1.0, 0.0)
        self._arrived.clear()
        live, self._live = self._live, {}
        self._cut = len(live)
        lost = WorkerLost(f"worker {self.number} ended in the middle of the stream")
        self._deliver([Event(key, over=True, failure=lost) for key in live])
        self._ended.set()

    async def _stop(self) -> None:
        self._stopping.set()
        if self._link is not None:
            link = self._link
            link.send(Command.STOP)
            try:
                await asyncio.wait_for(self._ended.wait(), _PATIENCE)
            except TimeoutError:
                link.process.kill()
        if self._supervisor is not None:
            await self._supervisor
            await asyncio.to_thread(self._launch.nursery.leave)


def in_processes(
    opener: str = "serving.reopen:reopen", recipe: Callable[[Vocoder], Recipe] = recipe, beat: float = BEAT
) -> Callable[[int, Crew], ProcessWorker]:
    """Makes the workers of a crew processes; ``opener`` opens there what ``recipe`` writes here; see ``BEAT``."""

    nursery = Nursery()

    def make(number: int, crew: Crew) -> ProcessWorker:
        launch = Launch(crew.ledger.slots, crew.ring, nursery, opener)
        return ProcessWorker(number, launch, partial(crew.deliver, number), recipe=recipe, beat=beat)

    return make


def _reap(process: Process) -> str:
    """Wait for a process that has let go of its socket; tells how it ended."""
    try:
        status = process.wait(_PATIENCE)
    except TimeoutError:
        process.kill()
        status = -signal.SIGKILL  # whoever would tell may hang as well
    if status >= 0:
        return f"exit status {status}"
    return f"signal {-status} ({signal.Signals(-status).name})"
