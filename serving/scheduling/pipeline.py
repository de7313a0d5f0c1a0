"""Pipeline of one stream: input bytes, samples or frames, the voice, an encoder, output bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError
from serving.scheduling.request import SAMPLE_ENCODINGS, StreamRequest
from serving.sound.formats import byte_rate, encoder, output_rate
from serving.sound.source import from_body
from serving.voices.vocoder import Audio, StreamingVocoder, VocoderStream, provenance


class StreamPipeline:
    """Pipeline of one stream from the bytes that come in to the bytes that go out; built in the worker that runs it.

    Example:
        >>> pipeline = StreamPipeline(vocoder, StreamRequest(form="pcm"))
        >>> pipeline.push(body); pipeline.finish()
        >>> while (shape := pipeline.shape(1)): ...   # the batcher steps it
    """

    def __init__(self, vocoder: StreamingVocoder, request: StreamRequest) -> None:
        self.vocoder, self.request = vocoder, request
        rate = output_rate(request.form, vocoder.sample_rate, request.rate or None)
        self.byte_rate = byte_rate(request.form, rate)
        self.stream: VocoderStream | None = None
        self._encoder = encoder(request.form, vocoder.sample_rate, rate, provenance(vocoder, request.settings))
        self._rest = bytearray()  # a file under way, or the start of a sample or frame
        self._blocks: Iterator[npt.NDArray[Any]] | None = None
        self._taken = 0.0  # seconds of incremental input
        self._skip = request.skip  # bytes still to be dropped
        if request.input.kind != "file":
            given = request.input.rate if request.input.kind == "audio" else None
            self.stream = vocoder.start(request.settings, rate=given)

    def push(self, data: bytes) -> None:
        """More input.

        Raises:
            SeqgenError: for NaN, or more seconds than are taken.
        """
        self._rest += data
        if self.stream is None or self._blocks is not None:
            return
        block = self._whole()
        seconds = len(block) * self._unit_seconds
        self._taken += seconds
        if self._taken > self.request.longest:
            raise SeqgenError(
                f"more than {self.request.longest:g} s came in one utterance", remedy="flush or close it in between"
            )
        self.stream.push(block)

    def finish(self) -> None:
        """The input is complete.

        Raises:
            SeqgenError: for a file that is neither audio nor features, or input that ends in the middle of a sample.
        """
        if self.stream is not None:
            if self._rest:
                raise SeqgenError(
                    f"the input ends {len(self._rest)} bytes into a sample or frame", remedy="send whole ones"
                )
            self.stream.finish()
            return
        body, self._rest = bytes(self._rest), bytearray()
        source = from_body(body, self.request.input.content_type, self.vocoder.features, longest=self.request.longest)
        self._blocks = source.blocks
        self.stream = self.vocoder.start(self.request.settings, rate=source.rate)

    def shape(self, frames: int) -> tuple[int, int, float] | None:
        """As :meth:`VocoderStream.shape`, after reading as much of a file as that takes."""
        if self.stream is None:
            return None
        while (shape := self.stream.shape(frames)) is None and self._blocks is not None:
            block = next(self._blocks, None)
            if block is None:
                self._blocks = None
                self.stream.finish()
            else:
                self.stream.push(block)
        return shape

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
        return self.stream is not None and self._blocks is None and self.stream.finished

    @property
    def _unit_seconds(self) -> float:
        given, spec = self.request.input, self.vocoder.features
        return 1 / given.rate if given.kind == "audio" else spec.hop / spec.sample_rate

    def _whole(self) -> npt.NDArray[Any]:
        """Samples ``[N]`` or frames ``[F, n_mels]`` that are complete; what is left of the bytes waits."""
        given, bands = self.request.input, self.vocoder.features.n_mels
        kind = np.dtype(SAMPLE_ENCODINGS[given.encoding] if given.kind == "audio" else "<f4")
        unit = kind.itemsize * (1 if given.kind == "audio" else bands)
        size = len(self._rest) // unit * unit
        values = np.frombuffer(bytes(self._rest[:size]), kind)
        del self._rest[:size]
        if given.kind == "features":
            return values.reshape(-1, bands)
        return values.astype(np.float32) / 32768 if kind.kind == "i" else values
