"""Streaming vocoder: features or audio in, audio out, piece by piece; no sockets, threads or clocks in here."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError
from seqgen.manifest import VocoderManifest, VoiceManifest
from seqgen.runtime.native import MAX_STREAMS
from seqgen.runtime.voice import Voice
from serving.sound.features import FeatureExtractor, feature_extractor
from serving.sound.source import InputSource
from serving.streams.contract import Clock, ModelFailure, ServedModel, Step

if TYPE_CHECKING:
    from seqgen.bundle import Bundle
    from seqgen.runtime.contract import Runtime, State
    from seqgen.runtime.speaker import Speaker

log = logging.getLogger("seqgen.serving")
Audio = npt.NDArray[np.float32]
CHUNK_FRAMES = (1, 2, 4, 8)
"""Frames per chunk, call by call: small at first, so that sound starts soon; larger later, to save calls."""
MAX_TEMPERATURE = 2.0
"""Highest sampling temperature; beyond it a voice gives noise."""
WATERMARKED = ("speech", "all", "none")
"""Sound whose samples may be marked: of voices that read texts, of all voices, none."""
_FRAMES, _CALLS = 2, 5  # of the calls that are measured


@dataclass(frozen=True, slots=True)
class VocoderStep:
    """Share of one stream in a call of the runtime.

    Attributes:
        cond: ``[F, channels]``. uniforms: ``[(samples + ahead) · uniforms_per_sample]``. samples: to be made.
        temperature: of the sampling.
    """

    cond: Audio
    uniforms: Audio
    samples: int
    temperature: float

    @property
    def shape(self) -> tuple[int, int, float]:
        """Streams whose steps agree in this may share a call."""
        return len(self.cond), self.samples, self.temperature


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """Settings of a voice that a listener may choose. The same settings and the same input give the same bytes.

    Attributes:
        seed: 0 … 2^64 - 1. temperature: 0 (most likely value) … ``MAX_TEMPERATURE``. speaker: one of the voice's, or
            ``None`` for a voice that has only one. stream: number of the noise stream under this seed.
    """

    seed: int = 0
    temperature: float = 1.0
    speaker: str | None = None
    stream: int = 0


class StreamingVocoder(ServedModel):
    """Vocoder of one voice, which starts any number of streams; itself unchanging, so threads may share it.

    Args:
        bundle: the voice; its manifest says what goes in and comes out.
        runtime: what runs it (``seqgen.runtime.open(bundle)``).
        batch: streams that one call may hold without a change in anybody's samples; by default as many as the native
            engine takes, and 1 for any other runtime, which promises no such thing.

    Attributes:
        name: by which it is served; the manifest's where nobody gives it another.
        reader: what makes frames of text, where the voice can read.

    Example:
        >>> stream = vocoder.start(VoiceSettings(seed=7), rate=16000)
        >>> stream.push(block); stream.finish()
        >>> audio = np.concatenate(list(stream.chunks()))
    """

    sizes: ClassVar[tuple[int, ...]] = CHUNK_FRAMES

    def __init__(self, bundle: Bundle, runtime: Runtime, *, batch: int | None = None) -> None:
        manifest = bundle.require(VocoderManifest)
        if manifest.features.sample_rate != manifest.sample_rate:
            raise SeqgenError(
                f"{manifest.name}: features at {manifest.features.sample_rate} Hz, audio at {manifest.sample_rate} Hz",
                remedy="export the voice again",
            )
        self.manifest = manifest
        self.name = manifest.name
        self.features = manifest.features
        self.sample_rate = manifest.sample_rate
        self.unit = self.features.hop / self.sample_rate
        self.uniforms = manifest.uniforms_per_sample
        self.alignment, self.ahead = manifest.spec.alignment, manifest.ahead
        self.speakers = tuple(manifest.speakers)
        self.runtime = runtime
        self.reader: Speaker | None = Voice(runtime) if isinstance(manifest, VoiceManifest) else None
        self.batch = batch or (MAX_STREAMS if runtime.name == "native" else 1)
        self.initial_state = runtime.init(1)  # states are values: every stream may start from this one
        # A voice with one speaker may be named and still take no speaker input.
        self.inputs = manifest.spec.in_dim - manifest.features.bands
        if self.inputs not in (0, len(self.speakers)):
            raise SeqgenError(
                f"{manifest.name}: {self.inputs} speaker inputs for {len(self.speakers)} speakers",
                remedy="export the voice again",
            )

    def check(self, settings: VoiceSettings) -> None:
        """Refuse settings that this voice cannot follow, in one line.

        Raises:
            SeqgenError: for a seed or temperature out of range, an unknown speaker, or none where one is needed.
        """
        if not 0 <= settings.seed < 2**64:
            raise SeqgenError(f"seed {settings.seed} is out of range", remedy="choose 0 to 2^64 - 1")
        if not 0 <= settings.temperature <= MAX_TEMPERATURE:  # also refuses NaN
            raise SeqgenError(
                f"temperature {settings.temperature} is out of range",
                remedy=f"choose 0 to {MAX_TEMPERATURE:g}; 1 is the usual",
            )
        if settings.speaker is None and not self.inputs:
            return
        choices = ", ".join(self.speakers) or "none, it has only one voice"
        if settings.speaker is None:
            raise SeqgenError(f"voice '{self.name}' needs a speaker", remedy=f"choose one of: {choices}")
        if settings.speaker not in self.speakers:
            raise SeqgenError(
                f"voice '{self.name}' has no speaker '{settings.speaker}'", remedy=f"its speakers are: {choices}"
            )

    def start(self, settings: VoiceSettings, *, rate: int | None) -> VocoderStream:
        """New stream that takes audio at ``rate`` Hz, or log-mel frames where ``rate`` is ``None``.

        Raises:
            SeqgenError: as :meth:`check`; and for an unsupported rate.
        """
        self.check(settings)
        return VocoderStream(self, settings, feature_extractor(self.features, rate))

    def run(self, source: InputSource, settings: VoiceSettings) -> Iterator[Audio]:
        """Sound of a whole source, as audio chunks made on demand; the source is read no further than needed.

        Raises:
            SeqgenError: where the settings or the source are at fault.
            ModelFailure: where the voice is.
        """
        stream = self.start(settings, rate=source.rate)
        for block in source.blocks:
            stream.push(block)
            yield from stream.chunks()
        stream.finish()
        yield from stream.chunks()

    @property
    def label(self) -> str:
        return f"voice '{self.name}' at {self.sample_rate} Hz"

    def warm_up(self) -> None:
        frames = np.full((sum(CHUNK_FRAMES), self.features.bands), self.features.silence, np.float32)
        settings = VoiceSettings(speaker=self.speakers[0] if self.speakers else None)
        for _ in self.run(InputSource(None, 0.0, iter([frames])), settings):
            pass

    def measure(self, streams: int, clock: Clock) -> float:
        spec = self.features
        speaker = self.speakers[0] if self.speakers else None
        rng = np.random.default_rng(0)
        ahead = self.alignment.skipped
        running: list[VocoderStream] = []
        for number in range(streams):
            stream = self.start(VoiceSettings(speaker=speaker, stream=number), rate=None)
            frames = ahead + 1 + _FRAMES * _CALLS
            stream.push(rng.normal(spec.silence / 2, 1, (frames, spec.bands)).astype(np.float32))
            running.append(stream)
        taken = []
        for count in [ahead + 1] + [_FRAMES] * _CALLS:
            began = clock()
            for made in self.advance([(stream, stream.step(count)) for stream in running]):
                if isinstance(made, ModelFailure):
                    raise made
            taken.append((clock() - began) / (_FRAMES * self.unit))
        return min(taken[1:])  # whatever else happens in a call only makes it longer

    def advance(self, steps: Sequence[Step]) -> list[Audio | ModelFailure]:
        samples = steps[0][1].samples
        try:
            states = tuple(np.concatenate(leaf) for leaf in zip(*(stream.state for stream, _ in steps), strict=True))
            uniforms = np.stack([step.uniforms for _, step in steps])
            cond = np.stack([step.cond for _, step in steps])
            made, after = self.runtime.sample(uniforms, states, cond, steps[0][1].temperature)
            if made.shape != (len(steps), samples):
                raise ModelFailure(f"voice '{self.name}' gave {made.shape} for {samples} samples")
        except Exception as error:
            if len(steps) > 1:  # only the stream that is at fault shall pay for it
                return [audio for step in steps for audio in self.advance([step])]
            log.exception("voice '%s' failed", self.name)
            return [error if isinstance(error, ModelFailure) else ModelFailure(f"voice '{self.name}': {error}")]
        return [
            _accepted(stream, made[row], tuple(leaf[row : row + 1] for leaf in after))
            for row, (stream, _) in enumerate(steps)
        ]

    def speaker_one_hot(self, speaker: str | None) -> Audio:
        """One-hot row ``[inputs]`` behind every frame; empty for a voice that takes no speaker."""
        row = np.zeros(self.inputs, np.float32)
        if self.inputs and speaker is not None:
            row[self.speakers.index(speaker)] = 1
        return row


def require_vocoder(model: ServedModel) -> StreamingVocoder:
    """Model that is a vocoder.

    Raises:
        SeqgenError: for one that makes no sound.
    """
    if not isinstance(model, StreamingVocoder):
        raise SeqgenError(
            f"'{model.name}' is no vocoder: it continues text", remedy="send its text to POST /v1/completions"
        )
    return model


def provenance(vocoder: StreamingVocoder, settings: VoiceSettings, *, watermark: bool = False) -> str:
    """Provenance mark of synthetic sound, as headers and containers carry it; ``watermark``: the samples do, too."""
    told = f'seqgen; kind=vocoder; voice="{quote(vocoder.name)}"; seed={settings.seed}'
    return f"{told}; watermark=1" if watermark else told


def bears_watermark(vocoder: StreamingVocoder, wanted: str) -> bool:
    """Whether a voice's samples are marked, by which of ``WATERMARKED`` an operator wants to be."""
    return wanted == "all" or (wanted == "speech" and vocoder.reader is not None)


