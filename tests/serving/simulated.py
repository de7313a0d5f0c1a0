"""A server without sockets, threads and clocks: its time is simulated, so a schedule is the same whenever it is run."""

from __future__ import annotations

import asyncio
import random
import selectors
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from seqgen.errors import SeqgenError
from serving.http.protocol import RequestLimits
from serving.http.resume import ResumeTokens
from serving.scheduling.batcher import Batcher
from serving.scheduling.events import FlowControl, StreamEvent
from serving.streams.sound import SoundRequest
from serving.voices.voice import LoadedVoice
from serving.websocket.endpoint import StreamEndpoint
from serving.workers.pool import WorkerPool
from tests.serving.fakes import fake_vocoder

_AN_AGE = 1e5  # seconds


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: where nothing can be done, it is later at once.

    Raises:
        AssertionError: where nothing can ever be done again.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self.failure: BaseException | None = None
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._now

    def later(self, seconds: float | None) -> None:
        assert seconds is not None, "everybody waits for everybody"
        self._now += seconds
        assert self._now < _AN_AGE, "nothing ever happens"

    def call_exception_handler(self, context: Any) -> None:
        self.failure = context.get("exception") or AssertionError(context["message"])
        self.stop()


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        self._loop.later(timeout)
        return super().select(0)


def simulate(main: Any) -> Any:
    """The result of a coroutine in simulated time."""
    loop = SimulatedLoop()
    try:
        task = loop.create_task(main)
        task.add_done_callback(lambda _: loop.stop())
        loop.run_forever()
        if loop.failure is not None:
            raise loop.failure
        return task.result()
    finally:
        loop.close()


def sound_of(stream: int, data: bytes, at: int = 0) -> bytes:
    """What the simulated voice makes of input from a place in an utterance on: a byte for a byte, which tells where."""
    places = np.arange(at, at + len(data), dtype=np.uint32).astype(np.uint8)
    return (np.frombuffer(data, np.uint8) + places * np.uint8(7) + np.uint8(stream * 31)).tobytes()


def whole_sound(stream: int, data: bytes) -> bytes:
    """All that it makes of an utterance."""
    return sound_of(stream, data) + b"end of %d" % stream


@dataclass
class _Stream:
    model: Any
    request: SoundRequest
    flow: FlowControl
    given: bytearray = field(default_factory=bytearray)
    made: int = 0
    finished: bool = False
    cancelled: bool = False
    planned: bool = False


class SimulatedWorker:
    """A worker that makes sound when it pleases, as much at once as it pleases, and ends streams a moment later.

    ``speed``: seconds of sound a second at most; 0: no limit.
    """

    up, tended, restarts, pace, copies = True, True, 0, 1.0, 0

    def __init__(self, number: int, pool: WorkerPool, rng: random.Random, *, speed: float = 0.0) -> None:
        self._number, self._pool, self._rng, self._speed = number, pool, rng, speed
        self._streams: dict[Any, _Stream] = {}

    def holds(self, vocoder: Any) -> bool:
        return True

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def ready(self) -> None:
        pass

    def prepare(self, vocoder: Any, capacity: Any) -> None:
        pass

    def stop(self) -> None:
        pass

    def open(self, key: Any, vocoder: Any, request: SoundRequest, flow: FlowControl) -> None:
        assert key not in self._streams
        self._streams[key] = _Stream(vocoder, request, flow)

    def push(self, key: Any, data: bytes) -> None:
        if (stream := self._streams.get(key)) is not None:
            assert not stream.finished, "input came for an utterance that had ended"
            stream.given += data
            self._plan(key)

    def finish(self, key: Any) -> None:
        if (stream := self._streams.get(key)) is not None:
            stream.finished = True
            self._plan(key)

    def cancel(self, key: Any) -> None:
        if (stream := self._streams.get(key)) is not None:
            stream.cancelled = True
            self._plan(key)

    def acknowledge(self, key: Any, consumed: int) -> None:
        if key in self._streams:
            self._plan(key)

    def _plan(self, key: Any) -> None:
        stream = self._streams[key]
        if not stream.planned:
            stream.planned = True
            self._loop.call_later(self._rng.choice([0, 0, self._rng.random() * 0.1]), self._turn, key)

    def _turn(self, key: Any) -> None:
        stream = self._streams[key]
        stream.planned = False
        left = len(stream.given) - stream.made
        size = 0 if stream.flow.buffered > 64 else self._rng.randint(0, left)
        if self._speed:  # as much as is due after a tenth of a second
            size = min(left, round(self._speed * 0.1 * 16000))
        if stream.cancelled:
            del self._streams[key]
            self._pool.deliver(self._number, [StreamEvent(key, over=True)])
            return
        over = stream.finished and size == left
        number, made = stream.request.settings.stream, stream.made
        data = sound_of(number, bytes(stream.given[made : made + size]), made) + (
            b"end of %d" % number if over else b""
        )
        stream.made += size
        stream.flow.sent += len(data)
        if over:
            del self._streams[key]
        elif self._speed:
            self._loop.call_later(0.1, self._turn, key)
            stream.planned = True
        elif size < left and stream.flow.buffered <= 64:
            self._plan(key)
        seconds = stream.request.seconds(stream.model, size)
        self._pool.deliver(self._number, [StreamEvent(key, data, seconds, over=over)])


