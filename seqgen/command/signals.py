"""Ctrl-C, SIGTERM and a closed terminal (SIGHUP) of a command: never a traceback, never anything left behind.

An exception that a signal raises while a module is imported may be swallowed or printed by whatever imports it (locks
of imports, initialisation of C extensions). As long as there is nothing to put away the process ends at once; after
that the exception waits for the end of the import, unless the signal comes a second time.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

_RETRY = 0.02  # seconds
_TRACES = frozenset({"seqgen.files.made", "tempfile.mkdtemp", "tempfile.mkstemp", "subprocess.Popen", "os.fork"})
_WORDS = {signal.SIGINT: b"interrupted\n", signal.SIGTERM: b"terminated\n", signal.SIGHUP: b"terminated\n"}


class Terminated(BaseException):
    """Exception that SIGTERM or SIGHUP, its argument, raises in a command, as Ctrl-C raises KeyboardInterrupt."""


class Signals:
    """Handlers of SIGINT, SIGTERM and SIGHUP while entered; only in the main thread, where Python delivers signals.

    Attributes:
        waiting: signal that came during an import and has not been raised yet.
    """

    def __init__(self) -> None:
        self.waiting: int | None = None
        self._open = False  # whether something was made that an exception would put away
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in _WORDS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, a shell's background job
                    self._before[number] = signal.signal(number, self._handle)
            sys.addaudithook(self._audit)
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._again)
        return self

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            # What Python still does at its end is no place for an exception
            signal.signal(number, signal.SIG_DFL if handler is signal.default_int_handler else handler)

    def _audit(self, event: str, _: object) -> None:
        if event in _TRACES:
            self._open = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a fork, which has nobody to tell
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif _importing(frame):
            if not self._open or self.waiting is not None:
                _leave(number)
            self.waiting = number
            signal.setitimer(signal.ITIMER_REAL, _RETRY, _RETRY)
        else:
            _raise(number)

    def _again(self, number: int, frame: FrameType | None) -> None:
        if self.waiting is not None and not _importing(frame):
            signal.setitimer(signal.ITIMER_REAL, 0)
            waiting, self.waiting = self.waiting, None
            _raise(waiting)


def die_of(number: int) -> int:
    """End this process by a signal, as if it had no handler; returns the status for the first process of a container,
    which survives."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    return 128 + number


def _raise(number: int) -> None:
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)


def _leave(number: int) -> None:
    try:
        os.write(2, _WORDS[signal.Signals(number)])
    finally:
        os._exit(128 + number)


def _importing(frame: FrameType | None) -> bool:
    """Test of a frame for an import that is under way below it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return sys.is_finalizing()
