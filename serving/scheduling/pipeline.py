"""Pipeline of one stream: input bytes, samples or frames, the voice, an encoder, output bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError
from serving.scheduling.decoding import Decode, DecodedBody, InlineBody
from serving.scheduling.request import SAMPLE_ENCODINGS, StreamRequest
from serving.sound.body import Body, BodyFile
from serving.sound.formats import byte_rate, encoder, output_rate
from serving.sound.source import BLOCK, FRAME_BLOCK
from serving.voices.vocoder import Audio, StreamingVocoder, VocoderStream, provenance


class StreamPipeline:
    """Pipeline of one stream from the bytes that come in to the bytes that go out; built in the worker that runs it.

    Example:
        >>> pipeline = StreamPipeline(vocoder, StreamRequest(form="pcm"))
        >>> pipeline.push(body); pipeline.finish()
        >>> while (shape := pipeline.shape(1)): ...   # the batcher steps it
    """

    def __init__(self, vocoder: StreamingVocoder, request: StreamRequest, decode: Decode = InlineBody) -> None:
        self.vocoder, self.request, self._decode = vocoder, request, decode
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
        self._skip = request.skip  # bytes still to be dropped
        if request.input.kind != "file":
            given = request.input.rate if request.input.kind == "audio" else None
            self.stream = vocoder.start(request.settings, rate=given)

    def push(self, data: bytes | memoryview) -> None:
        """More input; samples and frames wait until they are needed.

        Raises:
            SeqgenError: for more seconds than are taken.
        """
        if self._complete:
            return
        if self._file is not None:
            return self._file.append(data)
        self._rest += data
        self._taken += len(data)
        if self.request.seconds(self.vocoder, self._taken) > self.request.longest:
            raise SeqgenError(
                f"more than {self.request.longest:g} s came in one utterance", remedy="flush or close it in between"
            )

    def finish(self) -> None:
        """The input is complete.

        Raises:
            SeqgenError: for a file that is neither audio nor features, or input that ends in the middle of a sample.
        """
        if self._complete:
            return
        self._complete = True
        if self._file is None and (left := len(self._rest) % self._unit):
            raise SeqgenError(f"the input ends {left} bytes into a sample or frame", remedy="send whole ones")
        if self._file is not None:
            request = self.request
            body = Body(self._file, request.input.content_type, self.vocoder.features, request.longest)
            self._body = self._decode(body)

    def shape(self, frames: int) -> tuple[int, int, float] | None:
        """Shape of the next step, as :meth:`VocoderStream.shape`, after taking as much input as it needs and is there.

        Raises:
            SeqgenError: for what is wrong with the input.
        """
        if self.stream is None:
            if self._body is None or not self._body.open:
                return None
            self.stream = self.vocoder.start(self.request.settings, rate=self._body.rate)
        while (shape := self.stream.shape(frames)) is None and not self._fed:
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
        """State of a body that is complete while its next block is still being decoded."""
        return self._body is not None and not self._body.over

    def close(self) -> None:
        """Nobody needs the rest."""
        if self._body is not None:
            self._body.close()
        elif self._file is not None:
            self._file.close()

    def _next(self) -> npt.NDArray[Any] | None:
        """Next block of the input: samples ``[N]`` or frames ``[F, n_mels]``; ``None`` where there is none now."""
        if self._body is not None:
            return self._body.take()
        given, bands = self.request.input, self.vocoder.features.n_mels
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
        """End of the input: no block will come any more."""
        return self._body.over if self._body is not None else self._complete and not self._rest

    @property
    def _kind(self) -> np.dtype[Any]:
        given = self.request.input
        return np.dtype(SAMPLE_ENCODINGS[given.encoding] if given.kind == "audio" else "<f4")

    @property
    def _unit(self) -> int:
        """Bytes of a sample or frame."""
        return self._kind.itemsize * (1 if self.request.input.kind == "audio" else self.vocoder.features.n_mels)

    def encode(self, audio: Audio) -> bytes:
        """Bytes of the samples that the stream just made."""
        return self._unheard(self._encoder.push(audio)) if len(audio) else b""

    def ending(self) -> bytes:
        """Bytes that end the sound.

        Raises:
            SeqgenError: for a listener who claims to have more of it than there is.
        """
        data = self._unheard(self._encoder.finish())
        if self._skip:
            raise SeqgenError(f"offset {self.request.skip} is {self._skip} bytes behind the end", remedy="begin anew")
        return data

    @property
    def skipping(self) -> bool:
        """Whether what is being made is dropped, as the listener has it already."""
        return self._skip > 0

    def _unheard(self, data: bytes) -> bytes:
        dropped = min(self._skip, len(data))
        self._skip -= dropped
        return data[dropped:]

    @property
    def finished(self) -> bool:
        """Whether everything owed has been made."""
        return self.stream is not None and self._fed and self.stream.finished
