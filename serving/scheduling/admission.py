"""Admission control: which worker takes another listener, by what streams cost in all, and how workers keep up."""

from __future__ import annotations

import math
from collections.abc import Callable

from serving.streams.capacity import Capacity
from serving.streams.contract import ServedModel, StreamRequest

SHARE = 0.8
"""Part of what was measured that is given away; the rest is for the web server, for other work and for bad luck."""
RECENT = 5.0
"""Seconds for which the pace of calls counts."""
_MEMORY = 2.0  # seconds after which a call counts for less than half
_FORGIVEN = 3.0  # seconds after which a missed deadline counts for less than half
_GRANTED = 20  # deadlines that are taken to be met: one missed in a small company is no news either
_WEIGHT = 4  # a quarter of the deadlines missed: nobody is admitted
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


class Lateness:
    """Lateness of a worker: the share of its listeners' deadlines that it missed of late, which fades away.

    A deadline is a chunk of sound: it is missed where its listener had run dry by the server's fault. What is given
    away shrinks in proportion, to nothing where a quarter of them is missed.

    Example:
        >>> late = Lateness()
        >>> for _ in range(80): late.add(now=1.0, missed=False)
        >>> late.add(now=1.0, missed=True)
        >>> round(late.slowdown(1.0), 2), round(late.slowdown(9.0), 2)
        (1.04, 1.01)
    """

    def __init__(self) -> None:
        self._missed = self._met = self._then = 0.0

    def add(self, *, now: float, missed: bool) -> None:
        """A deadline has passed."""
        fade = math.exp((self._then - now) / _FORGIVEN)
        self._missed, self._met, self._then = fade * self._missed + missed, fade * self._met + (not missed), now

    def slowdown(self, now: float) -> float:
        """1 where none was missed; 2 where half of what is given away is too much; infinite where all of it is."""
        fade = math.exp((self._then - now) / _FORGIVEN)
        share = fade * self._missed / (fade * (self._missed + self._met) + _GRANTED)
        return 1 / (1 - _WEIGHT * share) if _WEIGHT * share < 1 else math.inf


def cost(capacity: Capacity, model: ServedModel, request: StreamRequest | None) -> float:
    """Seconds of computing per second of output that a stream costs in all: its model, its encoder, what is taken in or
    read.

    Prompts, and plain samples at the voice's own rate, are in the model's cost already, see ``OVERHEAD``. ``None`` for
    the request: the model alone, where nobody knows yet what will be asked for.
    """
    if request is None or not capacity.shared:
        return capacity.shared
    reading = capacity.text if request.reads_aloud else 0.0
    return capacity.shared + reading + request.surcharge(model, capacity.sound)


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

    def exchange(
        self, worker: int, old: float, new: float, pace: Callable[[int], float | None] = lambda worker: 1.0
    ) -> bool:
        """Let a stream that was admitted cost otherwise than was thought; ``False`` where that is too much now."""
        slow = pace(worker)
        others = self._load[worker] - old
        if new > old and self._held[worker] > 1 and (slow is None or (others + new) * slow > self.share + 1e-9):
            self.refused += 1
            return False
        self._load[worker] = others + new
        return True

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
