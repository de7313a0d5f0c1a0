"""Decoding of whole bodies beside the turns of a worker: blocks are ready when the worker looks, or not yet."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import numpy.typing as npt

from serving.sound.body import Body

Block = npt.NDArray[Any]
READY = 1 << 16
"""Values that may wait decoded for a stream; then its decoding pauses."""
_PATIENCE = 10.0  # seconds for a decoder to notice that nobody wants it


class DecodedBody(ABC):
    """Body of one stream on its way from bytes to blocks."""

    rate: int | None = None
    """Hz of the audio, or ``None`` for frames; known once it is open."""

    @property
    @abstractmethod
    def open(self) -> bool:
        """Finding that the body is a recording or features; raises what was found against it."""

    @abstractmethod
    def take(self) -> Block | None:
        """Next block, ``None`` where none is ready; raises what was found against the body behind the blocks before."""

    @property
    @abstractmethod
    def over(self) -> bool:
        """End of the body: every block has been taken."""

    def close(self) -> None:
        """Nobody needs the rest."""


Decode = Callable[[Body], DecodedBody]
"""Begins to decode a body."""


class InlineBody(DecodedBody):
    """Body that is decoded when a block is asked for, by who asks."""

    def __init__(self, body: Body) -> None:
        body.vet()
        source = body.open()
        self.rate, self._body = source.rate, body
        self._blocks: Iterator[Block] | None = source.blocks

    @property
    def open(self) -> bool:
        return True

    def take(self) -> Block | None:
        block = next(self._blocks, None) if self._blocks is not None else None
        if block is None:
            self.close()
        return block

    @property
    def over(self) -> bool:
        return self._blocks is None

    def close(self) -> None:
        self._blocks = None
        self._body.close()


class Turnstile:
    """Lock that lets one thread work at a time, in the order of their coming; each passes it on after a slice.

    Example:
        >>> with Turnstile() as turnstile:
        ...     turnstile.pass_on()  # whoever waits goes first
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False

    def __enter__(self) -> Turnstile:
        with self._lock:
            if not self._taken:
                self._taken = True
                return self
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        gate.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False

    def pass_on(self) -> None:
        """Let those who wait work before going on."""
        if self._waiting:
            self.__exit__(None, None, None)
            self.__enter__()


class DecodingThreads:
    """Threads of one worker that decode the bodies of its streams, one each.

    One of them at a time walks through a container, which keeps the interpreter busy, and after a slice it is another's
    turn; decoders work without the interpreter. So whatever a body holds costs its own stream time, and not the others.

    Args:
        wake: called where a stream can go on; from any thread.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake, self._turnstile = wake, Turnstile()
        self._bodies: set[ThreadedBody] = set()

    def __call__(self, body: Body) -> DecodedBody:
        self._bodies = {other for other in self._bodies if other.running}
        decoded = ThreadedBody(body, self._turnstile, self._wake)
        self._bodies.add(decoded)
        return decoded

    def close(self) -> None:
        """End all of them, and wait for that."""
        for body in self._bodies:
            body.close()
        for body in self._bodies:
            body.join()


class ThreadedBody(DecodedBody):
    """Body that a thread of its own decodes, some blocks ahead."""

    def __init__(self, body: Body, turnstile: Turnstile, wake: Callable[[], None]) -> None:
        self._body, self._turnstile, self._wake = body, turnstile, wake
        self._blocks: deque[Block] = deque()
        self._held = 0  # values in them
        self._change = threading.Condition()
        self._open = self._ended = self._closed = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)
        self._thread.start()

    @property
    def open(self) -> bool:
        with self._change:
            if self._failure is not None and not self._open:
                raise self._failure
            return self._open

    def take(self) -> Block | None:
        with self._change:
            if not self._blocks:
                if self._failure is not None:
                    raise self._failure
                return None
            block = self._blocks.popleft()
            self._held -= block.size
            if self._held <= READY // 2:
                self._change.notify()
            return block

    @property
    def over(self) -> bool:
        with self._change:
            return self._ended and not self._blocks and self._failure is None

    @property
    def running(self) -> bool:
        """Life of the decoding thread: it works or waits."""
        return self._thread.is_alive()

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify()

    def join(self) -> None:
        """Wait for its thread to end."""
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        failure: Exception | None = None
        try:
            self._decode()
        except Exception as error:
            failure = error
        self._body.close()
        with self._change:
            self._ended, self._failure = True, failure
        self._wake()

    def _decode(self) -> None:
        with self._turnstile:
            self._body.vet(self._pause)
        source = self._body.open()
        with self._change:
            self.rate, self._open = source.rate, True
        self._wake()
        for block in source.blocks:
            if not self._put(block):
                return

    def _pause(self) -> bool:
        self._turnstile.pass_on()
        return not self._closed

    def _put(self, block: Block) -> bool:
        """Hand a block over, and wait where enough of them wait; tells whether to go on."""
        with self._change:
            self._blocks.append(block)
            self._held += block.size
            first, full = len(self._blocks) == 1, self._held >= READY
        if first:
            self._wake()
        if full:
            with self._change:
                self._change.wait_for(lambda: self._closed or self._held <= READY // 2)
        return not self._closed
