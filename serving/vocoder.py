"""Features or audio in, audio out, piece by piece; no sockets, threads or clocks in here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqgen import noise
from seqgen.errors import SeqgenError
from serving.frontend import Front, front_for
from serving.source import Source

if TYPE_CHECKING:
    from seqgen.bundle import Bundle
    from seqgen.runtime.contract import Runtime

Audio = npt.NDArray[np.float32]
PLAN = (1, 2, 4, 8)
"""Frames per chunk: small at first, so that sound starts soon; larger later, so that each call costs less."""
HOTTEST = 2.0
"""Highest sampling temperature; beyond it a voice gives noise."""


class VoiceFailure(RuntimeError):
    """The voice itself went wrong (NaN, or a runtime that broke its contract): not the caller's fault."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a listener may choose. The same settings and the same input give the same bytes.

    Attributes:
        seed: 0 … 2^64 - 1. temperature: 0 (most likely value) … ``HOTTEST``. speaker: one of the voice's, or
            ``None`` for a voice that has only one. stream: number of the noise stream under this seed.
    """

    seed: int = 0
    temperature: float = 1.0
    speaker: str | None = None
    stream: int = 0


class Vocoder:
    """One voice, ready to start any number of streams; itself unchanging, so threads may share it.

    Args:
        bundle: the voice; its manifest says what goes in and comes out.
        runtime: what runs it (``seqgen.runtime.open(bundle)``).

    Example:
        >>> stream = vocoder.start(Settings(seed=7), rate=16000)
        >>> stream.push(block); stream.finish()
        >>> audio = np.concatenate(list(stream.chunks()))
    """

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        manifest = bundle.manifest
        if manifest.features.sample_rate != manifest.sample_rate:
            raise SeqgenError(
                f"{manifest.name}: features at {manifest.features.sample_rate} Hz, audio at {manifest.sample_rate} Hz",
                remedy="export the voice again",
            )
        self.name = manifest.name
        self.features = manifest.features
        self.sample_rate = manifest.sample_rate
        self.uniforms = manifest.uniforms_per_sample
        self.latency = manifest.spec.latency
        self.speakers = tuple(manifest.speakers)
        self.runtime = runtime
        self.fresh = runtime.init(1)  # states are values: every stream may start from this one
        # A voice with one speaker may be named and still take no speaker input.
        self.inputs = manifest.spec.in_dim - manifest.features.n_mels
        if self.inputs not in (0, len(self.speakers)):
            raise SeqgenError(
                f"{manifest.name}: {self.inputs} speaker inputs for {len(self.speakers)} speakers",
                remedy="export the voice again",
            )

    def check(self, settings: Settings) -> None:
        """Refuse settings that this voice cannot follow, in one line.

        Raises:
            SeqgenError: for a seed or temperature out of range, an unknown speaker, or none where one is needed.
        """
        if not 0 <= settings.seed < 2**64:
            raise SeqgenError(f"seed {settings.seed} is out of range", remedy="choose 0 to 2^64 - 1")
        if not 0 <= settings.temperature <= HOTTEST:  # also refuses NaN
            raise SeqgenError(
                f"temperature {settings.temperature} is out of range", remedy=f"choose 0 to {HOTTEST:g}; 1 is the usual"
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

    def start(self, settings: Settings, *, rate: int | None) -> Stream:
        """A fresh stream that takes audio at ``rate`` Hz, or log-mel frames where ``rate`` is ``None``.

        Raises:
            SeqgenError: as :meth:`check`; and for an unsupported rate.
        """
        self.check(settings)
        return Stream(self, settings, front_for(self.features, rate))

    def run(self, source: Source, settings: Settings) -> Iterator[Audio]:
        """Everything a source gives, as audio chunks made on demand; the source is read no further than needed.

        Raises:
            SeqgenError: where the settings or the source are at fault.
            VoiceFailure: where the voice is.
        """
        stream = self.start(settings, rate=source.rate)
        for block in source.blocks:
            stream.push(block)
            yield from stream.chunks()
        stream.finish()
        yield from stream.chunks()

    def warm_up(self) -> None:
        """Make a moment of silence and drop it, so that the first listener does not pay for what is set up lazily.

        Raises:
            VoiceFailure: when the voice does not work.
        """
        frames = np.full((sum(PLAN), self.features.n_mels), self.features.silence, np.float32)
        settings = Settings(speaker=self.speakers[0] if self.speakers else None)
        for _ in self.run(Source(None, 0.0, iter([frames])), settings):
            pass

    def speaker_row(self, speaker: str | None) -> Audio:
        """The one-hot ``[inputs]`` behind every frame; empty for a voice that takes no speaker."""
        row = np.zeros(self.inputs, np.float32)
        if self.inputs and speaker is not None:
            row[self.speakers.index(speaker)] = 1
        return row


class Stream:
    """One utterance under way: :meth:`push` what has arrived, take :meth:`chunks` until none is ready, :meth:`finish`.

    The first ``latency`` conditioning vectors answer no sample, so the first call into the runtime spends the
    frames that cover them and asks for ``F·hop - latency`` samples; every later call asks for ``F·hop``; at the end
    ``ceil(latency / hop)`` silent frames push out the rest. All in all a recording of N samples (at the voice's
    rate) gives N samples, and F frames give ``F·hop``.

    How frames are grouped into calls follows ``PLAN`` alone, never the way they arrived, and noise is indexed by the
    position in the stream: the same input gives the same bytes however it was cut.
    """

    def __init__(self, vocoder: Vocoder, settings: Settings, front: Front) -> None:
        self._vocoder, self._settings, self._front = vocoder, settings, front
        self._state = vocoder.fresh
        self._row = vocoder.speaker_row(settings.speaker)
        self._waiting: list[Audio] = []  # frames [F, n_mels] not yet spent
        self._pending = 0  # their number
        self._calls = 0
        self._made = 0  # samples made, the surplus at the end included
        self._total: int | None = None  # known once finished

    def push(self, block: npt.NDArray[Any]) -> None:
        """Take audio ``[N]`` or frames ``[F, n_mels]``, whichever the stream was started for.

        Raises:
            SeqgenError: for NaN, infinity or a wrong shape.
        """
        if self._total is not None:
            raise ValueError("the stream is finished; start another one")
        self._queue(self._front.push(block))

    def finish(self) -> None:
        """Nothing more will come: what is owed can be taken by :meth:`chunks`."""
        if self._total is not None:
            return
        self._queue(self._front.finish())
        self._total = self._front.samples
        if self._total:
            spec = self._vocoder.features
            flush = -(-self._vocoder.latency // spec.hop)
            self._queue(np.full((flush, spec.n_mels), spec.silence, np.float32))

    def chunks(self) -> Iterator[Audio]:
        """The chunks that are ready now, float32 ``[N]`` nominally in [-1, 1), each made when it is asked for.

        Raises:
            VoiceFailure: when the voice gives NaN or breaks its contract.
        """
        while (frames := self._next_frames()) is not None:
            audio = self._sample(frames)
            left = len(audio) if self._total is None else self._total - self._made
            self._made += len(audio)
            yield audio[:left]

    @property
    def finished(self) -> bool:
        """Whether every sample owed has been given out."""
        return self._total is not None and self._made >= self._total

    def _queue(self, frames: Audio) -> None:
        if len(frames):
            self._waiting.append(frames)
            self._pending += len(frames)

    def _next_frames(self) -> Audio | None:
        """The frames of the next call, or ``None`` while there are too few of them."""
        vocoder = self._vocoder
        wanted = PLAN[min(self._calls, len(PLAN) - 1)]
        if self._calls == 0:
            wanted += vocoder.latency // vocoder.features.hop
        if self.finished or not self._pending or (self._pending < wanted and self._total is None):
            return None
        frames = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        rest = frames[wanted:]
        self._waiting = [rest] if len(rest) else []
        self._pending = len(rest)
        return frames[:wanted]

    def _sample(self, frames: Audio) -> Audio:
        vocoder, settings = self._vocoder, self._settings
        count = len(frames) * vocoder.features.hop - (0 if self._calls else vocoder.latency)
        uniforms = noise.block(settings.seed, settings.stream, self._made * vocoder.uniforms, count * vocoder.uniforms)
        cond = np.concatenate([frames, np.tile(self._row, (len(frames), 1))], axis=1)
        try:
            made, self._state = vocoder.runtime.sample(uniforms[None], self._state, cond[None], settings.temperature)
        except SeqgenError as error:
            raise VoiceFailure(f"voice '{vocoder.name}': {error}") from error
        if made.shape != (1, count) or not np.isfinite(made).all():
            raise VoiceFailure(
                f"voice '{vocoder.name}' gave {made.shape} for {count} samples, or NaN, after sample {self._made}"
            )
        self._calls += 1
        return np.asarray(made[0], np.float32)
