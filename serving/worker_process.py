"""The program of a worker process: the slot bank of a worker, fed through a socket, heard through shared memory.

Forked from :mod:`serving.nursery`. It ends when the server's end of the socket is closed, however
that came about, so no worker outlives its server.
"""

from __future__ import annotations

import importlib
import json
import mmap
import queue
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from seqgen.errors import SeqgenError
from serving import logs
from serving.bank import Bank, Event, Key, Outlet
from serving.capacity import Capacity
from serving.ring import SIZE, Writer, pieces
from serving.vocoder import Vocoder, VoiceFailure
from serving.wire import Command, Frame, Frames, Notice, notice, read_number, read_order
from serving.work import Work
from serving.worker import turn

_AT_ONCE = 1 << 18  # bytes of commands read before the next turn: a long recording must not hold up the others
_UNHEARD = 64  # messages that the server has not answered; they and what goes with them always fit into the socket
_NEWS = 0.1  # seconds after which the pace of calls is told again
Opener = Callable[[dict[str, Any]], Vocoder]


class Gone(Exception):
    """The server wants nothing more, or is no more."""


class Child:
    """One worker process.

    Args:
        plug: to the server. memory: of the ring. bank: a bank of the server's measures, given what is known of the
            voices' speed. opener: opens a voice by its recipe.
    """

    def __init__(
        self,
        plug: socket.socket,
        memory: memoryview,
        bank: Callable[[Callable[[Vocoder], Capacity]], Bank],
        opener: Opener,
    ) -> None:
        self._plug, self._ring, self._opener = plug, Writer(memory), opener
        self._bank = bank(lambda vocoder: self._capacities.get(vocoder, Capacity()))
        self._frames = Frames()
        self._events: deque[Event] = deque()  # no room for them in the ring
        self._told = self._unheard = 0
        self._paced = 0.0
        self._voices: dict[int, Vocoder | Exception] = {}
        self._capacities: dict[Vocoder, Capacity] = {}
        self._forgotten: set[int] = set()
        self._outlets: dict[Key, Outlet] = {}
        self._early: dict[Key, list[Frame]] = {}  # for voices that are still being opened
        self._opened: queue.SimpleQueue[tuple[int, Vocoder | Exception, Capacity]] = queue.SimpleQueue()
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        plug.setblocking(False)

    def run(self) -> None:
        """Until the server says stop or is gone."""
        self._say(Notice.HELLO)
        try:
            while True:
                self._listen()
                busy = turn(self._bank, self._events.extend)
                self._hand_over()
                if not busy:
                    select.select([self._plug, self._bell], [], [], self._bank.rest(time.monotonic()))
        except Gone:
            self._bank.clear()
            self._events.extend(self._bank.events())
            self._hand_over()

    def _listen(self) -> None:
        """Do what the server says."""
        for _ in range(_AT_ONCE >> 16):
            try:
                data = self._plug.recv(1 << 16)
            except BlockingIOError:
                break
            except ConnectionResetError:  # it ended without reading all that was said
                data = b""
            if not data:
                raise Gone
            for frame in self._frames.feed(data):
                self._obey(frame)
        self._welcome()

    def _obey(self, frame: Frame) -> None:
        command, key, data = frame
        if command is Command.FREED:
            self._ring.freed(read_number(data))
            self._unheard -= 1
        elif command is Command.STOP:
            raise Gone
        elif command is Command.PING:
            self._say(Notice.ALIVE)
        elif command is Command.VOICE:
            threading.Thread(target=self._load, args=(json.loads(data),), daemon=True).start()
        elif command is Command.FORGET:
            self._forgotten.add(read_number(data))
            self._forget()
        elif command is Command.OPEN and json.loads(data)["voice"] not in self._voices:
            self._early[key] = [frame]
        elif key in self._early:
            self._wait(frame)
        else:
            self._step(frame)

    def _forget(self) -> None:
        """Drop the voices that no listener can ask for any more, once they are open."""
        for number in self._forgotten & self._voices.keys():
            self._forgotten.remove(number)
            voice = self._voices.pop(number)
            if isinstance(voice, Vocoder):
                del self._capacities[voice]

    def _step(self, frame: Frame) -> None:
        """What concerns one stream."""
        command, key, data = frame
        if command is Command.OPEN:
            self._open(key, json.loads(data))
        elif command is Command.PUSH:
            self._bank.push(key, data)
        elif command is Command.FINISH:
            self._bank.finish(key)
        elif command is Command.CANCEL:
            self._bank.cancel(key)
        elif command is Command.TOOK and key in self._outlets:
            self._outlets[key].taken = read_number(data)

    def _open(self, key: Key, fields: dict[str, Any]) -> None:
        voice = self._voices[fields["voice"]]
        try:
            if isinstance(voice, Exception):
                raise voice
            work = Work(voice, read_order(fields["order"]))
        except (SeqgenError, VoiceFailure) as error:
            self._events.append(Event(key, over=True, failure=error))
            return
        self._outlets[key] = Outlet()
        self._bank.open(key, work, fields["began"], self._outlets[key])

    def _wait(self, frame: Frame) -> None:
        """Keep what a stream says until its voice is open."""
        if frame[0] is Command.CANCEL:
            del self._early[frame[1]]
            self._events.append(Event(frame[1], over=True))
        else:
            self._early[frame[1]].append(frame)

    def _load(self, fields: dict[str, Any]) -> None:
        """Open a voice, in a thread of its own: listeners of others go on listening."""
        try:
            voice: Vocoder | Exception = self._opener(fields["recipe"])
        except (SeqgenError, VoiceFailure) as error:
            voice = VoiceFailure(f"the voice does not open again: {error}")
        except Exception as error:
            voice = VoiceFailure(f"the voice does not open again: {error!r}")
        self._opened.put((fields["number"], voice, Capacity(**fields["capacity"])))
        self._ringer.send(b"!")

    def _welcome(self) -> None:
        """Take the voices that are open now, and go on with the streams that waited for them."""
        try:
            rung = len(self._bell.recv(64))
        except BlockingIOError:
            return
        for _ in range(rung):
            number, voice, capacity = self._opened.get()
            self._voices[number] = voice
            if isinstance(voice, Vocoder):
                self._capacities[voice] = capacity
            self._say(Notice.LOADED, number)
            for key, frames in list(self._early.items()):
                if json.loads(frames[0][2])["voice"] == number:
                    del self._early[key]
                    for frame in frames:
                        self._step(frame)
        self._forget()

    def _hand_over(self) -> None:
        """Events into the ring as far as there is room, and one message to tell of them."""
        for event in list(self._events):
            whole = list(pieces(event))
            while whole and self._ring.put(whole[0]):
                del whole[0]
            self._events.popleft()
            if whole:
                self._events.extendleft(reversed(whole))
                break
            if event.over:
                self._outlets.pop(event.key, None)
        if self._ring.head > self._told and self._unheard < _UNHEARD:
            self._told = self._ring.head
            self._unheard += 1
            now = time.monotonic()
            if now - self._paced > _NEWS:
                self._paced = now
                self._say(Notice.PACE, round(1000 * self._bank.pace.at(now)))
            self._say(Notice.HEAD, self._told)

    def _say(self, kind: Notice, value: int = 0) -> None:
        try:
            self._plug.send(notice(kind, value))
        except OSError:  # the server is gone, which the next look at the socket tells
            return


def serve(order: dict[str, Any], plug: int, memory: int) -> None:
    """Be a worker.

    Args:
        order: ``slots``, ``ring``, ``opener``, ``log``, see :class:`serving.link.Launch`.
        plug: descriptor of the socket to the server. memory: that of the ring.
    """
    logs.set_up(order["log"])
    module, name = order["opener"].split(":")
    opener = getattr(importlib.import_module(module), name)
    with (
        socket.socket(fileno=plug) as server,
        mmap.mmap(memory, SIZE) as mapped,
        memoryview(mapped) as view,
    ):
        bank = partial(Bank, slots=order["slots"], ring=order["ring"])
        Child(server, view, lambda speed: bank(capacity=speed), opener).run()
