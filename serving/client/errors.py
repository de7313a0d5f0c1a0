"""Errors that a server answers instead of sound."""

from __future__ import annotations


class ServerError(Exception):
    """Error that the server answered instead of sound.

    Attributes:
        status: of HTTP, or 0 within a stream. code: the server's word for it. retry_after: seconds, where it says so.
    """

    def __init__(
        self, message: str, *, status: int = 0, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after
