"""What one slot works on: bytes in, a stream of a voice, bytes out. Touched by one worker at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError
from serving.encoders import byte_rate, encoder, output_rate
from serving.source import from_body
from serving.vocoder import Audio, Settings, Stream, Vocoder, provenance

SAMPLES = {"s16le": "<i2", "f32le": "<f4"}


@dataclass(frozen=True, slots=True)
class Input:
    """What is pushed: ``kind`` is ``file`` (a whole recording or features file), ``audio`` or ``features``.

    Attributes:
        rate: Hz of audio. encoding: of its samples, a key of ``SAMPLES``. content_type: what a file claims to be.
    """

    kind: str = "file"
    rate: int = 0
    encoding: str = "s16le"
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """What a listener asked for.

    Attributes:
        settings: of the voice. form: one of ``encoders.FORMATS``. input: what will be pushed.
        longest: seconds of input taken. eager: work beyond the usual lead where nobody else waits (downloads).
        rate: Hz of the sound; 0: the voice's own. skip: bytes at its beginning that the listener has already.
    """

    settings: Settings = field(default_factory=Settings)
    form: str = "wav"
    input: Input = field(default_factory=Input)
    longest: float = 600.0
    eager: bool = False
    rate: int = 0
    skip: int = 0

    def seconds(self, vocoder: Vocoder, size: int) -> float:
        """How long that many bytes of incremental input last; 0 for a file, which does not say before it is opened."""
        spec = vocoder.features
        if self.input.kind == "audio":
            return size / (np.dtype(SAMPLES[self.input.encoding]).itemsize * self.input.rate)
        return size / (4 * spec.n_mels) * spec.hop / spec.sample_rate if self.input.kind == "features" else 0.0


class Work:
    """A stream from the bytes that come in to the bytes that go out.

    Example:
        >>> work = Work(vocoder, Order(form="pcm"))
        >>> work.push(body); work.finish()
        >>> while (shape := work.shape(1)): ...   # the bank steps it
    """

    def __init__(self, vocoder: Vocoder, order: Order) -> None:
        self.vocoder, self.order = vocoder, order
        rate = output_rate(order.form, vocoder.sample_rate, order.rate or None)
        self.byte_rate = byte_rate(order.form, rate)
        self.stream: Stream | None = None
        self._encoder = encoder(order.form, vocoder.sample_rate, rate, provenance(vocoder, order.settings))
        self._rest = bytearray()  # a file under way, or the start of a sample or frame
        self._blocks: Iterator[npt.NDArray[Any]] | None = None
        self._taken = 0.0  # seconds of incremental input
        self._skip = order.skip  # bytes still to be dropped
        if order.input.kind != "file":
            given = order.input.rate if order.input.kind == "audio" else None
            self.stream = vocoder.start(order.settings, rate=given)

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
        if self._taken > self.order.longest:
            raise SeqgenError(
                f"more than {self.order.longest:g} s came in one utterance", remedy="flush or close it in between"
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
        source = from_body(body, self.order.input.content_type, self.vocoder.features, longest=self.order.longest)
        self._blocks = source.blocks
        self.stream = self.vocoder.start(self.order.settings, rate=source.rate)

    def shape(self, frames: int) -> tuple[int, int, float] | None:
        """As :meth:`Stream.shape`, after reading as much of a file as that takes."""
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
        """The bytes of what the stream just made."""
        return self._unheard(self._encoder.push(audio)) if len(audio) else b""

    def ending(self) -> bytes:
        """The bytes that end the sound.

        Raises:
            SeqgenError: for a listener who claims to have more of it than there is.
        """
        data = self._unheard(self._encoder.finish())
        if self._skip:
            raise SeqgenError(f"offset {self.order.skip} is {self._skip} bytes behind the end", remedy="begin anew")
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
        given, spec = self.order.input, self.vocoder.features
        return 1 / given.rate if given.kind == "audio" else spec.hop / spec.sample_rate

    def _whole(self) -> npt.NDArray[Any]:
        """The samples ``[N]`` or frames ``[F, n_mels]`` that are complete; what is left of the bytes waits."""
        given, bands = self.order.input, self.vocoder.features.n_mels
        kind = np.dtype(SAMPLES[given.encoding] if given.kind == "audio" else "<f4")
        unit = kind.itemsize * (1 if given.kind == "audio" else bands)
        size = len(self._rest) // unit * unit
        values = np.frombuffer(bytes(self._rest[:size]), kind)
        del self._rest[:size]
        if given.kind == "features":
            return values.reshape(-1, bands)
        return values.astype(np.float32) / 32768 if kind.kind == "i" else values
