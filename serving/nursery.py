"""Where worker processes come from: one process loads once what all of them need, and each is forked from it.

They share that memory until they write to it, and start within milliseconds. The server itself cannot be forked, as it
has threads, whose locks a fork would copy as they are; the nursery has none.

The server sends what a worker is to do, with its file descriptors; it is told the worker's number and, at its end, its
exit status through a socket for each. Workers outlive their nursery, which is then started again for the next one; it
ends when its server does.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import warnings
from typing import Any

_NUMBER = struct.Struct("<i")
_PATIENCE = 60.0  # seconds for it to load everything


class Process:
    """A forked worker, as its server holds it.

    Attributes:
        pid: its number.
    """

    def __init__(self, pid: int, told: socket.socket) -> None:
        self.pid, self._told = pid, told
        self._status: int | None = None

    def kill(self) -> None:
        """End it at once, even where it is stopped."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float | None = None) -> int:
        """Its exit status, negative for a signal; ``-SIGKILL`` where the nursery is gone, which would have told it.

        Raises:
            TimeoutError: where it goes on for longer.
        """
        if self._status is None:
            self._told.settimeout(seconds)
            data = self._told.recv(_NUMBER.size)
            self._status = _NUMBER.unpack(data)[0] if data else self._bury(seconds)
            self._told.close()
        return self._status

    def _bury(self, seconds: float | None) -> int:
        """Of an orphan, which tells nobody its status: make sure that it has ended."""
        self.kill()
        until = time.monotonic() + (seconds or _PATIENCE)
        while os.path.exists(f"/proc/{self.pid}") and time.monotonic() < until:
            time.sleep(0.01)
        return -signal.SIGKILL


class Nursery:
    """The process that forks; it runs while somebody has joined."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._joined = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._plug: socket.socket

    def join(self) -> None:
        """Somebody will want workers."""
        with self._lock:
            self._joined += 1

    def leave(self) -> None:
        """And wants no more; the last to leave ends the process."""
        with self._lock:
            self._joined -= 1
            if not self._joined:
                self._close()

    def spawn(self, order: dict[str, Any], plug: int, memory: int) -> Process:
        """A worker that does :func:`serving.worker_process.serve`; blocks until it is there, a second at first.

        Raises:
            OSError: where there can be none.
        """
        with self._lock:
            for _ in range(2):
                if self._process is None:
                    self._open()
                ours, theirs = socket.socketpair()
                with theirs:
                    ours.settimeout(_PATIENCE)
                    try:
                        socket.send_fds(self._plug, [json.dumps(order).encode()], [plug, memory, theirs.fileno()])
                        theirs.close()  # the nursery has it, so its end is noticed
                        if data := ours.recv(_NUMBER.size):
                            return Process(_NUMBER.unpack(data)[0], ours)
                    except OSError:
                        pass  # told below, after another attempt
                ours.close()
                self._close()
            raise OSError("the process that workers are forked from has ended twice")

    def _open(self) -> None:
        self._plug, theirs = socket.socketpair()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        command = [sys.executable, "-P", "-m", __name__, str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL
            )

    def _close(self) -> None:
        if self._process is not None:
            self._plug.close()
            self._process.kill()  # it holds nothing that could be lost
            self._process.wait()
            self._process = None


def main(descriptor: int) -> None:
    """Fork a worker whenever the server asks for one, and tell of its end."""
    from serving import reopen, worker_process  # noqa: F401  what all of them need

    # Who stops the server stops the whole group, by Ctrl-C or a service manager; the server still has streams to end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Python warns of threads; those there are belong to OpenBLAS, which ends them before a fork by itself.
    warnings.simplefilter("ignore", DeprecationWarning)
    bell, ringer = socket.socketpair()
    bell.setblocking(False)
    ringer.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ringer.fileno())
    gc.collect()
    gc.freeze()  # a collection would write to every page
    told: dict[int, socket.socket] = {}
    with socket.socket(fileno=descriptor) as plug:
        while True:
            ready, _, _ = select.select([plug, bell], [], [])
            if bell in ready:
                bell.recv(64)
                _tell_ends(told)
            if plug not in ready:
                continue
            data, descriptors, _, _ = socket.recv_fds(plug, 1 << 16, 3)
            if not data:
                return
            worker, memory, status = descriptors
            pid = os.fork()
            if not pid:
                for other in (plug, bell, ringer, *told.values()):
                    other.close()
                os.close(status)
                _work(json.loads(data), worker, memory)
            os.close(worker)
            os.close(memory)
            told[pid] = socket.socket(fileno=status)
            told[pid].send(_NUMBER.pack(pid))


def _work(order: dict[str, Any], plug: int, memory: int) -> None:
    """What the fork does; never returns."""
    from serving.worker_process import serve

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = 0
    try:
        serve(order, plug, memory)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stderr.flush()
        os._exit(status)  # what is registered for the end belongs to the nursery


def _tell_ends(told: dict[int, socket.socket]) -> None:
    """Tell the server of workers that have ended."""
    while told:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with told.pop(pid) as plug, contextlib.suppress(OSError):  # a server that does not want to know
            plug.send(_NUMBER.pack(os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
