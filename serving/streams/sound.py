"""Streams of sound: a request for one, and its pipeline: bytes in, samples or frames, the voice, an encoder, bytes.

Where the request asks for records, the bytes that come out are such: of sound, or of JSON that tells when what is said.
"""

from __future__ import annotations

import json
import math
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError
from seqgen.runtime.speech import Moment, Speech
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
SLOWEST, FASTEST = 0.25, 4.0
"""Speeds of a text, times the usual."""
MAX_UNSPOKEN = 1 << 18
"""Characters of a text that may wait to be spoken, hours of it."""
_RECORD = struct.Struct("<IQ")  # bytes; samples of the voice up to their end, of sound
_ROUNDING = 1e-9  # seconds
_TOLD = 1 << 31  # in the number of bytes: they are JSON


@dataclass(frozen=True, slots=True)
class InputFormat:
    """Format of the input that is pushed into a stream.

    Attributes:
        kind: ``file`` (a whole recording or features file), ``audio``, ``features`` or ``text``. rate: Hz of audio.
        encoding: of its samples, a key of ``SAMPLE_ENCODINGS``. content_type: what a file claims to be.
        speed: of a text, times the usual. temperature: of its prosody and frames. times: what of it is told when it is
            said, of :data:`seqgen.runtime.speech.KINDS`, between spaces.
    """

    kind: str = "file"
    rate: int = 0
    encoding: str = "s16le"
    content_type: str = ""
    speed: float = 1.0
    temperature: float = 0.0
    times: str = ""


class Record(NamedTuple):
    """Part of an output of records: ``sound``, and the ``samples`` of the voice that all of it up to there was made of;
    or ``told``, the fields of a :class:`~seqgen.runtime.speech.Moment` that begins in the sound which comes next."""

    sound: bytes = b""
    samples: int = 0
    told: dict[str, Any] | None = None


class RecordDecoder:
    """Incremental decoder of an output of records.

    Example:
        >>> decoder = RecordDecoder()
        >>> data = encode_sound(b"ab", 1)
        >>> [decoder.feed(data[:5]), decoder.feed(data[5:])]
        [[], [Record(sound=b'ab', samples=1, told=None)]]
    """

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Record]:
        """Records that are complete now."""
        self._rest += data
        at, made = 0, []
        while len(self._rest) - at >= _RECORD.size:
            size, samples = _RECORD.unpack_from(self._rest, at)
            start, end = at + _RECORD.size, at + _RECORD.size + size % _TOLD
            if end > len(self._rest):
                break
            content = bytes(self._rest[start:end])
            made.append(Record(told=json.loads(content)) if size >= _TOLD else Record(content, samples))
            at = end
        del self._rest[:at]
        return made


def encode_sound(sound: bytes, samples: int) -> bytes:
    """Record of sound."""
    return _RECORD.pack(len(sound), samples) + sound


def encode_moment(moment: Moment) -> bytes:
    """Record of a time."""
    told = json.dumps(moment_fields(moment)).encode()
    return _RECORD.pack(len(told) + _TOLD, 0) + told


def moment_fields(moment: Moment) -> dict[str, Any]:
    """Fields by which a listener is told of a time, in microseconds' precision."""
    fields = {"type": moment.kind, "text": moment.text, "start": round(moment.start, 6)}
    fields["duration"] = round(moment.duration, 6)
    return fields if moment.place is None else {**fields, "place": list(moment.place)}


