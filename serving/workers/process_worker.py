"""Workers in processes of their own, supervised: a crash ends the streams of one worker, which is started again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from weakref import WeakKeyDictionary

from serving.scheduling.admission import RECENT
from serving.scheduling.events import FlowControl, StreamEvent, StreamKey
from serving.streams.capacity import Capacity
from serving.streams.contract import ServedModel, StreamRequest
from serving.voices.reference import VoiceReference, reference_to
from serving.workers.connection import ConnectionCallbacks, WorkerConnection, WorkerOptions
from serving.workers.fork_server import ForkedProcess, ForkServer
from serving.workers.ipc import Command, Notice, encode_json, encode_number, encode_request
from serving.workers.pool import WorkerPool
from serving.workers.worker import EventSink, WorkerLost

log = logging.getLogger("seqgen.serving")
STABLE_AFTER = 60.0
"""Seconds after which a worker that ends is no longer held to have ended at once."""
MAX_PAUSE = 30.0
"""Seconds that a worker which ends again and again waits at most for its next start."""
HEARTBEAT = 1.0
"""Seconds for a worker to give a sign of life; nobody is sent to one that owes it."""
MISSED_HEARTBEATS = 5
"""Heartbeats missed in a row after which a worker hangs: it is killed and started again."""
LATE = 10.0
"""Seconds that a worker which was started waits for its voices; after that it takes streams of those that are open."""
_STARTUP_HEARTBEATS = 60  # the same, before it has said its first word
_PATIENCE = 5.0  # seconds for a process to end by itself
Refer = Callable[[ServedModel], VoiceReference]
"""Writes the reference by which a worker process opens a voice."""


def restart_pause(ends: int) -> float:
    """Seconds before the next start of a worker that has ended so often in a row: none, 0.25, 0.5, … ``MAX_PAUSE``.

    The next attempt to open a voice waits as long.

    Example:
        >>> [restart_pause(ends) for ends in (1, 2, 3, 4)]
        [0.0, 0.25, 0.5, 1.0]
    """
    return min(0.25 * 2.0 ** min(ends - 2, 20), MAX_PAUSE) if ends > 1 else 0.0


class ProcessWorker:
    """Worker that is a process of its own, with its supervisor; see :class:`serving.workers.worker.Worker`.

    Args:
        number: of the worker. options: what its process is started with. deliver: takes events, on the event loop.
        fail: called where its supervisor has ended, so that nobody starts its process again.
        refer: tells how the process can open a voice. heartbeat: see ``HEARTBEAT``.
    """

    copies = 1

    def __init__(
        self,
        number: int,
        options: WorkerOptions,
        deliver: EventSink,
        fail: Callable[[], None],
        *,
        refer: Refer = reference_to,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self.number, self._options, self._heartbeat = number, options, heartbeat
        self._deliver, self._fail, self._refer = deliver, fail, refer
        self.restarts = 0
        self._pace = 1.0, 0.0  # and when it was told
        self._open = False  # it has its voices
        self._missed = 0  # heartbeats in a row
        self._alive = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: WorkerConnection | None = None
        self._live: dict[StreamKey, FlowControl] = {}
        self._voices: WeakKeyDictionary[ServedModel, tuple[int, Capacity]] = WeakKeyDictionary()
        self._sent: set[int] = set()  # numbers of the voices that the process knows of
        self._loading: set[int] = set()
        self._late: set[int] = set()  # of these, those that the worker waits for no longer
        self._missing: dict[int, asyncio.TimerHandle] = {}  # voices that it could not open, with the next attempt
        self._attempts: Counter[int] = Counter()  # to open a voice, that failed in a row
        self._count = 0  # of voices, for their numbers
        self._streams_cut = 0  # streams that the last end of the process cut
        self._started = False
        self._ended = asyncio.Event()
        self._ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        return self._open and not self._missed

    @property
    def tended(self) -> bool:
        return self._supervisor is None or not self._supervisor.done()

    def holds(self, model: ServedModel) -> bool:
        known = self._voices.get(model)
        return known is None or known[0] not in self._missing.keys() | self._late

    @property
    def pace(self) -> float:
        value, told = self._pace
        return value if time.monotonic() - told < RECENT else 1.0

    @property
    def pid(self) -> int | None:
        """Number of the process that runs now."""
        return self._connection.process.pid if self._connection else None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._options.fork_server.acquire()
        self._supervisor = self._loop.create_task(self._supervise())
        self._supervisor.add_done_callback(self._on_supervisor_end)

    async def ready(self) -> None:
        await self._ready.wait()

    def stop(self) -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()

    def prepare(self, model: ServedModel, capacity: Capacity) -> None:
        known = self._voices.get(model)
        if known is not None and known[1] == capacity:
            return
        self._count += 1
        self._voices[model] = self._count, capacity
        self._send_voices()

    def open(self, key: StreamKey, model: ServedModel, request: StreamRequest, flow: FlowControl) -> None:
        assert self._loop is not None
        if self._connection is None:
            lost = WorkerLost(f"worker {self.number} is being started again")
            self._loop.call_soon(self._deliver, [StreamEvent(key, over=True, failure=lost)])
            return
        if model not in self._voices:
            self.prepare(model, Capacity())
        voice, _ = self._voices[model]
        fields = {"voice": voice, "began": time.monotonic(), "request": encode_request(request)}
        self._connection.send(Command.OPEN, key, encode_json(fields))
        self._live[key] = flow

    def push(self, key: StreamKey, data: bytes | memoryview) -> None:
        self._tell(Command.PUSH, key, data)

    def finish(self, key: StreamKey) -> None:
        self._tell(Command.FINISH, key)

    def cancel(self, key: StreamKey) -> None:
        self._tell(Command.CANCEL, key)

    def acknowledge(self, key: StreamKey, consumed: int) -> None:
        self._tell(Command.CONSUMED, key, encode_number(consumed))

    def _tell(self, command: Command, key: StreamKey, data: bytes | memoryview = b"") -> None:
        """Report that concerns one stream; whoever is gone already gets none."""
        if self._connection is not None and key in self._live:
            self._connection.send(command, key, data)

    async def _supervise(self) -> None:
        """Start the process again whenever it ends, whatever goes wrong with that, until the worker is stopped."""
        ends = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                told = await self._live_once()
            except OSError as error:
                told = f"worker {self.number} could not be started ({error})"
            except Exception as error:
                log.exception("worker %d could not be held", self.number)
                told = f"worker {self.number} could not be held ({error!r})"
            if not self._stopping.is_set():
                ends = ends + 1 if time.monotonic() - began < STABLE_AFTER else 1
                await self._pause(told, ends)

    async def _live_once(self) -> str:
        """Start a process and hold it until it ends; tells how it did."""
        # Starting a process takes milliseconds, which the event loop does not have.
        connection = await asyncio.to_thread(WorkerConnection, self._options)
        self._ended.clear()
        try:
            await self._run(connection)
            status = await asyncio.to_thread(_reap, connection.process)
        except BaseException:
            connection.process.abandon()
            connection.close()
            if not self._ended.is_set():
                self._on_end()
            raise
        who = f"worker {self.number} (process {connection.process.pid})"
        return f"{who} ended by {status} and cut {self._streams_cut} streams"

    async def _run(self, connection: WorkerConnection) -> None:
        self._started = False
        self._sent.clear()
        self._loading.clear()
        self._late.clear()
        self._connection = connection
        connection.attach(ConnectionCallbacks(self._on_notice, self._on_events, self._on_end))
        self._send_voices()
        if self._stopping.is_set():
            connection.send(Command.STOP)
        watch = asyncio.create_task(self._watch(connection))
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait((watch, ended), return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()  # where it failed, nobody would notice that the process hangs
            await ended
        finally:
            watch.cancel()
            ended.cancel()

    def _on_supervisor_end(self, supervisor: asyncio.Task[None]) -> None:
        """The supervisor has ended: nobody starts the process again, so the server has to be."""
        if self._stopping.is_set():
            return
        error = None if supervisor.cancelled() else supervisor.exception()
        log.critical("the supervisor of worker %d has ended (%r); the server stops", self.number, error)
        self._fail()

    async def _watch(self, connection: WorkerConnection) -> None:
        """Ask the process for a sign of life again and again; kill it where none comes.

        Heartbeats are counted, not seconds: who stops the server for a while stops its workers too, and then it wakes
        up first.
        """
        self._missed = 0
        self._alive.clear()
        while self._missed < (MISSED_HEARTBEATS if self._started else _STARTUP_HEARTBEATS):
            if not self._missed:
                connection.send(Command.PING)
            try:
                await asyncio.wait_for(self._alive.wait(), self._heartbeat)
            except TimeoutError:
                self._missed += 1
            else:
                self._alive.clear()
                self._missed = 0
                await asyncio.sleep(self._heartbeat)
        log.error("worker %d (process %d) gives no sign of life and is killed", self.number, connection.process.pid)
        connection.process.kill()

    async def _pause(self, told: str, ends: int) -> None:
        """Tell of an end that nobody asked for, and wait before the next start."""
        self.restarts += 1
        wait = restart_pause(ends)
        then = f"{ends} times in a row, the next start is in {wait:g} s" if ends > 1 else "it is started again"
        log.error("%s; %s", told, then)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), wait)

    def _send_voices(self) -> None:
        """Tell the process of voices that it does not know, and of those that nobody holds any more."""
        if self._connection is None:
            return
        current = {voice: (model, capacity) for model, (voice, capacity) in self._voices.items()}
        for voice in self._sent - current.keys():
            self._connection.send(Command.FORGET, data=encode_number(voice))
            self._forget_attempts(voice)
        for voice in current.keys() - self._sent:
            self._send_voice(voice, *current[voice])
        self._sent = set(current)

    def _send_voice(self, voice: int, model: ServedModel, capacity: Capacity) -> None:
        assert self._connection is not None
        try:
            reference = self._refer(model)
        except Exception:
            log.exception("a voice cannot be named to worker %d", self.number)
            return self._on_missing(voice)
        measured = {"alone": capacity.alone, "shared": capacity.shared, "batch": capacity.batch,
                    "text": capacity.text}  # fmt: skip
        fields = {"number": voice, "reference": reference, "capacity": measured}
        self._connection.send(Command.VOICE, data=encode_json(fields))
        self._loading.add(voice)

    def _on_missing(self, voice: int) -> None:
        """The process could not open a voice: nobody who wants it is sent there until a later attempt has."""
        assert self._loop is not None
        self._attempts[voice] += 1
        wait = restart_pause(self._attempts[voice] + 1)
        log.error("worker %d could not open a voice; the next attempt is in %g s", self.number, wait)
        self._missing[voice] = self._loop.call_later(wait, self._open_again, voice)

    def _open_again(self, voice: int) -> None:
        for model, (number, capacity) in list(self._voices.items()):
            if number == voice and self._connection is not None:
                self._send_voice(voice, model, capacity)

    def _forget_attempts(self, voice: int) -> None:
        if voice in self._missing:
            self._missing.pop(voice).cancel()
        self._attempts.pop(voice, None)

    def _on_notice(self, kind: Notice, value: int) -> None:
        if kind is Notice.PACE:
            self._pace = value / 1000, time.monotonic()
            return
        if kind is Notice.ALIVE:
            self._alive.set()
            return
        if kind is Notice.HELLO:
            assert self._loop is not None
            self._started = True
            self._loop.call_later(LATE, self._wait_no_longer, self._connection)
        else:
            self._loading.discard(value)
            self._late.discard(value)
            if kind is Notice.MISSING:
                self._on_missing(value)
            else:
                self._forget_attempts(value)
        if self._started and not self._loading:
            self._take_streams()

    def _wait_no_longer(self, connection: WorkerConnection | None) -> None:
        """A voice that takes long, or hangs, keeps a process that was started from no other voice's streams."""
        if connection and connection is self._connection and not self._open:
            self._late |= self._loading
            self._take_streams()

    def _take_streams(self) -> None:
        self._open = True
        self._ready.set()

    def _on_events(self, events: list[StreamEvent]) -> None:
        for event in events:
            flow = self._live.get(event.key)
            if flow is not None:
                flow.sent += len(event.data)
            if event.over:
                self._live.pop(event.key, None)
        self._deliver(events)

    def _on_end(self) -> None:
        """The process is gone: so are its streams."""
        self._connection, self._open, self._pace = None, False, (1.0, 0.0)
        self._ready.clear()
        self._ended.set()
        for voice in tuple(self._missing):
            self._forget_attempts(voice)
        live, self._live = self._live, {}
        self._streams_cut = len(live)
        lost = WorkerLost(f"worker {self.number} ended in the middle of the stream")
        self._deliver([StreamEvent(key, over=True, failure=lost) for key in live])

    async def _stop(self) -> None:
        self._stopping.set()
        if self._connection is not None:
            connection = self._connection
            connection.send(Command.STOP)
            try:
                await asyncio.wait_for(self._ended.wait(), _PATIENCE)
            except TimeoutError:
                connection.process.kill()
        if self._supervisor is not None:
            await asyncio.wait([self._supervisor])
            await asyncio.to_thread(self._options.fork_server.release)


