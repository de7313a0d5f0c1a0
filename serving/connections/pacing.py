"""Parsing of what connections send in small pieces, so that no client's bytes take a turn that others feel."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

_TURN = 0.002  # seconds after which others have theirs
_SMALLEST, _LARGEST = 1 << 11, 1 << 14  # bytes parsed at once
_QUICK = 0.0005  # seconds: a piece parsed in less is followed by a larger one


class PacedInput(ABC):
    """Input of one connection that is parsed piece by piece, with others' turns between.

    A read may bring a quarter of a megabyte, and that may be forty thousand chunks of a byte, or as many frames.
    Beginnings of what is slow to parse are met by small pieces, bulk by large ones.
    """

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self._unread = bytearray()
        self._size = _SMALLEST
        self._turn: asyncio.Handle | None = None

    @abstractmethod
    def parse(self, data: bytes) -> None:
        """Parse a piece."""

    @abstractmethod
    def may_parse(self) -> bool:
        """Room for what more input would bring."""

    def take_input(self, data: bytes) -> None:
        """Input has come; what is not parsed now is parsed later, and nothing more is read before."""
        self._unread += data
        if self._turn is None:
            self._work()

    def go_on(self) -> None:
        """There is room again."""
        if self._turn is None:
            self._turn = self.loop.call_soon(self._work)

    def forget_input(self) -> None:
        """Nothing more is to be parsed."""
        self._unread.clear()
        if self._turn is not None:
            self._turn.cancel()

    def _work(self) -> None:
        self._turn = None
        begun = now = self.loop.time()
        while self._unread and self.may_parse() and now - begun < _TURN:
            piece = bytes(self._unread[: self._size])
            del self._unread[: self._size]
            self.parse(piece)
            before, now = now, self.loop.time()
            self._size = min(2 * self._size, _LARGEST) if now - before < _QUICK else _SMALLEST
        if self.transport.is_closing():
            self.forget_input()
        elif not self.may_parse():
            pass  # told when to go on, and what was read is kept
        elif self._unread:
            self._turn = self.loop.call_soon(self._work)
        else:
            self.transport.resume_reading()
            return
        self.transport.pause_reading()
