"""Computing costs of streams, measured once: of a voice when it is opened, of codecs and resamplers once a process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np

from seqgen.audio.watermark import Watermark
from seqgen.spec import FeatureSpec
from serving.sound.encoders import Audio
from serving.sound.features import AudioFeatureExtractor
from serving.sound.formats import FORMATS, encoder
from serving.sound.opus import RATES as OPUS_RATES
from serving.sound.opus import library
from serving.sound.resampling import RATES, Resampler
from serving.streams.contract import Clock, ServedModel

OVERHEAD = 1.5
"""Cost of a listener in all over what the engine's full calls cost for it: calls that are not full, encoding,
sending, the interpreter. Measured with a sparse voice of 896 units: 5.0 % of a core in the engine, 7.4 % in all
processes."""
_SOUND, _PUSHES = 0.1, 3  # seconds of sound that a codec is measured with at a time, and how often
_MOST, _MARK = 48_000, "measured"  # Hz of what is measured once: its cost grows with the rate
_INPUT_RATES = (16_000, 48_000, 96_000, 384_000)  # Hz; any other costs what the next higher does
_FILE_RATE = 48_000  # Hz that a recording is taken to have before it is seen
_TEXTS = (
    "The 8:15 to Leeds is late, Dr. Hall said; it will come in 20 minutes. Would you like to wait inside?",
    "On 3 May we paid $12.50 for two tickets, and nobody knew why. The second one, of course, was never used!",
    "She looked at the map again: 4.2 km to go, and rain on the way. There was no hurry, as far as they could tell.",
)  # numbers, abbreviations and plain words; the first is also for what is set up lazily
_DECODING = 0.002  # share of real time of decoding FLAC or Vorbis of that rate, which hardly differs between machines


class Reader(Protocol):
    """Reader of texts, as its cost is measured."""

    def frames(self, text: str, temperature: float = ...) -> Iterator[Audio]:
        """Frames ``[f, bands]`` of a text, block by block."""


@dataclass(frozen=True, slots=True)
class SoundCosts:
    """Costs of a stream beside its voice: seconds of computing per second of sound.

    Attributes:
        outputs: of making a format at a rate in Hz, by both. inputs: of frames out of audio at a rate in Hz.
        watermark: of marking the samples.
    """

    outputs: Mapping[tuple[str, int], float] = field(default_factory=dict)
    inputs: Mapping[int, float] = field(default_factory=dict)
    watermark: float = 0.0

    def output(self, form: str, rate: int) -> float:
        """Cost of a format at a rate; 0 where nobody measured it."""
        return self.outputs.get((form, rate), 0.0)

    def input(self, rate: int) -> float:
        """Cost of taking audio at a rate in Hz; 0 where nobody measured any."""
        known = sorted(self.inputs)
        return self.inputs[next((one for one in known if one >= rate), known[-1])] if known else 0.0

    @property
    def file(self) -> float:
        """Cost of taking a recording that nobody has looked at yet."""
        return self.input(_FILE_RATE) + _DECODING if self.inputs else 0.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """Real-time factors of one voice on one worker, which tell how many listeners it can carry.

    Attributes:
        alone: seconds of computing per second of sound, one stream in a call.
        shared: the same for each stream of a full call.
        batch: streams of a full call.
        sound: costs of a stream beside the voice.
        text: seconds of computing per second of sound that reading takes before the voice sounds: the words of the
            text, their pronunciation and prosody, and frames. 0 for what does not read.
    """

    alone: float = 0.0
    shared: float = 0.0
    batch: int = 1
    sound: SoundCosts = field(default_factory=SoundCosts, hash=False)
    text: float = 0.0

    @property
    def listeners(self) -> float:
        """Streams in real time that would keep a worker busy without rest."""
        return 1 / self.shared if self.shared else float("inf")

    @property
    def usual(self) -> float:
        """Cost of one more listener as most come: of a voice that reads, with a text."""
        return self.shared + self.text

    def cost(self, streams: int, seconds: float) -> float:
        """Seconds that a call takes which makes ``seconds`` of sound for each of its streams."""
        full = self.shared * self.batch
        part = (streams - 1) / (self.batch - 1) if self.batch > 1 else 0.0
        return seconds * (self.alone + (full - self.alone) * part)


def calibrate(model: ServedModel, clock: Clock = time.thread_time) -> Capacity:
    """Measured capacity of a model, which is run for a moment: one stream alone, then full calls; the fastest counts.

    The clock counts this thread's own time, which is where the runtimes compute: whoever else works at that moment
    (the workers that are being started, for one) would else be taken for the voice's cost ever after.

    Raises:
        ModelFailure: when the model does not work.
    """
    alone = OVERHEAD * model.measure(1, clock)
    return Capacity(alone, OVERHEAD * model.measure(model.batch, clock) / model.batch, model.batch)


def reading_cost(reader: Reader, spec: FeatureSpec, clock: Clock = time.thread_time) -> float:
    """Measured cost of reading, see :attr:`Capacity.text`: texts of a usual kind are read, the fastest counts."""

    def timed(text: str) -> float:
        began, frames = clock(), sum(len(block) for block in reader.frames(text, 0.0))
        return (clock() - began) * spec.sample_rate / (frames * spec.hop)

    return min(timed(text) for text in _TEXTS)


@lru_cache(maxsize=16)
def sound_costs(spec: FeatureSpec, clock: Clock = time.thread_time) -> SoundCosts:
    """Measured costs of a stream beside its voice, for voices of these features: once a process, in moments."""
    rate = spec.sample_rate
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, round(_SOUND * _INPUT_RATES[-1])).astype(np.float32)

    def timed(push: Callable[[Audio], object], rate: int) -> float:
        """Seconds for a second of audio at a rate; the first push is for what is set up lazily."""
        block = noise[: round(_SOUND * rate)]
        push(block)
        began = clock()
        for _ in range(_PUSHES):
            push(block)
        return (clock() - began) / (_PUSHES * _SOUND)

    plain = {form: timed(encoder(form, _MOST, _MOST, _MARK).push, _MOST) for form in FORMATS if form != "opus"}
    outputs = {}
    for target in RATES:
        resampling = timed(Resampler(rate, target).push, rate) if target != rate else 0.0
        for form, taken in plain.items():
            outputs[form, target] = resampling + taken * target / _MOST
        if target in OPUS_RATES and library() is not None:
            outputs["opus", target] = resampling + timed(encoder("opus", target, target, _MARK).push, target)
    inputs = {source: timed(AudioFeatureExtractor(spec, source).push, source) for source in {rate, *_INPUT_RATES}}
    return SoundCosts(outputs, inputs, timed(Watermark(rate).push, rate))
