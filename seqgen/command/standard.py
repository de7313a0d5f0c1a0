"""Standard streams of a command: there even where they were closed, and able to show any name."""

from __future__ import annotations

import codecs
import io
import os
import sys

_SHOWN = "seqgen-shown"
_CONTROLS = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))}


class NobodyReads(BrokenPipeError):
    """Error for a standard output whose reader went away."""


def prepare() -> None:
    """Open what was closed, and print what an encoding lacks as an escape, bytes of a file's name as they are.

    Closed standard output gives an error when it is written to, as of any other command; a file that is opened later
    can no longer take its place. Closed standard error swallows what is said.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            made = os.open(os.devnull, os.O_WRONLY if descriptor == 2 else os.O_RDONLY)  # the lowest that is free
            os.set_inheritable(made, True)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    if sys.stdout is None:
        sys.stdout = _writer(1)
    if sys.stderr is None:
        sys.stderr = _writer(2)
    codecs.register_error(_SHOWN, _shown)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_SHOWN)


def _writer(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)), encoding="utf-8")


def say(text: str) -> None:
    """One line on standard error, whatever names stand in it; nothing where nobody can read it."""
    try:
        sys.stderr.write(f"{text.translate(_CONTROLS)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        abandon(2)


def finish() -> None:
    """Write out what was printed, so that a failure is told by the exit status.

    Raises:
        NobodyReads: where its reader went away.
        OSError: where it cannot be written; nothing is tried again when Python ends.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        abandon(1)
        raise NobodyReads from None
    except OSError:
        abandon(1)
        raise


def abandon(descriptor: int) -> None:
    """Let nothing more go to a stream that failed, or Python would complain at its end."""
    stream = sys.stdout if descriptor == 1 else sys.stderr
    try:
        if stream.fileno() != descriptor:
            return
    except (OSError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def _shown(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    shown = b""
    for character in error.object[error.start : error.end]:
        escaped = "\udc80" <= character <= "\udcff"
        shown += bytes([ord(character) - 0xDC00]) if escaped else character.encode("ascii", "backslashreplace")
    return shown, error.end