@dataclass(frozen=True)
class SoundRequest(StreamRequest):
    """Request for one stream of sound, as a listener made it.

    Attributes:
        settings: of the voice. form: one of ``serving.sound.formats.FORMATS``. input: what will be pushed.
        longest: seconds of input taken. eager: work beyond the usual lead where nobody else waits (downloads).
        rate: Hz of the sound; 0: the voice's own. skip: bytes at its beginning that the listener has already.
        records: have the output come as records, see :class:`RecordDecoder`.
        watermark: whether its samples are marked.
    """

    settings: VoiceSettings = field(default_factory=VoiceSettings)
    form: str = "wav"
    input: InputFormat = field(default_factory=InputFormat)
    longest: float = 600.0
    eager: bool = False
    rate: int = 0
    skip: int = 0
    records: bool = False
    watermark: bool = False

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
        made += costs.watermark if self.watermark else 0.0
        given = self.input
        return made + {"file": costs.file, "audio": costs.input(given.rate)}.get(given.kind, 0.0)

    def seconds(self, model: ServedModel, size: int) -> float:
        spec = require_vocoder(model).features
        if self.input.kind == "audio":
            return size / (np.dtype(SAMPLE_ENCODINGS[self.input.encoding]).itemsize * self.input.rate)
        return size / (4 * spec.bands) * spec.hop / spec.sample_rate if self.input.kind == "features" else 0.0

    def waiting(self, model: ServedModel, seconds: float) -> int:
        return MAX_UNSPOKEN if self.input.kind == "text" else super().waiting(model, seconds)


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
        told = provenance(vocoder, request.settings, watermark=request.watermark)
        self._encoder = encoder(request.form, vocoder.sample_rate, rate, told, watermark=request.watermark)
        self._rest = bytearray()  # samples or frames that wait
        self._file = BodyFile() if request.input.kind == "file" else None
        self._body: DecodedBody | None = None
        self._complete = False  # no more input will come
        self._fed = False  # and the stream has all of it
        self._taken = 0  # bytes of incremental input
        self._speech: Speech | None = None
        self._moments = deque[Moment]()  # not told yet
        self._encoded = 0  # samples
        self._skip = request.skip  # bytes still to be dropped
        if request.input.kind == "text":
            given, reader = request.input, vocoder.reader
            assert reader is not None
            self._speech = reader.speech(given.temperature, request.settings.seed, given.speed)
        if request.input.kind != "file":
            rate_in = request.input.rate if request.input.kind == "audio" else None
            self.stream = vocoder.start(request.settings, rate=rate_in)

    def push(self, data: bytes | memoryview) -> None:
        if self._complete:
            return
        if self._file is not None:
            return self._file.append(data)
        if self._speech is not None:
            self._speech.push(bytes(data))
            if self._speech.waiting > MAX_UNSPOKEN:
                problem = f"more than {MAX_UNSPOKEN} characters wait to be spoken"
                raise SeqgenError(problem, remedy="send more of the text when some of it has been heard")
            return
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
        if self._speech is not None:
            self._speech.finish()
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
        if self._speech is not None:
            frames, wanted = self._speech.take(), self._sound.input.times.split()
            self._moments += (one for one in self._speech.moments() if one.kind in wanted)
            return frames
        given, bands = self._sound.input, self.vocoder.features.bands
        size = min(len(self._rest) // self._unit, BLOCK if given.kind == "audio" else FRAME_BLOCK) * self._unit
        if not size:
            return None
        values = np.frombuffer(bytes(self._rest[:size]), self._kind)
        del self._rest[:size]
        if given.kind == "features":
            return values.reshape(-1, bands)
        return values.astype(np.float32) / 32768 if self._kind.kind == "i" else values

    @property
    def _exhausted(self) -> bool:
        """True where no block will come any more."""
        if self._speech is not None:
            return self._speech.finished
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
        self._encoded += len(made)
        return self._output(self._encoder.push(made), self._encoded / self.vocoder.sample_rate) if len(made) else b""

    def seconds(self, made: Audio) -> float:
        return len(made) / self.vocoder.sample_rate

    def ending(self) -> bytes:
        """Bytes that end the output.

        Raises:
            SeqgenError: for a listener who claims to have more of it than there is.
        """
        data = self._output(self._encoder.finish(), math.inf)
        if self._skip:
            raise SeqgenError(f"offset {self._sound.skip} is {self._skip} bytes behind the end", remedy="begin anew")
        return data

    @property
    def backlog(self) -> int | None:
        return 1 if self._skip else None

    def _output(self, sound: bytes, until: float) -> bytes:
        """Sound as it goes out, behind the times of what begins in it; neither where the listener has it already."""
        dropped, skips = min(self._skip, len(sound)), bool(self._skip)
        self._skip -= dropped
        sound = sound[dropped:]
        if not self._sound.records:
            return sound
        told = []
        while self._moments and self._moments[0].start < until - _ROUNDING:
            told.append(encode_moment(self._moments.popleft()))
        if skips and not sound:
            return b""
        return b"".join(told) + (encode_sound(sound, self._encoded) if sound else b"")

    @property
    def finished(self) -> bool:
        return self.stream is not None and self._fed and self.stream.finished