def process_workers(
    opener: str = "serving.voices.reference:open_reference", refer: Refer = reference_to, heartbeat: float = HEARTBEAT
) -> Callable[[int, WorkerPool], ProcessWorker]:
    """Factory of a pool's workers as processes.

    Args:
        opener: ``module:function`` that opens there what ``refer`` writes here. heartbeat: see ``HEARTBEAT``.
    """
    fork_server = ForkServer()

    def make(number: int, pool: WorkerPool) -> ProcessWorker:
        options = WorkerOptions(pool.admission.slots, pool.buffered, fork_server, opener)
        deliver = partial(pool.deliver, number)
        return ProcessWorker(number, options, deliver, pool.fail, refer=refer, heartbeat=heartbeat)

    return make


def _reap(process: ForkedProcess) -> str:
    """Wait for a process that has let go of its socket; tells how it ended."""
    try:
        status = process.wait(_PATIENCE)
    except TimeoutError:
        process.kill()
        status = -signal.SIGKILL  # whoever would tell may hang as well
    return f"exit status {status}" if status >= 0 else f"signal {-status} ({_signal_name(-status)})"


def _signal_name(number: int) -> str:
    """Name of a signal; Python names the first and last real-time signal only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        first = getattr(signal, "SIGRTMIN", number)
        return f"SIGRTMIN{number - first:+d}"