class BatchingWorker(SimulatedWorker):
    """A worker with the batcher of the real ones, whose turns come when they please."""

    def __init__(self, number: int, pool: WorkerPool, rng: random.Random) -> None:
        super().__init__(number, pool, rng)
        self._batcher, self._waiting = Batcher(slots=16, buffered=0.05), False

    def open(self, key: Any, vocoder: Any, request: SoundRequest, flow: FlowControl) -> None:
        self._batcher.open(key, vocoder, request, self._loop.time(), flow)
        self._wake()

    def push(self, key: Any, data: bytes) -> None:
        self._batcher.push(key, data)
        self._wake()

    def finish(self, key: Any) -> None:
        self._batcher.finish(key)
        self._wake()

    def cancel(self, key: Any) -> None:
        self._batcher.cancel(key)
        self._wake()

    def acknowledge(self, key: Any, consumed: int) -> None:
        self._wake()

    def _wake(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._loop.call_later(self._rng.choice([0, self._rng.random() * 0.1]), self._step)

    def _step(self) -> None:
        self._waiting = False
        batch = self._batcher.plan(self._loop.time())
        if batch is not None:
            batch.run()
            self._batcher.commit(batch, self._loop.time())
        if events := self._batcher.events():
            self._pool.deliver(self._number, events)
        if batch is not None or len(self._batcher):
            self._wake()


class Voices:
    """A cache of one voice, which takes its time."""

    def __init__(self, rng: random.Random, vocoder: Any) -> None:
        self._rng, self._voice = rng, LoadedVoice(vocoder)

    async def find(self, name: str | None = None) -> LoadedVoice:
        await asyncio.sleep(self._rng.choice([0, self._rng.random() * 0.05]))
        if name not in (None, "fake"):
            raise SeqgenError(f"there is no voice '{name}'", remedy="take another")
        return self._voice

    find_any = find


class Line:
    """The two ends of a simulated WebSocket. What the client says arrives in its order; it reads when it pleases.

    Attributes:
        heard: what the client was sent, with the time of each.
    """

    def __init__(self, pause: Any = lambda: 0.0) -> None:
        self._pause = pause
        self._coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heard: list[tuple[float, dict[str, Any]]] = []
        self.read: list[float] = []  # when each message was taken by the server
        self.say({"type": "websocket.connect"})

    def say(self, message: dict[str, Any]) -> None:
        """Something arrives at the server."""
        self._coming.put_nowait(message)

    async def receive(self) -> dict[str, Any]:
        message = await self._coming.get()
        self.read.append(asyncio.get_running_loop().time())
        return message

    async def send(self, message: dict[str, Any]) -> None:
        await asyncio.sleep(self._pause())
        self.heard.append((asyncio.get_running_loop().time(), message))


class Simulation:
    """An endpoint with one simulated worker; ``serve`` runs it on a line to its end."""

    model = fake_vocoder(batch=16)

    def __init__(
        self, rng: random.Random, *, limits: RequestLimits | None = None, speed: float = 0.0, make: Any = None
    ) -> None:
        make = make or partial(SimulatedWorker, speed=speed)
        self.pool = WorkerPool(workers=1, slots=16, make=lambda number, pool: make(number, pool, rng))
        self.pool.start()
        voices: Any = Voices(rng, self.model)
        self.endpoint = StreamEndpoint(voices, self.pool, limits or RequestLimits(), ResumeTokens(bytes(32)))

    async def serve(self, line: Line) -> None:
        """Serve a connection, and see that it leaves nothing behind."""
        scope: Any = {"query_string": b"", "subprotocols": [], "state": {"request_id": "r"}}
        await self.endpoint(scope, line.receive, line.send)
        for _ in range(1000):
            if not self.pool.busy:
                break
            await asyncio.sleep(0.01)
        assert self.pool.busy == 0, "a slot was lost"
        assert self.pool.memory.held == 0, "memory was not given back"
