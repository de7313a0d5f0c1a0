"""Contract between scheduling and what is streamed: a model, requests to it, and the pipeline of one stream.

A stream's body is sound (:mod:`serving.streams.sound`) or text (:mod:`serving.streams.text_pipeline`).
Slots, turns, admission, workers and leases know what stands here and nothing else of either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from serving.streams.decoding import Decode

Shape = tuple[Any, ...]
"""Shape of a stream's next step: those of one model whose shapes are equal may share a call of its runtime."""
Step = tuple[Any, Any]
"""Stream and its share of a call."""
Clock = Callable[[], float]


class ModelFailure(RuntimeError):
    """Error for a model that itself went wrong (NaN, or a runtime that broke its contract): not the caller's fault."""


class ServedModel(ABC):
    """Model of a bundle, which starts any number of streams; itself unchanging, so threads may share it.

    A stream is stepped by units: frames of sound, symbols of text.

    Attributes:
        name: by which it is served. manifest, runtime: of its bundle. batch: streams that one call may hold.
        sizes: units that a call may make of each stream: small at first, so that it begins soon; larger later, to save
            calls. unit: seconds that one takes to be heard or read.
    """

    sizes: ClassVar[tuple[int, ...]]
    name: str
    manifest: Any
    runtime: Any
    batch: int
    unit: float

    @property
    @abstractmethod
    def label(self) -> str:
        """Label for an operator: ``voice 'zoe' at 24000 Hz``."""

    @abstractmethod
    def advance(self, steps: Sequence[Step]) -> list[Any]:
        """Results of one call of the runtime for steps of the same shape: per stream what it made, or a
        :class:`ModelFailure`, which is not its neighbours'."""

    @abstractmethod
    def warm_up(self) -> None:
        """Make a moment of output and drop it, so that the first listener does not pay for what is set up lazily.

        Raises:
            ModelFailure: where the model does not work.
        """

    @abstractmethod
    def measure(self, streams: int, clock: Clock) -> float:
        """Seconds of computing per second of output of a call for that many streams, at best.

        Raises:
            ModelFailure: where the model does not work.
        """


class StreamRequest(ABC):
    """Request for one stream, as it crosses to the worker that runs it."""

    eager: bool
    """Whether to work beyond the usual lead where nobody else waits."""

    @abstractmethod
    def check(self, model: ServedModel) -> None:
        """Refuse what a model cannot follow, before any worker has a stream of it.

        Raises:
            SeqgenError: naming what is not offered.
        """

    @abstractmethod
    def pipeline(self, model: ServedModel, decode: Decode) -> StreamPipeline:
        """Pipeline of the stream, built in the worker that runs it; ``decode`` begins to decode a whole body."""

    @property
    def reads_aloud(self) -> bool:
        """Whether its input is a text that is spoken, which a worker reads within its turns."""
        return False

    def seconds(self, model: ServedModel, size: int) -> float:
        """Duration of that many bytes of input; 0 where it does not say before it is opened."""
        return 0.0

    def waiting(self, model: ServedModel, seconds: float) -> int:
        """Bytes of input that so many seconds of it are, as which it may wait in a worker."""
        return round(seconds / self.seconds(model, 1))

    def surcharge(self, model: ServedModel, costs: Any) -> float:
        """Seconds of computing per second of output beside the model, by what was measured of codecs."""
        return 0.0


class StreamPipeline(ABC):
    """Pipeline of one stream from the bytes that come in to the bytes that go out.

    Args:
        model, request: of the stream.

    Attributes:
        byte_rate: bytes of output in a second of it, by which what waits for a slow reader is bounded.
    """

    byte_rate: float

    def __init__(self, model: ServedModel, request: StreamRequest) -> None:
        self.model, self.request = model, request

    @abstractmethod
    def push(self, data: bytes | memoryview) -> None:
        """More input. Raises SeqgenError for more than is taken."""

    @abstractmethod
    def finish(self) -> None:
        """The input is complete. Raises SeqgenError for what cannot be input."""

    @abstractmethod
    def shape(self, units: int) -> Shape | None:
        """Shape of the next step, of so many units where it may choose, after taking as much of the input as that
        needs; ``None`` while too little is there. Raises SeqgenError for what is wrong with the input."""

    @abstractmethod
    def step(self, shape: Shape, units: int) -> Step | None:
        """Share in a call of that shape, or ``None`` where the next step cannot have it."""

    @abstractmethod
    def duration(self, shape: Shape) -> float:
        """Seconds of output that a step of this shape is worth."""

    @abstractmethod
    def encode(self, made: Any) -> bytes:
        """Bytes of what a step made."""

    @abstractmethod
    def seconds(self, made: Any) -> float:
        """Seconds of output that a step made."""

    @abstractmethod
    def ending(self) -> bytes:
        """Bytes that end the output."""

    @abstractmethod
    def close(self) -> None:
        """Nobody needs the rest."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """True where everything owed has been made."""

    @property
    @abstractmethod
    def decoding(self) -> bool:
        """True where the input is complete, and the next of it is still being decoded."""

    @property
    @abstractmethod
    def backlog(self) -> int | None:
        """Number of steps that it has had of work which gives its listener nothing yet, where the next is one more of
        them: sound made again for one who has it, a long prompt. 0: the first, as soon as any newcomer's; later ones
        wait for those with little in hand. ``None``: the next step gives something."""
