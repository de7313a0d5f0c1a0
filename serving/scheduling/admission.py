"""Admission control: which worker takes another listener, by the measured cost of voices and the pace of calls."""

from __future__ import annotations

import math
from collections.abc import Callable

SHARE = 0.8
"""Part of what was measured that is given away; the rest is for the web server, for other work and for bad luck."""
RECENT = 5.0
"""Seconds for which a listener that ran dry keeps others from its worker, and for which the pace of calls counts."""
_MEMORY = 2.0  # seconds after which a call counts for less than half
_PRIOR = 0.1  # seconds of calls at the calibrated speed that are taken for granted: one late call is no news


class Pace:
    """Slowdown of a worker: the time of its recent calls over the time that measurement of their voices lets expect.

    Calibration leaves out what others take of the processor, as that changes; here it is seen, like a processor that
    has slowed down or a measurement that was wrong.

    Example:
        >>> pace = Pace()
        >>> pace.add(now=1.0, took=2.0, due=1.0)
        >>> round(pace.at(1.0), 2), pace.at(9.0)
        (1.91, 1.0)
    """

    def __init__(self) -> None:
        self._took = self._due = self._then = 0.0

    def add(self, *, now: float, took: float, due: float) -> None:
        """A call that took so many seconds, and should have taken ``due`` (0: nobody knows)."""
        if due:
            fade = math.exp((self._then - now) / _MEMORY)
            self._took, self._due, self._then = fade * self._took + took, fade * self._due + due, now

    def at(self, now: float) -> float:
        """1 where calls take what they should or less, or there were none of late; 2 where they take twice that."""
        return max(1.0, (self._took + _PRIOR) / (self._due + _PRIOR)) if now - self._then < RECENT else 1.0


class AdmissionControl:
    """Admission control over workers: who is admitted on which, and how much of their time is given away.

    Args:
        workers: their number. slots: streams a worker may hold. share: part of a worker's time given away.

    Example:
        >>> admission = AdmissionControl(workers=1, slots=16)
        >>> admission.admit(0.5), admission.admit(0.5)
        (0, None)
    """

    def __init__(self, *, workers: int, slots: int, share: float = SHARE) -> None:
        self.slots, self.share = slots, share
        self._load = [0.0] * workers
        self._held = [0] * workers
        self.refused = 0

    @property
    def busy(self) -> int:
        """Slots that are taken."""
        return sum(self._held)

    @property
    def load(self) -> list[float]:
        """Share of each worker's time that is given away."""
        return [round(load, 9) for load in self._load]

    def admit(self, cost: float, pace: Callable[[int], float | None] = lambda worker: 1.0) -> int | None:
        """Number of the least loaded worker that can take a stream of this cost (seconds per second), or ``None``.

        ``pace`` tells how long a worker takes over what costs say, see :class:`Pace`; ``None``: it is not up. An idle
        worker takes any stream: a voice too slow for real time is still a voice.
        """
        order = sorted(range(len(self._load)), key=lambda worker: (self._load[worker], self._held[worker]))
        for worker in order:
            slow = pace(worker) if self._held[worker] < self.slots else None
            if slow is None:
                continue
            if not cost or not self._held[worker] or (self._load[worker] + cost) * slow <= self.share + 1e-9:
                self._load[worker] += cost
                self._held[worker] += 1
                return worker
        self.refused += 1
        return None

    def free(self, cost: float, pace: Callable[[int], float | None] = lambda worker: 1.0) -> int:
        """Number of streams of this cost that :meth:`admit` would take now, one after the other."""
        count = 0
        for worker, (load, held) in enumerate(zip(self._load, self._held, strict=True)):
            slow, room = pace(worker), self.slots - held
            if slow is not None:
                fits = math.floor(((self.share + 1e-9) / slow - load) / cost) if cost else room
                count += min(room, max(fits, 0 if held else 1))
        return count

    def release(self, worker: int, cost: float) -> None:
        """Give back what :meth:`admit` gave."""
        self._held[worker] -= 1
        self._load[worker] = self._load[worker] - cost if self._held[worker] else 0.0
