"""Computing cost of a voice, measured once when it is opened: how many listeners a worker can carry."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serving.voices.vocoder import StreamingVocoder, VocoderStream, VoiceFailure, VoiceSettings, advance

OVERHEAD = 1.5
"""Cost of a listener in all over what the engine's full calls cost for it: calls that are not full, encoding,
sending, the interpreter. Measured with a sparse voice of 896 units: 5.0 % of a core in the engine, 7.4 % in all
processes."""
_FRAMES = 2
_CALLS = 5


@dataclass(frozen=True, slots=True)
class Capacity:
    """Real-time factors of one voice on one worker, which tell how many listeners it can carry.

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


def calibrate(vocoder: StreamingVocoder, clock: Callable[[], float] = time.thread_time) -> Capacity:
    """Measured capacity of a voice, which is run for a moment: one stream alone, then full calls; the fastest counts.

    The clock counts this thread's own time, which is where the runtimes compute: whoever else works at that moment
    (the workers that are being started, for one) would else be taken for the voice's cost ever after.

    Raises:
        VoiceFailure: when the voice does not work.
    """
    alone = _measure(vocoder, 1, clock)
    return Capacity(alone, _measure(vocoder, vocoder.batch, clock) / vocoder.batch, vocoder.batch)


def _measure(vocoder: StreamingVocoder, streams: int, clock: Callable[[], float]) -> float:
    """Seconds of computing per second of sound of a call for that many streams."""
    spec = vocoder.features
    speaker = vocoder.speakers[0] if vocoder.speakers else None
    rng = np.random.default_rng(0)
    ahead = vocoder.alignment.skipped
    running: list[VocoderStream] = []
    for number in range(streams):
        stream = vocoder.start(VoiceSettings(speaker=speaker, stream=number), rate=None)
        stream.push(rng.normal(spec.silence / 2, 1, (ahead + 1 + _FRAMES * _CALLS, spec.n_mels)).astype(np.float32))
        running.append(stream)
    taken = []
    for frames in [ahead + 1] + [_FRAMES] * _CALLS:
        began = clock()
        for made in advance(vocoder, [(stream, stream.step(frames)) for stream in running]):
            if isinstance(made, VoiceFailure):
                raise made
        taken.append(OVERHEAD * (clock() - began) / (_FRAMES * spec.hop / spec.sample_rate))
    return min(taken[1:])  # whatever else happens in a call only makes it longer