class VocoderStream:
    """Stream of one utterance: :meth:`push` what has arrived, take :meth:`chunks` until none is ready, :meth:`finish`.

    The first ``latency`` conditioning vectors answer no sample, so the first call into the runtime spends the
    frames that cover them and asks for ``F·hop - latency`` samples; every later call asks for ``F·hop``; at the end
    ``ceil(latency / hop)`` silent frames push out the rest. All in all a recording of N samples (at the voice's
    rate) gives N samples, and F frames give ``F·hop``.

    Noise is indexed by the position in the stream, and a voice either gives the same samples for any cut into calls and
    any company in them, or its calls follow ``CHUNK_FRAMES`` alone: the same input gives the same bytes however it
    arrived.
    """

    def __init__(self, vocoder: StreamingVocoder, settings: VoiceSettings, extractor: FeatureExtractor) -> None:
        self._vocoder, self._settings, self._extractor = vocoder, settings, extractor
        self._state = vocoder.initial_state
        self._row = vocoder.speaker_one_hot(settings.speaker)
        self._waiting: list[Audio] = []  # frames [F, bands] not yet spent
        self._pending = 0  # their number
        self._calls = 0
        self._made = 0  # samples made, the surplus at the end included
        self._total: int | None = None  # known once finished

    def push(self, block: npt.NDArray[Any]) -> None:
        """Take audio ``[N]`` or frames ``[F, bands]``, whichever the stream was started for.

        Raises:
            SeqgenError: for NaN, infinity or a wrong shape.
        """
        if self._total is not None:
            raise ValueError("the stream is finished; start another one")
        self._queue(self._extractor.push(block))

    def finish(self) -> None:
        """Nothing more will come: what is owed can be taken by :meth:`chunks`."""
        if self._total is not None:
            return
        self._queue(self._extractor.finish())
        self._total = self._extractor.samples
        if self._total:
            spec = self._vocoder.features
            flush = self._vocoder.alignment.look_ahead
            self._queue(np.full((flush, spec.bands), spec.silence, np.float32))

    def chunks(self) -> Iterator[Audio]:
        """Chunks that are ready now, float32 ``[N]`` nominally in [-1, 1), each made when it is asked for.

        Raises:
            ModelFailure: when the voice gives NaN or breaks its contract.
        """
        while (shape := self.shape(CHUNK_FRAMES[min(self._calls, len(CHUNK_FRAMES) - 1)])) is not None:
            (made,) = self._vocoder.advance([(self, self.step(shape[0]))])
            if isinstance(made, ModelFailure):
                raise made
            yield made

    @property
    def finished(self) -> bool:
        """Whether every sample owed has been given out."""
        return self._total is not None and self._made >= self._total

    @property
    def pending(self) -> int:
        """Frames that wait to be spent."""
        return self._pending

    @property
    def made(self) -> int:
        """Samples given out."""
        return self._made if self._total is None else min(self._made, self._total)

    def shape(self, wanted: int) -> tuple[int, int, float] | None:
        """Frames, samples and temperature of the next step, or ``None`` while too few frames wait.

        ``wanted`` is how many frames are to sound; a voice whose samples might depend on the cut of its calls (see
        ``StreamingVocoder.batch``) follows ``CHUNK_FRAMES`` instead.
        """
        vocoder = self._vocoder
        if vocoder.batch == 1:
            wanted = CHUNK_FRAMES[min(self._calls, len(CHUNK_FRAMES) - 1)]
        if self._calls == 0:
            wanted += vocoder.alignment.skipped
        if self.finished or not self._pending or (self._pending < wanted and self._total is None):
            return None
        frames = min(wanted, self._pending)
        return frames, self._samples(frames), self._settings.temperature

    def fits(self, shape: tuple[int, int, float]) -> bool:
        """Whether the next step could have this shape."""
        frames, samples, temperature = shape
        return (
            frames <= self._pending
            and not self.finished
            and self._samples(frames) == samples
            and self._settings.temperature == temperature
        )

    def step(self, frames: int) -> VocoderStep:
        """Spend that many frames; the step must be given to :meth:`StreamingVocoder.advance` next."""
        waiting = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        taken, rest = waiting[:frames], waiting[frames:]
        self._waiting = [rest] if len(rest) else []
        self._pending = len(rest)
        vocoder, settings, samples = self._vocoder, self._settings, self._samples(frames)
        per, count = vocoder.uniforms, samples + vocoder.ahead
        uniforms = vocoder.runtime.uniforms(settings.seed, settings.stream, self._made * per, count * per)
        cond = np.concatenate([taken, np.tile(self._row, (frames, 1))], axis=1)
        return VocoderStep(cond, uniforms, samples, settings.temperature)

    def accept(self, made: Audio, state: State) -> Audio | ModelFailure:
        """Take what a call made of the last step, ``[samples]``: gives what of it the listener is owed."""
        if not np.isfinite(made).all():
            return ModelFailure(f"voice '{self._vocoder.name}' gave NaN after sample {self._made}")
        left = len(made) if self._total is None else self._total - self._made
        self._state = state
        self._calls += 1
        self._made += len(made)
        return np.asarray(made[:left], np.float32)

    @property
    def state(self) -> State:
        """The runtime's state of this stream, one row."""
        return self._state

    def _samples(self, frames: int) -> int:
        alignment = self._vocoder.alignment
        return frames * alignment.hop if self._calls else alignment.first_samples(frames)

    def _queue(self, frames: Audio) -> None:
        if len(frames):
            self._waiting.append(frames)
            self._pending += len(frames)


def _accepted(stream: VocoderStream, made: Audio, state: State) -> Audio | ModelFailure:
    try:
        return stream.accept(made, state)
    except Exception as error:
        log.exception("a stream could not take its sound")
        return ModelFailure(f"a stream could not take its sound: {error!r}")
