"""First process of a container: it passes signals on to the server and reaps orphans, which nobody else would.

The kernel gives every process whose parent has ended to process 1, and expects it to ask for their exit statuses. A
server that is process 1 itself would collect them by and by, or take away those that its own parts wait for.
"""

from __future__ import annotations

import os
import signal

_KEPT = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}


def leave_first_process() -> None:
    """Go on in a child where this is process 1, which stays behind as its init and ends as the child does."""
    if os.getpid() != 1:
        return
    watched = signal.valid_signals() - _KEPT - _FAULTS
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched | {signal.SIGCHLD})
    child = os.fork()
    if child:
        os._exit(_attend(child, watched | {signal.SIGCHLD}))
    os.setpgid(0, 0)  # of Ctrl-C it hears once, by what is passed on
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _attend(child: int, watched: set[signal.Signals]) -> int:
    """Pass signals on and reap until the child has ended; gives the exit status, as a shell would tell it."""
    while True:
        number = signal.sigwait(watched)
        if number != signal.SIGCHLD:
            os.kill(child, number)
            continue
        if (status := _reap(child)) is not None:
            return 128 - status if status < 0 else status


def _reap(child: int) -> int | None:
    """Collect every process that has ended; gives the exit code of the child where it is among them."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 1  # somebody else has collected the child
        if not pid:
            return None
        if pid == child:
            return os.waitstatus_to_exitcode(status)
