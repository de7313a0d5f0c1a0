"""The exception that a user is meant to read."""

from __future__ import annotations


class SeqgenError(Exception):
    """A problem the user can mend: what was got, what was expected, and the remedy, in one line.

    The command line prints it as ``error: <message>`` and exits with status 1; the server turns it into a
    4xx answer. Programming mistakes of our own stay ordinary Python exceptions.

    Example:
        >>> raise SeqgenError("conf/base.yaml:7: unknown key 'hoop'", remedy="did you mean 'hop'?")
        Traceback (most recent call last):
        seqgen.errors.SeqgenError: conf/base.yaml:7: unknown key 'hoop'; did you mean 'hop'?
    """

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}; {remedy}" if remedy else problem)
