"""Streams of text: a request for one, and its pipeline: a prompt in, symbols, whole characters, lines of JSON out.

A line is ``{"text": "…", "logprobs": {…} or null}``; the last one also has ``finish_reason`` and ``usage``, the symbols
of the prompt and those that were drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from seqgen.errors import SeqgenError
from serving.streams.continuation import Continuation, Piece, record
from serving.streams.contract import ModelFailure, ServedModel, Shape, Step, StreamPipeline, StreamRequest
from serving.streams.decoding import Decode
from serving.streams.text import Passage, TextModel, TextSettings, TextStream, require_text

_BYTE_RATE = 1 << 15  # bytes a second of lines: what waits for a slow reader is bounded by them, not by reading


@dataclass(frozen=True)
class TextRequest(StreamRequest):
    """Request for one stream of text, as a reader made it.

    Attributes:
        settings: of the model. longest: symbols drawn at most; ``None``: as many as a translation may need.
        stops: sequences that end the text, not given out.
        echo: give the prompt out, too. top: most likely symbols to tell of each one; ``None``: no scores.
        prompt: bytes of prompt taken. eager: work beyond reading where nobody else waits.
    """

    settings: TextSettings = field(default_factory=TextSettings)
    longest: int | None = 16
    stops: tuple[str, ...] = ()
    echo: bool = False
    top: int | None = None
    prompt: int = 1 << 16
    eager: bool = True

    def check(self, model: ServedModel) -> None:
        require_text(model).check(self.settings)
        if (self.longest or 0) < 0 or not all(self.stops):
            raise SeqgenError(
                f"{self.longest} symbols and the stop sequences {list(self.stops)} cannot be asked for",
                remedy="give 0 symbols or more, and no stop sequence without a character",
            )

    def pipeline(self, model: ServedModel, decode: Decode) -> TextPipeline:
        return TextPipeline(require_text(model), self)


class TextPipeline(StreamPipeline):
    """Pipeline of one stream of text; built in the worker that runs it."""

    byte_rate = float(_BYTE_RATE)

    def __init__(self, model: TextModel, request: TextRequest) -> None:
        super().__init__(model, request)
        self._text, self._asked = model, request
        self._prompt = bytearray()
        self._stream: TextStream | None = None
        self._continuation = Continuation(model.tokenizer)
        self._echo = Continuation(model.reader, top=request.top)  # of the prompt's scores
        self._prefix = ""  # text that is still to be given out before all else
        self._read = 0  # symbols of the prompt

    def push(self, data: bytes | memoryview) -> None:
        if self._stream is not None:
            return
        self._prompt += data
        if len(self._prompt) > self._asked.prompt:
            raise SeqgenError(
                f"the prompt has more than {self._asked.prompt} bytes", remedy="send the last part of it only"
            )

    def finish(self) -> None:
        if self._stream is not None:
            return
        asked, prompt = self._asked, bytes(self._prompt)
        symbols = self._text.reader.encode(prompt).symbols
        if self._text.source and not len(symbols):
            raise SeqgenError("there is nothing to translate", remedy="send a line of the source language as prompt")
        self._read = len(symbols)
        scored, text = asked.top is not None, prompt.decode("utf-8", "replace")
        self._stream = self._text.start(asked.settings, symbols, longest=asked.longest, scored=scored)
        self._continuation = Continuation(self._text.tokenizer, asked.stops, top=asked.top, offset=len(text))
        self._prefix = text if asked.echo else ""

    def shape(self, units: int) -> Shape | None:
        return None if self._stream is None or self.finished else self._stream.shape(units)

    def step(self, shape: Shape, units: int) -> Step | None:
        stream = self._stream
        if stream is None or self.shape(units) is None:
            return None
        return (stream, stream.step(shape)) if stream.shape(shape[1]) == shape else None

    def duration(self, shape: Shape) -> float:
        return float(shape[1] * self._text.unit)

    def encode(self, made: Passage) -> bytes:
        if made.drawn:
            return self._line(self._continuation.feed(made.symbols, made.logits))
        if not self._asked.echo:
            return b""
        return self._line(Piece("", self._echo.feed(made.symbols, made.logits).scores))

    def seconds(self, made: Passage) -> float:
        return len(made.symbols) * self._text.unit if made.drawn else 0.0

    def ending(self) -> bytes:
        piece, stream = self._continuation.finish(), self._stream
        stopped = self._continuation.stopped or (stream is not None and stream.stopped)
        usage = [self._read, self._continuation.symbols]
        return self._line(piece, finish_reason="stop" if stopped else "length", usage=usage)

    def close(self) -> None:
        self._prompt.clear()

    @property
    def finished(self) -> bool:
        return self._stream is not None and (self._continuation.stopped or self._stream.finished)

    @property
    def decoding(self) -> bool:
        return False

    @property
    def backlog(self) -> int | None:
        stream = self._stream
        return stream.blocks if stream is not None and stream.reading else None

    def _line(self, piece: Piece, **end: Any) -> bytes:
        """Line of JSON of a piece; nothing where there is nothing to tell."""
        text, self._prefix = self._prefix + piece.text, ""
        if not (text or piece.scores or end):
            return b""
        fields = {"text": text, "logprobs": record(piece.scores) if piece.scores else None, **end}
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def completed(model: TextModel, request: TextRequest, prompt: bytes) -> Iterator[dict[str, Any]]:
    """Lines of a whole stream, each made when it is asked for.

    Raises:
        SeqgenError: where the prompt is at fault. ModelFailure: where the model is.
    """
    pipeline, size = TextPipeline(model, request), iter(model.sizes[:-2])
    pipeline.push(prompt)
    pipeline.finish()
    wanted = 1
    while (shape := pipeline.shape(wanted if pipeline.backlog is None else model.sizes[-1])) is not None:
        step = pipeline.step(shape, wanted)
        assert step is not None
        (made,) = model.advance([step])
        if isinstance(made, ModelFailure):
            raise made
        if line := pipeline.encode(made):
            yield json.loads(line)
        wanted = wanted if pipeline.backlog is not None else next(size, wanted)
    yield json.loads(pipeline.ending())
