"""One run of a worker process, as the server holds it: the process, the socket to it and the ring of its sound."""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from serving import logs
from serving.bank import Event, Key
from serving.nursery import Nursery
from serving.ring import SIZE, Reader, RingError
from serving.wire import NOBODY, Command, Notice, Notices, Outbox, number


@dataclass(frozen=True, slots=True)
class Launch:
    """What a worker process is started with: streams at once, seconds that may wait for a reader, where it is forked,
    ``module:function`` that opens a voice by its recipe."""

    slots: int
    ring: float
    nursery: Nursery
    opener: str = "serving.reopen:reopen"


@dataclass
class Ears:
    """Who is told what comes from the process; called on the event loop. ``ended`` comes once and last."""

    notice: Callable[[Notice, int], None]
    events: Callable[[list[Event]], None]
    ended: Callable[[], None]


class Link:
    """One run of a worker process; made in any thread, used on the event loop.

    Args:
        launch: what it is to do.
    """

    live = 0
    """Processes whose socket and memory this process holds."""

    def __init__(self, launch: Launch) -> None:
        self._plug, theirs = socket.socketpair()
        memory = _memory()
        try:
            self._map = mmap.mmap(memory, SIZE)
            order = {"slots": launch.slots, "ring": launch.ring, "opener": launch.opener, "log": logs.form()}
            self.process = launch.nursery.spawn(order, theirs.fileno(), memory)
        except OSError:
            self._plug.close()
            raise
        finally:
            theirs.close()
            os.close(memory)
        self._plug.setblocking(False)
        self._reader = Reader(memoryview(self._map))
        self._notices, self._outbox = Notices(), Outbox()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ears: Ears | None = None
        self._partial = b""
        self._writing = False
        Link.live += 1

    def attach(self, ears: Ears) -> None:
        """Listen to the process from now on."""
        self._ears, self._loop = ears, asyncio.get_running_loop()
        self._loop.add_reader(self._plug, self._readable)
        self._flush()

    def send(self, command: Command, key: Key = NOBODY, data: bytes = b"") -> None:
        """A command; it waits here while the socket is full."""
        self._outbox.put(command, key, data)
        if not self._writing:
            self._flush()

    def close(self) -> None:
        """Let go of socket and memory. A process that still runs takes that as its end; kill it where it may not."""
        if self._loop is None:
            return
        self._loop.remove_reader(self._plug)
        self._loop.remove_writer(self._plug)
        self._loop = None
        self._plug.close()
        self._reader.close()
        self._map.close()
        Link.live -= 1

    def _flush(self) -> None:
        if self._loop is None:
            return
        try:
            while self._partial or self._outbox:
                self._partial = self._partial or self._outbox.take()
                self._partial = self._partial[self._plug.send(self._partial) :]
        except BlockingIOError:
            if not self._writing:
                self._loop.add_writer(self._plug, self._flush)
                self._writing = True
            return
        except OSError:  # its end is told by reading
            self._partial = b""
            return
        if self._writing:
            self._loop.remove_writer(self._plug)
            self._writing = False

    def _readable(self) -> None:
        assert self._ears is not None
        try:
            data = self._plug.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            if data:
                self._hear(data)
                return
        except (RingError, ValueError):
            # It writes nonsense, so nothing of it can be trusted, nor can it be asked to stop.
            self.process.kill()
        ears = self._ears
        self.close()
        ears.ended()

    def _hear(self, data: bytes) -> None:
        assert self._ears is not None
        for kind, value in self._notices.feed(data):
            if kind is Notice.HEAD:
                events = self._reader.read(value)
                self.send(Command.FREED, data=number(self._reader.tail))
                self._ears.events(events)
            else:
                self._ears.notice(kind, value)


def _memory() -> int:
    """Memory of the ring, without a name: it is gone with the last process that holds it."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("seqgen-worker")
    else:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    os.ftruncate(memory, SIZE)
    return memory
