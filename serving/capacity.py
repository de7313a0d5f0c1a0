"""How many listeners a worker can carry: measured once per voice, kept in a ledger of who is admitted where."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serving.vocoder import Settings, Stream, Vocoder, VoiceFailure, advance

SHARE = 0.8
"""Part of what was measured that is given away; the rest is for the web server, for other work and for bad luck."""
SERVING = 1.3
"""What a listener costs in all over what the engine's calls cost for it: encoding, sending, the interpreter."""
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


def calibrate(vocoder: Vocoder, clock: Callable[[], float] = time.perf_counter) -> Capacity:
    """Run a voice for a moment, one stream alone and a full call, and take the median call of each, ``SERVING`` added.

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
    return float(np.median(taken[1:]))


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

    def admit(self, cost: float, up: Callable[[int], bool] = lambda worker: True) -> int | None:
        """The least loaded worker that is up and can take a stream of this cost (seconds per second), or ``None``.

        An idle worker takes any stream: a voice too slow for real time is still a voice.
        """
        order = sorted(range(len(self._load)), key=lambda worker: (self._load[worker], self._held[worker]))
        for worker in order:
            fits = self._load[worker] + cost <= self.share + 1e-9 or not self._held[worker]
            if fits and self._held[worker] < self.slots and up(worker):
                self._load[worker] += cost
                self._held[worker] += 1
                return worker
        self.refused += 1
        return None

    def release(self, worker: int, cost: float) -> None:
        """Give back what :meth:`admit` gave."""
        self._held[worker] -= 1
        self._load[worker] = self._load[worker] - cost if self._held[worker] else 0.0
