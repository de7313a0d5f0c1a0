"""Backoff of clients: how long to wait before a server that is restarted or full is asked again."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable

from serving.client.errors import ServerError

PATIENCE = 60.0
"""Seconds that a client waits for a server to come back, as long as nothing comes of it."""
FIRST, LONGEST = 0.1, 5.0
"""Bounds in seconds of the wait, which doubles with every attempt; some of it is left to chance, so that the clients of
a server that was restarted do not come back all at once."""
_AWAY = frozenset({502, 503, 504})
_BUSY_CODES = frozenset({"worker_lost", "overloaded"})


def temporary(error: Exception) -> bool:
    """Test for an error after which the same request may succeed later: the network, a restart or a full server."""
    if isinstance(error, ServerError):
        return error.retry_after is not None or error.status in _AWAY or error.code in _BUSY_CODES
    return not isinstance(error, ssl.SSLCertVerificationError)


class Backoff:
    """Backoff of one stream or request.

    A break costs one of ``resumes``, however many attempts it takes to go on: those end after ``patience`` seconds. The
    first attempt comes at once, later ones after waits that double; a server's ``Retry-After`` is heeded.

    Args:
        resumes: breaks that are gone on after. patience: seconds without progress after which a break is final.
        clock: seconds. chance: from 0 to 1.

    Example:
        >>> backoff = Backoff(1, 60.0, clock=lambda: 0.0, chance=lambda: 1.0)
        >>> [backoff.delay(ConnectionRefusedError()) for _ in range(4)]
        [0.0, 0.1, 0.2, 0.4]
    """

    def __init__(
        self,
        resumes: int,
        patience: float = PATIENCE,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._left, self._patience, self._clock, self._chance = resumes, patience, clock, chance
        self._broken: float | None = None  # when; None: all is well
        self._attempts = 0

    @property
    def resumable(self) -> bool:
        """Prospect of another attempt, for which what is sent has to be kept."""
        return bool(self._left) or self._broken is not None

    def progress(self) -> None:
        """Something new has come: the break, if there was one, is over."""
        self._broken, self._attempts = None, 0

    def delay(self, error: Exception) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            Exception: ``error``, where no attempt would help, or there were enough.
        """
        if not temporary(error) or not self.resumable:
            raise error
        now = self._clock()
        if self._broken is None:
            self._left -= 1
            self._broken = now
        wait = min(FIRST * 2.0 ** (self._attempts - 1), LONGEST) if self._attempts else 0.0
        wait = max(wait * (1 + self._chance()) / 2, getattr(error, "retry_after", None) or 0.0)
        if now + wait - self._broken > self._patience:
            raise error
        self._attempts = min(self._attempts + 1, 64)
        return wait
