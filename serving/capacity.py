"""How many listeners a worker can carry: measured once per voice, kept in a ledger of who is admitted where, and
compared with what its calls take while it works."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serving.vocoder import Settings, Stream, Vocoder, VoiceFailure, advance

SHARE = 0.8
"""Part of what was measured that is given away; the rest is for the web server, for other work and for bad luck."""
SERVING = 1.5
"""What a listener costs in all over what the engine's full calls cost for it: calls that are not full, encoding,
sending, the interpreter. Measured with a sparse WaveRNN-896: 5.0 % of a core in the engine, 7.4 % in all processes."""
RECENT = 5.0
"""Seconds for which a listener that ran dry keeps others from its worker, and for which the pace of calls counts."""
_MEMORY = 2.0  # seconds after which a call counts for less than half
_PRIOR = 0.1  # seconds of calls at the calibrated speed that are taken for granted: one late call is no news
_FRAMES = 2
_CALLS = 5


@dataclass(frozen=True, slots=True)
class Capacity:
    """Speed of one voice on one worker.

    Attributes:
        alone: seconds of computing per second of sound, one stream in a call.
        shared: the same for each stream of a full call.
        batch: streams of a full call.
    """

    alone: float = 0.0
    shared: float = 0.0
    batch: int = 1

    @property
    def listeners(self) -> float:
        """Streams in real time that would keep a worker busy without rest."""
        return 1 / self.shared if self.shared else float("inf")

    def cost(self, streams: int, seconds: float) -> float:
        """Seconds that a call takes which makes ``seconds`` of sound for each of its streams."""
        full = self.shared * self.batch
        part = (streams - 1) / (self.batch - 1) if self.batch > 1 else 0.0
        return seconds * (self.alone + (full - self.alone) * part)


class Pace:
    """How long a worker's calls take over what they should by their voices' measurement; the last seconds count most.

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


def calibrate(vocoder: Vocoder, clock: Callable[[], float] = time.thread_time) -> Capacity:
    """Run a voice for a moment, one stream alone and a full call, and take the fastest call of each, ``SERVING`` added.

    The clock counts this thread's own time, which is where the runtimes compute: whoever else works at that moment
    (the workers that are being started, for one) would else be taken for the voice's cost ever after.

    Raises:
        VoiceFailure: when the voice does not work.
    """
    alone = _measure(vocoder, 1, clock)
    return Capacity(alone, _measure(vocoder, vocoder.batch, clock) / vocoder.batch, vocoder.batch)


def _measure(vocoder: Vocoder, streams: int, clock: Callable[[], float]) -> float:
    """Seconds of computing per second of sound of a call for that many streams."""
    spec = vocoder.features
    speaker = vocoder.speakers[0] if vocoder.speakers else None
    rng = np.random.default_rng(0)
    ahead = vocoder.latency // spec.hop
    running: list[Stream] = []
    for number in range(streams):
        stream = vocoder.start(Settings(speaker=speaker, stream=number), rate=None)
        stream.push(rng.normal(spec.silence / 2, 1, (ahead + 1 + _FRAMES * _CALLS, spec.n_mels)).astype(np.float32))
        running.append(stream)
    taken = []
    for frames in [ahead + 1] + [_FRAMES] * _CALLS:
        began = clock()
        for made in advance(vocoder, [(stream, stream.step(frames)) for stream in running]):
            if isinstance(made, VoiceFailure):
                raise made
        taken.append(SERVING * (clock() - began) / (_FRAMES * spec.hop / spec.sample_rate))
    return min(taken[1:])  # whatever else happens in a call only makes it longer


class Ledger:
    """Who is admitted on which worker.

    Args:
        workers: their number. slots: streams a worker may hold. share: part of a worker's time given away.

    Example:
        >>> ledger = Ledger(workers=1, slots=16)
        >>> ledger.admit(0.5), ledger.admit(0.5)
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
        """The least loaded worker that can take a stream of this cost (seconds per second), or ``None``.

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

    def release(self, worker: int, cost: float) -> None:
        """Give back what :meth:`admit` gave."""
        self._held[worker] -= 1
        self._load[worker] = self._load[worker] - cost if self._held[worker] else 0.0
