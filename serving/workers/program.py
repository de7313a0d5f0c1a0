"""Program of a worker process: a batcher, fed through a socket; its sound goes back through shared memory.

Forked from :mod:`serving.workers.fork_server`. It ends when the server's end of the socket is closed, however
that came about, so no worker outlives its server.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import mmap
import queue
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from seqgen.errors import SeqgenError
from serving import logs
from serving.scheduling.batcher import Batcher
from serving.scheduling.events import FlowControl, StreamEvent, StreamKey
from serving.streams.capacity import Capacity
from serving.streams.contract import ModelFailure, ServedModel
from serving.streams.decoding import DecodingThreads
from serving.workers.ipc import Command, CommandDecoder, Frame, Notice, decode_number, decode_request, encode_notice
from serving.workers.ring import RING_BYTES, RingWriter, records
from serving.workers.worker import WorkerLost, turn

log = logging.getLogger("seqgen.serving")

_AT_ONCE = 1 << 18  # bytes of commands read before the next turn: a long recording must not hold up the others
_UNANSWERED = 64  # messages that the server has not answered; they and what goes with them always fit into the socket
_PATIENCE = 0.0005  # seconds for which a decoder may keep the interpreter's lock from the engine's thread
_PACE_INTERVAL = 0.1  # seconds after which the pace of calls is told again
VoiceOpener = Callable[[dict[str, Any]], ServedModel]
"""Opens the voice of a reference."""


class ServerGone(Exception):
    """Signal that the server wants nothing more, or is no more."""


class WorkerProgram:
    """Main loop of a worker process.

    Args:
        sock: to the server. memory: of the ring. batcher: makes one of the server's measures, given what is known of
            the voices' speed. opener: opens a voice by its reference.
    """

    def __init__(
        self,
        sock: socket.socket,
        memory: memoryview,
        batcher: Callable[[Callable[[ServedModel], Capacity]], Batcher],
        opener: VoiceOpener,
    ) -> None:
        self._sock, self._ring, self._opener = sock, RingWriter(memory), opener
        self._batcher = batcher(lambda model: self._capacities.get(model, Capacity()))
        self._decoder = CommandDecoder()
        self._events: deque[StreamEvent] = deque()  # no room for them in the ring
        self._told = self._unanswered = 0
        self._paced = 0.0
        self._voices: dict[int, ServedModel | Exception] = {}
        self._capacities: dict[ServedModel, Capacity] = {}
        self._forgotten: set[int] = set()
        self._flows: dict[StreamKey, FlowControl] = {}
        self._early: dict[StreamKey, list[Frame]] = {}  # for voices that are still being opened
        self._opened: queue.SimpleQueue[tuple[int, ServedModel | Exception, Capacity]] = queue.SimpleQueue()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._batcher.decode = DecodingThreads(self._wake)
        sock.setblocking(False)

    def run(self) -> None:
        """Until the server says stop or is gone."""
        self._notify(Notice.HELLO)
        try:
            while True:
                self._receive()
                busy = turn(self._batcher, self._events.extend)
                self._hand_over()
                if not busy:
                    select.select([self._sock, self._wake_reader], [], [], self._batcher.rest(time.monotonic()))
        except ServerGone:
            self._batcher.clear()
            self._events.extend(self._batcher.events())
            self._hand_over()

    def _receive(self) -> None:
        """Execute the commands that have come from the server."""
        for _ in range(_AT_ONCE >> 16):
            try:
                data = self._sock.recv(1 << 16)
            except BlockingIOError:
                break
            except ConnectionResetError:  # it ended without reading all that was said
                data = b""
            if not data:
                raise ServerGone
            for frame in self._decoder.feed(data):
                self._execute(frame)
        self._take_voices()

    def _execute(self, frame: Frame) -> None:
        command, key, data = frame
        if command is Command.FREED:
            self._ring.freed(decode_number(data))
            self._unanswered -= 1
        elif command is Command.STOP:
            raise ServerGone
        elif command is Command.PING:
            self._notify(Notice.ALIVE)
        elif command is Command.VOICE:
            self._begin_loading(json.loads(data))
        elif command is Command.FORGET:
            self._forgotten.add(decode_number(data))
            self._forget()
        elif command is Command.OPEN and json.loads(data)["voice"] not in self._voices:
            self._early[key] = [frame]
        elif key in self._early:
            self._defer(frame)
        else:
            self._dispatch(frame)

    def _forget(self) -> None:
        """Drop the voices that no listener can ask for any more, once they are open."""
        for number in self._forgotten & self._voices.keys():
            self._forgotten.remove(number)
            voice = self._voices.pop(number)
            if isinstance(voice, ServedModel):
                del self._capacities[voice]

    def _dispatch(self, frame: Frame) -> None:
        """Execute a command that concerns one stream, which alone ends where that goes wrong."""
        try:
            self._command(*frame)
        except Exception as error:
            log.exception("a command of the server could not be followed")
            self._batcher.reject(frame[1], ModelFailure(f"a command could not be followed: {error!r}"))

    def _command(self, command: Command, key: StreamKey, data: bytes) -> None:
        if command is Command.OPEN:
            self._open(key, json.loads(data))
        elif command is Command.PUSH:
            self._batcher.push(key, data)
        elif command is Command.FINISH:
            self._batcher.finish(key)
        elif command is Command.CANCEL:
            self._batcher.cancel(key)
        elif command is Command.CONSUMED and key in self._flows:
            self._flows[key].consumed = decode_number(data)

    def _open(self, key: StreamKey, fields: dict[str, Any]) -> None:
        voice = self._voices[fields["voice"]]
        if isinstance(voice, Exception):
            self._batcher.reject(key, voice)
            return
        self._flows[key] = FlowControl()
        self._batcher.open(key, voice, decode_request(fields["request"]), fields["began"], self._flows[key])

    def _defer(self, frame: Frame) -> None:
        """Keep what a stream says until its voice is open."""
        if frame[0] is Command.CANCEL:
            del self._early[frame[1]]
            self._events.append(StreamEvent(frame[1], over=True))
        else:
            self._early[frame[1]].append(frame)

    def _begin_loading(self, fields: dict[str, Any]) -> None:
        """Open a voice in a thread of its own: listeners of others go on listening."""
        try:
            threading.Thread(target=self._load, args=(fields,), daemon=True).start()
        except RuntimeError as error:  # the system has no thread to give
            self._put(fields, WorkerLost(f"the voice does not open again: {error}"))

    def _load(self, fields: dict[str, Any]) -> None:
        try:
            voice: ServedModel | Exception = self._opener(fields["reference"])
        except (SeqgenError, ModelFailure) as error:
            voice = WorkerLost(f"the voice does not open again: {error}")
        except BaseException as error:
            voice = WorkerLost(f"the voice does not open again: {error!r}")
        self._put(fields, voice)

    def _put(self, fields: dict[str, Any], voice: ServedModel | Exception) -> None:
        self._opened.put((fields["number"], voice, Capacity(**fields["capacity"])))
        self._wake()

    def _wake(self) -> None:
        """Let the main loop look again, from any thread."""
        with contextlib.suppress(BlockingIOError):  # it has been told so often that it will
            self._wake_writer.send(b"!")

    def _take_voices(self) -> None:
        """Take the voices that are open now, and go on with the streams that waited for them."""
        with contextlib.suppress(BlockingIOError):
            self._wake_reader.recv(1 << 12)
        while not self._opened.empty():
            number, voice, capacity = self._opened.get()
            self._voices[number] = voice
            if isinstance(voice, ServedModel):
                self._capacities[voice] = capacity
                self._notify(Notice.LOADED, number)
            else:
                log.error("%s", voice)
                self._notify(Notice.MISSING, number)
            for key, frames in list(self._early.items()):
                if json.loads(frames[0][2])["voice"] == number:
                    del self._early[key]
                    for frame in frames:
                        self._dispatch(frame)
        self._forget()

    def _hand_over(self) -> None:
        """Events into the ring as far as there is room, and one message to tell of them."""
        for event in list(self._events):
            whole = list(records(event))
            while whole and self._ring.put(whole[0]):
                del whole[0]
            self._events.popleft()
            if whole:
                self._events.extendleft(reversed(whole))
                break
            if event.over:
                self._flows.pop(event.key, None)
        if self._ring.head > self._told and self._unanswered < _UNANSWERED:
            self._told = self._ring.head
            self._unanswered += 1
            now = time.monotonic()
            if now - self._paced > _PACE_INTERVAL:
                self._paced = now
                self._notify(Notice.PACE, round(1000 * self._batcher.pace.at(now)))
            self._notify(Notice.HEAD, self._told)

    def _notify(self, kind: Notice, value: int = 0) -> None:
        try:
            self._sock.send(encode_notice(kind, value))
        except OSError:  # the server is gone, which the next look at the socket tells
            return


def run_worker(options: dict[str, Any], sock: int, memory: int) -> None:
    """Run the main loop of a worker process until its server has no more use for it.

    Args:
        options: ``slots``, ``buffered``, ``opener``, ``log``, see :class:`serving.workers.connection.WorkerOptions`.
        sock: descriptor of the socket to the server. memory: that of the ring.
    """
    logs.set_up(options["log"])
    sys.setswitchinterval(_PATIENCE)
    module, name = options["opener"].split(":")
    opener = getattr(importlib.import_module(module), name)
    with (
        socket.socket(fileno=sock) as server,
        mmap.mmap(memory, RING_BYTES) as mapped,
        memoryview(mapped) as view,
    ):
        batcher = partial(Batcher, slots=options["slots"], buffered=options["buffered"])
        WorkerProgram(server, view, lambda speed: batcher(capacity=speed), opener).run()
