"""Connection of the server to one worker process: the process, the socket to it and the ring of its sound."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from serving import logs
from serving.scheduling.events import StreamEvent, StreamKey
from serving.workers.fork_server import ForkServer
from serving.workers.ipc import NO_STREAM, Command, CommandQueue, Notice, NoticeDecoder, encode_number
from serving.workers.ring import RING_BYTES, RingReader

log = logging.getLogger("seqgen.serving")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Options that a worker process is started with.

    Attributes:
        slots: streams at once. buffered: seconds of sound that may wait for a reader. fork_server: where it is forked.
        opener: ``module:function`` that opens a voice by its reference.
    """

    slots: int
    buffered: float
    fork_server: ForkServer
    opener: str = "serving.voices.reference:open_reference"


@dataclass
class ConnectionCallbacks:
    """Callbacks for what comes from a worker process; called on the event loop. ``ended`` comes once and last."""

    notice: Callable[[Notice, int], None]
    events: Callable[[list[StreamEvent]], None]
    ended: Callable[[], None]


class WorkerConnection:
    """Connection to one run of a worker process; made in any thread, used on the event loop.

    Args:
        options: what the process is started with.
    """

    live = 0
    """Number of processes whose socket and memory this process holds."""

    def __init__(self, options: WorkerOptions) -> None:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as given:
            self._sock, theirs = socket.socketpair()
            ours.callback(self._sock.close)
            given.callback(theirs.close)
            memory = _memory()
            given.callback(os.close, memory)
            self._map = ours.enter_context(mmap.mmap(memory, RING_BYTES))
            view = ours.enter_context(memoryview(self._map))
            fields = {
                "slots": options.slots,
                "buffered": options.buffered,
                "opener": options.opener,
                "log": logs.form(),
            }
            self.process = options.fork_server.spawn(fields, theirs.fileno(), memory)
            ours.callback(self.process.abandon)
            self._sock.setblocking(False)
            self._reader = RingReader(view)
            self._notices, self._queue = NoticeDecoder(), CommandQueue()
            ours.pop_all()  # nothing failed: it is closed by :meth:`close`
        self._loop: asyncio.AbstractEventLoop | None = None
        self._callbacks: ConnectionCallbacks | None = None
        self._partial = b""
        self._writing = self._closed = False
        WorkerConnection.live += 1

    def attach(self, callbacks: ConnectionCallbacks) -> None:
        """Listen to the process from now on."""
        self._callbacks, self._loop = callbacks, asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._readable)
        self._flush()

    def send(self, command: Command, key: StreamKey = NO_STREAM, data: bytes | memoryview = b"") -> None:
        """Send a command; it waits here while the socket is full."""
        self._queue.put(command, key, data)
        if not self._writing:
            self._flush()

    def close(self) -> None:
        """Let go of socket and memory. A process that still runs takes that as its end; kill it where it may not."""
        if self._closed:
            return
        self._closed = True
        if self._loop is not None:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._loop = None
        self._sock.close()
        self._reader.close()
        self._map.close()
        WorkerConnection.live -= 1

    def _flush(self) -> None:
        if self._loop is None:
            return
        try:
            while self._partial or self._queue:
                self._partial = self._partial or self._queue.take()
                self._partial = self._partial[self._sock.send(self._partial) :]
        except BlockingIOError:
            if not self._writing:
                self._loop.add_writer(self._sock, self._flush)
                self._writing = True
            return
        except OSError:  # its end is told by reading
            self._partial = b""
            return
        if self._writing:
            self._loop.remove_writer(self._sock)
            self._writing = False

    def _readable(self) -> None:
        assert self._callbacks is not None
        try:
            data = self._sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            if data:
                self._receive(data)
                return
        except Exception:
            # It writes nonsense, so nothing of it can be trusted, nor can it be asked to stop.
            log.exception("process %d writes what cannot be read, and is killed", self.process.pid)
            self.process.kill()
        callbacks = self._callbacks
        self.close()
        callbacks.ended()

    def _receive(self, data: bytes) -> None:
        assert self._callbacks is not None
        for kind, value in self._notices.feed(data):
            if kind is Notice.HEAD:
                events = self._reader.read(value)
                self.send(Command.FREED, data=encode_number(self._reader.tail))
                self._callbacks.events(events)
            else:
                self._callbacks.notice(kind, value)


def _memory() -> int:
    """Descriptor of the ring's memory, without a name: it is gone with the last process that holds it."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("seqgen-worker")
    else:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    os.ftruncate(memory, RING_BYTES)
    return memory
