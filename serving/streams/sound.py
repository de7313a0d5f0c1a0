"""Streams of sound: a request for one, and its pipeline: bytes in, samples or frames, the voice, an encoder, bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError
from serving.sound.body import Body, BodyFile
from serving.sound.features import require_rate
from serving.sound.formats import byte_rate, encoder, output_rate, require_encoder
from serving.sound.source import BLOCK, FRAME_BLOCK
from serving.streams.capacity import SoundCosts
from serving.streams.contract import ServedModel, Shape, Step, StreamPipeline, StreamRequest
from serving.streams.decoding import Decode, DecodedBody, InlineBody
from serving.streams.vocoder import Audio, StreamingVocoder, VocoderStream, VoiceSettings, provenance, require_vocoder

SAMPLE_ENCODINGS = {"s16le": "<i2", "f32le": "<f4"}
"""Encodings of audio samples that may be pushed, with their numpy types."""


@dataclass(frozen=True, slots=True)
class InputFormat:
    """Format of the input that is pushed into a stream.

    Attributes:
        kind: ``file`` (a whole recording or features file), ``audio``, ``features`` or ``text``. rate: Hz of audio.
        encoding: of its samples, a key of ``SAMPLE_ENCODINGS``. content_type: what a file claims to be.
        speed: of a text, times the usual. temperature: of its prosody and frames.
    """

    kind: str = "file"
    rate: int = 0
    encoding: str = "s16le"
    content_type: str = ""
    speed: float = 1.0
    temperature: float = 0.0


@dataclass(frozen=True)
class SoundRequest(StreamRequest):
    """Request for one stream of sound, as a listener made it.

    Attributes:
        settings: of the voice. form: one of ``serving.sound.formats.FORMATS``. input: what will be pushed.
        longest: seconds of input taken. eager: work beyond the usual lead where nobody else waits (downloads).
        rate: Hz of the sound; 0: the voice's own. skip: bytes at its beginning that the listener has already.
    """

    settings: VoiceSettings = field(default_factory=VoiceSettings)
    form: str = "wav"
    input: InputFormat = field(default_factory=InputFormat)
    longest: float = 600.0
    eager: bool = False
    rate: int = 0
    skip: int = 0

    @property
    def reads_aloud(self) -> bool:
        return self.input.kind == "text"

    def check(self, model: ServedModel) -> None:
        vocoder = require_vocoder(model)
        output_rate(self.form, vocoder.sample_rate, self.rate or None)
        require_encoder(self.form)
        vocoder.check(self.settings)
        if self.input.kind == "audio":
            require_rate(self.input.rate)
        if self.input.kind == "text" and vocoder.reader is None:
            raise SeqgenError(f"voice '{vocoder.name}' is a vocoder and cannot read text", remedy="choose one that can")

    def pipeline(self, model: ServedModel, decode: Decode) -> SoundPipeline:
        return SoundPipeline(require_vocoder(model), self, decode)

    def surcharge(self, model: ServedModel, costs: SoundCosts) -> float:
        own = require_vocoder(model).sample_rate
        rate = output_rate(self.form, own, self.rate or None)
        made = max(0.0, costs.output(self.form, rate) - costs.output("pcm", own))
        given = self.input
        return made + {"file": costs.file, "audio": costs.input(given.rate)}.get(given.kind, 0.0)

    def seconds(self, model: ServedModel, size: int) -> float:
        spec = require_vocoder(model).features
        if self.input.kind == "audio":
            return size / (np.dtype(SAMPLE_ENCODINGS[self.input.encoding]).itemsize * self.input.rate)
        return size / (4 * spec.bands) * spec.hop / spec.sample_rate if self.input.kind == "features" else 0.0


class SoundPipeline(StreamPipeline):
    """Pipeline of one stream of sound; built in the worker that runs it.

    Example:
        >>> pipeline = SoundPipeline(vocoder, SoundRequest(form="pcm"))
        >>> pipeline.push(body); pipeline.finish()
        >>> while (shape := pipeline.shape(1)): ...   # the batcher steps it
    """

    def __init__(self, vocoder: StreamingVocoder, request: SoundRequest, decode: Decode = InlineBody) -> None:
        super().__init__(vocoder, request)
        self.vocoder, self._sound, self._decode = vocoder, request, decode
        rate = output_rate(request.form, vocoder.sample_rate, request.rate or None)
        self.byte_rate = byte_rate(request.form, rate)
        self.stream: VocoderStream | None = None
        self._encoder = encoder(request.form, vocoder.sample_rate, rate, provenance(vocoder, request.settings))
        self._rest = bytearray()  # samples or frames that wait
        self._file = BodyFile() if request.input.kind == "file" else None
        self._body: DecodedBody | None = None
        self._complete = False  # no more input will come
        self._fed = False  # and the stream has all of it
        self._taken = 0  # bytes of incremental input
        self._spoken: Iterator[Audio] | None = None  # frames of a text
        self._skip = request.skip  # bytes still to be dropped
        if request.input.kind != "file":
            given = request.input.rate if request.input.kind == "audio" else None
            self.stream = vocoder.start(request.settings, rate=given)

    def push(self, data: bytes | memoryview) -> None:
        if self._complete:
            return
        if self._file is not None:
            return self._file.append(data)
        self._rest += data
        self._taken += len(data)
        if self._sound.seconds(self.vocoder, self._taken) > self._sound.longest:
            raise SeqgenError(
                f"more than {self._sound.longest:g} s came in one utterance", remedy="flush or close it in between"
            )

    def finish(self) -> None:
        if self._complete:
            return
        self._complete = True
        if self._sound.input.kind == "text":
            self._spoken = self._speak()
        elif self._file is None and (left := len(self._rest) % self._unit):
            raise SeqgenError(f"the input ends {left} bytes into a sample or frame", remedy="send whole ones")
        if self._file is not None:
            request = self._sound
            body = Body(self._file, request.input.content_type, self.vocoder.features, request.longest)
            self._body = self._decode(body)

    def shape(self, units: int) -> Shape | None:
        if self.stream is None:
            if self._body is None or not self._body.open:
                return None
            self.stream = self.vocoder.start(self._sound.settings, rate=self._body.rate)
        while (shape := self.stream.shape(units)) is None and not self._fed:
            block = self._next()
            if block is not None:
                self.stream.push(block)
            elif self._exhausted:
                self.stream.finish()
                self._fed = True
            else:
                break
        return shape

    @property
    def decoding(self) -> bool:
        return self._body is not None and not self._body.over

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
        elif self._file is not None:
            self._file.close()

    def _next(self) -> npt.NDArray[Any] | None:
        """Next block of the input: samples ``[N]`` or frames ``[F, bands]``; ``None`` where there is none now."""
        if self._body is not None:
            return self._body.take()
        if self._spoken is not None and (frames := next(self._spoken, None)) is not None:
            return frames
        given, bands = self._sound.input, self.vocoder.features.bands
        if given.kind == "text":
            return None
        size = min(len(self._rest) // self._unit, BLOCK if given.kind == "audio" else FRAME_BLOCK) * self._unit
        if not size:
            return None
        values = np.frombuffer(bytes(self._rest[:size]), self._kind)
        del self._rest[:size]
        if given.kind == "features":
            return values.reshape(-1, bands)
        return values.astype(np.float32) / 32768 if self._kind.kind == "i" else values

    def _speak(self) -> Iterator[Audio]:
        """Frames of the text that has come."""
        reader, given = self.vocoder.reader, self._sound.input
        assert reader is not None
        try:
            text = self._rest.decode()
        except UnicodeDecodeError:
            raise SeqgenError("the text is not UTF-8", remedy="send UTF-8") from None
        self._rest.clear()
        return reader.frames(text, given.temperature, self._sound.settings.seed, given.speed)

    @property
    def _exhausted(self) -> bool:
        """True where no block will come any more."""
        return self._body.over if self._body is not None else self._complete and not self._rest

    @property
    def _kind(self) -> np.dtype[Any]:
        given = self._sound.input
        return np.dtype(SAMPLE_ENCODINGS[given.encoding] if given.kind == "audio" else "<f4")

    @property
    def _unit(self) -> int:
        """Bytes of a sample or frame."""
        return self._kind.itemsize * (1 if self._sound.input.kind == "audio" else self.vocoder.features.bands)

    def step(self, shape: Shape, units: int) -> Step | None:
        self.shape(units)
        stream = self.stream
        return (stream, stream.step(shape[0])) if stream is not None and stream.fits(shape) else None

    def duration(self, shape: Shape) -> float:
        return int(shape[1]) / self.vocoder.sample_rate

    def encode(self, made: Audio) -> bytes:
        return self._unheard(self._encoder.push(made)) if len(made) else b""

    def seconds(self, made: Audio) -> float:
        return len(made) / self.vocoder.sample_rate

    def ending(self) -> bytes:
        """Bytes that end the output.

        Raises:
            SeqgenError: for a listener who claims to have more of it than there is.
        """
        data = self._unheard(self._encoder.finish())
        if self._skip:
            raise SeqgenError(f"offset {self._sound.skip} is {self._skip} bytes behind the end", remedy="begin anew")
        return data

    @property
    def backlog(self) -> int | None:
        return 1 if self._skip else None

    def _unheard(self, data: bytes) -> bytes:
        dropped = min(self._skip, len(data))
        self._skip -= dropped
        return data[dropped:]

    @property
    def finished(self) -> bool:
        return self.stream is not None and self._fed and self.stream.finished
