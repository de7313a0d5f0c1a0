"""Interruption by Ctrl-C, SIGTERM or a closed terminal (SIGHUP) as a question that the loop asks between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """Signal handler: while entered, the first of these signals only sets ``requested``; a second one acts as usual.

    Processes forked inside (data-loading workers) inherit the handler, so a Ctrl-C at a terminal, which reaches them
    too, does not take the data away from the step that is being finished. Outside the main thread Python delivers no
    signals, and entering does nothing. What is ignored (nohup, a shell's background job) stays so.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._handle) for number in heeded}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
