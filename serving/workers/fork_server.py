"""Fork server: a process that loads once what all workers need, and from which each worker process is forked.

They share that memory until they write to it, and start within milliseconds. The server itself cannot be forked, as it
has threads, whose locks a fork would copy as they are; the fork server has none.

The server sends what a worker is to do, with its file descriptors; it is told the worker's number and, at its end, its
exit status through a socket for each. Workers outlive their fork server, which is then started again for the next one;
it ends when its server does.
"""

from __future__ import annotations

import contextlib
import errno
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


class ForkedProcess:
    """Handle of a forked process.

    Attributes:
        pid: number of the process.
    """

    def __init__(self, pid: int, told: socket.socket) -> None:
        self.pid, self._told = pid, told
        self._status: int | None = None

    def kill(self) -> None:
        """End it at once, even where it is stopped."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def abandon(self) -> None:
        """End it, where nobody will ask for its exit status."""
        self.kill()
        self._told.close()

    def wait(self, seconds: float | None = None) -> int:
        """Its exit status, negative for a signal; ``-SIGKILL`` where the fork server is gone, which would have told it.

        Raises:
            TimeoutError: where it goes on for longer.
        """
        if self._status is None:
            self._told.settimeout(seconds)
            told = _receive_number(self._told)
            self._status = self._bury(seconds) if told is None else told
            self._told.close()
        return self._status

    def _bury(self, seconds: float | None) -> int:
        """Of an orphan, which tells nobody its status: make sure that it has ended."""
        self.kill()
        until = time.monotonic() + (seconds or _PATIENCE)
        while os.path.exists(f"/proc/{self.pid}") and time.monotonic() < until:
            time.sleep(0.01)
        return -signal.SIGKILL


class ForkServer:
    """Handle of the process that forks; it runs while somebody needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket

    def acquire(self) -> None:
        """Somebody will want workers."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """Somebody wants no more; the last to say so ends the process."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._close()

    def spawn(self, options: dict[str, Any], sock: int, memory: int) -> ForkedProcess:
        """New process in :func:`serving.workers.program.run_worker`; blocks until it is there, a second at first.

        Raises:
            OSError: where there can be none.
        """
        with self._lock:
            for _ in range(2):
                if self._process is None:
                    self._open()
                with contextlib.ExitStack() as stack:
                    ours, theirs = socket.socketpair()
                    stack.callback(ours.close)
                    stack.callback(theirs.close)
                    pid = self._ask(ours, theirs, options, (sock, memory))
                    if pid is not None and pid > 0:
                        stack.pop_all()
                        return ForkedProcess(pid, ours)
                if pid is not None:
                    raise OSError(-pid, os.strerror(-pid))
                self._close()
            raise OSError("the process that workers are forked from has ended twice")

    def _ask(
        self, ours: socket.socket, theirs: socket.socket, options: dict[str, Any], descriptors: tuple[int, int]
    ) -> int | None:
        """Number of a new process; negative: the system's reason why there is none; ``None``: nobody answers."""
        with theirs:
            ours.settimeout(_PATIENCE)
            try:
                socket.send_fds(self._sock, [json.dumps(options).encode()], [*descriptors, theirs.fileno()])
                theirs.close()  # the fork server has it, so its end is noticed
                return _receive_number(ours)
            except OSError:
                return None

    def _open(self) -> None:
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        command = [sys.executable, "-P", "-m", __name__, str(theirs.fileno())]
        with theirs:
            try:
                self._process = subprocess.Popen(
                    command,
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, "PYTHONPATH": path},
                    stdin=subprocess.DEVNULL,
                )
            except BaseException:
                ours.close()
                raise
        self._sock = ours

    def _close(self) -> None:
        if self._process is not None:
            self._sock.close()
            self._process.kill()  # it holds nothing that could be lost
            self._process.wait()
            self._process = None


def _receive_number(sock: socket.socket) -> int | None:
    """Number that the fork server tells; ``None`` where it ends before it has.

    Raises:
        TimeoutError: where it says nothing for longer than the socket's time limit.
    """
    try:
        data = sock.recv(_NUMBER.size, socket.MSG_WAITALL)
    except TimeoutError:
        raise
    except OSError:
        return None
    return int(_NUMBER.unpack(data)[0]) if len(data) == _NUMBER.size else None


def main(descriptor: int) -> None:
    """Fork a worker whenever the server asks for one, and tell of its end."""
    from serving.voices import reference  # noqa: F401  what all of them need
    from serving.workers import program  # noqa: F401  what all of them need

    # Who stops the server stops the whole group, by Ctrl-C or a service manager; the server still has streams to end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Python warns of threads; those there are belong to OpenBLAS, which ends them before a fork by itself.
    warnings.simplefilter("ignore", DeprecationWarning)
    wake_reader, wake_writer = socket.socketpair()
    wake_reader.setblocking(False)
    wake_writer.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_writer.fileno())
    gc.collect()
    gc.freeze()  # a collection would write to every page
    told: dict[int, socket.socket] = {}
    with socket.socket(fileno=descriptor) as sock:
        while True:
            ready, _, _ = select.select([sock, wake_reader], [], [])
            if wake_reader in ready:
                wake_reader.recv(64)
                _tell_ends(told)
            if sock not in ready:
                continue
            data, descriptors, _, _ = socket.recv_fds(sock, 1 << 16, 3)
            if not data:
                return
            if len(descriptors) != 3:  # it may open no more: the server is told by the end of its socket
                for given in descriptors:
                    os.close(given)
                continue
            told |= _fork(data, descriptors, (sock, wake_reader, wake_writer, *told.values()))


def _fork(options: bytes, descriptors: list[int], others: tuple[socket.socket, ...]) -> dict[int, socket.socket]:
    """Fork a worker, which closes what is not its own; gives its number with whom to tell of its end."""
    worker, memory, status = descriptors
    try:
        pid = os.fork()
    except OSError as error:
        pid = -(error.errno or errno.EAGAIN)
    if not pid:
        for other in others:
            other.close()
        os.close(status)
        _work(options, worker, memory)
    os.close(worker)
    os.close(memory)
    teller = socket.socket(fileno=status)
    with contextlib.suppress(OSError):  # a server that is gone
        teller.send(_NUMBER.pack(pid))
    if pid > 0:
        return {pid: teller}
    teller.close()
    return {}


def _work(options: bytes, sock: int, memory: int) -> None:
    """What the fork does; never returns."""
    status = 0
    try:
        from serving.workers.program import run_worker

        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        run_worker(json.loads(options), sock, memory)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stderr.flush()
        os._exit(status)  # what is registered for the end belongs to the fork server


def _tell_ends(told: dict[int, socket.socket]) -> None:
    """Tell the server of workers that have ended."""
    while told:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pid = 0
        if not pid:
            return
        if pid not in told:  # an orphan that was given to this process
            continue
        with told.pop(pid) as sock, contextlib.suppress(OSError):  # a server that does not want to know
            sock.send(_NUMBER.pack(os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
