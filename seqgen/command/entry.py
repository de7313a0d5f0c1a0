"""Frame of every command line: signals, standard streams, errors in one line, the exit status."""

from __future__ import annotations

import argparse
import select
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from seqgen.command import standard
from seqgen.command.signals import Signals, Terminated, die_of

_BROKEN = select.POLLERR | select.POLLHUP
Run = Callable[[argparse.Namespace], int]


class Version(argparse.Action):
    """Option ``--version``: the name of the command and the installed version."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import importlib.metadata

        try:
            version = importlib.metadata.version("seqgen")
        except importlib.metadata.PackageNotFoundError:
            version = "of a source tree that is not installed"
        sys.stdout.write(f"{parser.prog} {version}\n")
        parser.exit()


def run(make_parser: Callable[[], argparse.ArgumentParser], command: Run, arguments: Sequence[str] | None) -> int:
    """Run a command line; returns its exit status.

    That is the command's own; 1 for an error that is told in one line; 0 where the reader of the output went away, who
    has seen enough; 130 after Ctrl-C. SIGTERM and SIGHUP end the process as if unhandled, once all is put away.

    Args:
        make_parser: imports all commands and makes their parser. command: runs what was parsed.
        arguments: words of the command line; ``None``: this process's own, whose signals and streams are then set up.
    """
    if arguments is not None:
        return _run(make_parser, command, arguments)
    with Signals() as signals:
        standard.prepare()
        status = _run(make_parser, command, None)
        return status if signals.waiting is None else _stopped(signals.waiting)


def _run(make_parser: Callable[[], argparse.ArgumentParser], command: Run, arguments: Sequence[str] | None) -> int:
    try:
        try:
            given = make_parser().parse_args(arguments)
            status = int(command(given))
        except SystemExit:  # help, the version, a wrong word
            standard.finish()
            raise
        standard.finish()
        return status
    except KeyboardInterrupt:
        return _stopped(signal.SIGINT)
    except Terminated as ended:
        return _stopped(ended.args[0])
    except Exception as error:
        return _told(error)


def _stopped(number: int) -> int:
    standard.say("interrupted" if number == signal.SIGINT else "terminated")
    return 128 + number if number == signal.SIGINT else die_of(number)


def _told(error: Exception) -> int:
    """Exit status of an error that is told in one line.

    Raises:
        Exception: any other one, which is a mistake of ours.
    """
    from seqgen.errors import SeqgenError

    if isinstance(error, SeqgenError):
        line = str(error)
    elif isinstance(error, standard.NobodyReads):
        return 0
    elif isinstance(error, BrokenPipeError) and _nobody_reads():
        standard.abandon(1)
        return 0
    elif isinstance(error, OSError):
        line = _of_system(error)
    elif isinstance(error, UnicodeError):
        line = f"a name or text cannot be written or read ({error}); rename it in plain letters, or set a UTF-8 locale"
    elif isinstance(error, MemoryError):
        line = "out of memory; take less at once, or a machine with more"
    else:
        raise error
    with suppress(OSError):  # one line is enough
        standard.finish()
    standard.say(f"error: {line}")
    return 1


def _of_system(error: OSError) -> str:
    from os import fsdecode

    name = error.filename
    where = fsdecode(name) if isinstance(name, (str, bytes)) else "standard output or another stream"
    return f"{where}: {error.strerror or error}; check the path and the disk"


def _nobody_reads() -> bool:
    """Test of an error for a standard output whose reader went away."""
    try:
        watch = select.poll()
        watch.register(sys.stdout.fileno(), select.POLLOUT)
    except (OSError, ValueError):
        return False
    return any(event & _BROKEN for _, event in watch.poll(0))
