"""Text models: a prompt in, text out, symbol by symbol; no sockets, threads or clocks in here.

A language model reads its prompt and goes on with it; a translator reads its prompt as the source and writes the
target.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.runtime.native import MAX_STREAMS
from serving.streams.contract import Clock, ModelFailure, ServedModel, Shape, Step

if TYPE_CHECKING:
    from seqgen.bundle import Bundle
    from seqgen.runtime.contract import State
    from seqgen.runtime.symbols import SymbolRuntime
    from seqgen.text.tokenizer import Tokenizer

log = logging.getLogger("seqgen.serving")
Symbols = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
READING_RATE = 32
"""Symbols a second that every stream is promised while others wait: faster than one reads (250 words a minute are 25
characters a second). What there is beyond it is a download's. A power of two, so that seconds are exact."""
MAX_TEMPERATURE = 2.0
"""Highest sampling temperature, as of the OpenAI interface."""
_CALLS, _SYMBOLS = 4, 8  # of the calls that are measured
_BEYOND = 2  # times as long as expected a translation may be
_READ, _DRAW, _ENCODE = "read", "draw", "encode"


@dataclass(frozen=True, slots=True)
class TextSettings:
    """Settings of a text model that a reader may choose. The same settings and the same prompt give the same text.

    Attributes:
        seed: 0 … 2^64 - 1. temperature: 0 (most likely symbol) … ``MAX_TEMPERATURE``.
        top_p: probability of the most likely symbols that are drawn from, 1 of all.
        stream: number of the noise stream under this seed.
    """

    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    stream: int = 0


class Passage(NamedTuple):
    """Symbols of one call.

    Attributes:
        symbols: ``[N]``. logits: ``[N, vocab_size]`` of each given what was before it, where they were asked for.
        drawn: whether the model drew them; else they are the prompt's.
    """

    symbols: Symbols
    logits: Floats | None
    drawn: bool


class TextStep(NamedTuple):
    """Share of one stream in a call of the runtime.

    Attributes:
        given: symbols ``[N]`` that are read, uniforms ``[N]`` that are drawn by, or a source ``[S]``.
        cond: columns ``[N, C]`` of a translator.
    """

    given: npt.NDArray[Any]
    cond: Floats | None


class TextModel(ServedModel):
    """Language model or translator of one bundle.

    Args:
        bundle: its manifest says what it is. runtime: what runs it, with its tokenizers.
        batch: streams that one call may hold without a change in anybody's symbols; by default as many as the native
            engine takes, and 1 for any other runtime, which promises no such thing.

    Attributes:
        tokenizer: of what it writes. source: of what a translator reads; ``None`` for a language model.

    Example:
        >>> stream = model.start(TextSettings(seed=7), prompt, longest=100)                     # doctest: +SKIP
    """

    sizes: ClassVar[tuple[int, ...]] = (1, 2, 4, 8, 16, 32)  # the last also of a prompt, so that none holds up others
    unit = 1 / READING_RATE

    def __init__(self, bundle: Bundle, runtime: SymbolRuntime, *, batch: int | None = None) -> None:
        self.manifest, self.runtime = bundle.manifest, runtime
        self.tokenizer, self.source = runtime.tokenizer, runtime.source_tokenizer
        self.name = bundle.manifest.name
        self.batch = batch or (MAX_STREAMS if runtime.name == "native" else 1)
        self.initial_state = runtime.init(1)  # states are values: every stream may start from this one

    @property
    def label(self) -> str:
        return f"{self.manifest.kind} '{self.name}' of {self.tokenizer.unit}s"

    @property
    def reader(self) -> Tokenizer:
        """Tokenizer of prompts."""
        return self.source or self.tokenizer

    def check(self, settings: TextSettings) -> None:
        """Refuse settings that no text model can follow, in one line.

        Raises:
            SeqgenError: for a seed, temperature or share out of range.
        """
        for name, value, least, most in (
            ("seed", settings.seed, 0, 2**64 - 1),
            ("temperature", settings.temperature, 0, MAX_TEMPERATURE),
            ("top_p", settings.top_p, 0, 1),
        ):
            if not least <= value <= most:  # also refuses NaN
                raise SeqgenError(f"{name} {value} is out of range", remedy=f"choose {least} to {most:g}")

    def start(
        self, settings: TextSettings, prompt: Symbols, *, longest: int | None, scored: bool = False
    ) -> TextStream:
        """New stream that draws ``longest`` symbols at most, of a translation by default twice what its source lets
        expect; ``scored``: with their logits."""
        self.check(settings)
        return TextStream(self, settings, prompt, longest=longest, scored=scored)

    def warm_up(self) -> None:
        self.measure(1, lambda: 0.0)

    def measure(self, streams: int, clock: Clock) -> float:
        prompt = np.ones(1, np.int64) if self.source else np.zeros(0, np.int64)
        longest = _CALLS * _SYMBOLS
        running = [self.start(TextSettings(stream=number), prompt, longest=longest) for number in range(streams)]
        if self.source:
            self._made([(stream, stream.step((_ENCODE, 1))) for stream in running])
        taken = []
        for _ in range(_CALLS):
            began = clock()
            self._made([(stream, stream.step((_DRAW, _SYMBOLS, 1.0, 1.0, False))) for stream in running])
            taken.append((clock() - began) / (_SYMBOLS * self.unit))
        return min(taken)  # whatever else happens in a call only makes it longer

    def _made(self, steps: Sequence[Step]) -> None:
        for made in self.advance(steps):
            if isinstance(made, ModelFailure):
                raise made

    def advance(self, steps: Sequence[Step]) -> list[Passage | ModelFailure]:
        streams: list[TextStream] = [stream for stream, _ in steps]
        try:
            return self._advance(streams, [step for _, step in steps])
        except Exception as error:
            if len(steps) > 1:  # only the stream that is at fault shall pay for it
                return [passage for step in steps for passage in self.advance([step])]
            log.exception("'%s' failed", self.name)
            return [error if isinstance(error, ModelFailure) else ModelFailure(f"'{self.name}': {error}")]

    def _advance(self, streams: Sequence[TextStream], steps: Sequence[TextStep]) -> list[Passage | ModelFailure]:
        """Passages of one call, each stream's state moved on."""
        shape: tuple[Any, ...] = streams[0].pending
        given = np.stack([step.given for step in steps])  # [B, N]
        if shape[0] == _ENCODE:
            columns = self.runtime.columns(given, np.full(len(steps), given.shape[1]))  # [B, L, C]
            for stream, row in zip(streams, columns, strict=True):
                stream.translate(row)
            return [Passage(np.zeros(0, np.int64), None, drawn=False) for _ in streams]
        state = tuple(np.concatenate(leaf) for leaf in zip(*(stream.state for stream in streams), strict=True))
        conditioned = [step.cond for step in steps if step.cond is not None]
        cond = np.stack(conditioned) if conditioned else None  # [B, N, C]
        if shape[0] == _READ:
            symbols = given
            logits, after = self.runtime.step(symbols, state, cond)  # [B, N, V]
        else:
            _, _, temperature, top_p, scored = shape
            symbols, logits, after = self._draw(given, state, cond, temperature, top_p, scored=scored)
        if symbols.shape != given.shape:
            raise ModelFailure(f"'{self.name}' gave {symbols.shape} for {given.shape} symbols")
        return [
            stream.accept(symbols[row], None if logits is None else logits[row], [one[row : row + 1] for one in after])
            for row, stream in enumerate(streams)
        ]

    def _draw(
        self, u: Floats, state: State, cond: Floats | None, temperature: float, top_p: float, *, scored: bool
    ) -> tuple[Symbols, Floats | None, State]:
        """Next symbols ``[B, N]`` by their uniforms, their logits where asked for, and the state after them."""
        if top_p == 1:
            symbols, after = self.runtime.sample(u, state, cond, temperature)
            return symbols, self.runtime.step(symbols, state, cond)[0] if scored else None, after
        drawn: list[Symbols] = []
        scores: list[Floats] = []
        for at in range(u.shape[1]):
            column = None if cond is None else cond[:, at : at + 1]
            # What is read comes after its own distribution, so any symbol may stand in for the one that is yet to be
            # drawn; the state's first leaf is the symbol before, which then is the one that was.
            logits, state = self.runtime.step(np.zeros((len(u), 1), np.int64), state, column)
            symbols = nucleus(logits[:, 0], u[:, at], temperature, top_p)
            state = (symbols, *state[1:])
            drawn.append(symbols)
            scores.append(logits[:, 0])
        return np.stack(drawn, 1), np.stack(scores, 1) if scored else None, state


def nucleus(logits: Floats, u: Floats, temperature: float, top_p: float) -> Symbols:
    """Symbols ``[B]`` drawn by uniforms ``[B]`` among the fewest most likely ones whose probability is ``top_p``.

    Source: Holtzman et al., The Curious Case of Neural Text Degeneration, ICLR 2020, section 3.1.
    """
    scaled = logits.astype(np.float64) / max(temperature, 1e-3)
    order = np.argsort(-scaled, axis=1, kind="stable")
    sorted_ = np.take_along_axis(scaled, order, 1)
    p = np.exp(sorted_ - sorted_[:, :1])
    p /= p.sum(1, keepdims=True)
    p[np.cumsum(p, 1) - p >= max(top_p, 1e-9)] = 0  # those before it suffice
    below = np.cumsum(p, 1)
    place = (below > u[:, None] * below[:, -1:]).argmax(1)
    return np.take_along_axis(order, place[:, None], 1)[:, 0]


class TextStream:
    """Stream of one continuation: the prompt is read in blocks, then symbols are drawn.

    Noise is indexed by the position among the symbols drawn, and a model either gives the same symbols for any cut into
    calls and any company in them, or its calls follow ``TextModel.sizes`` alone.

    Attributes:
        state: the runtime's, one row. drawn: symbols drawn so far. blocks: of the prompt that were read.
        stopped: whether the symbol that ends a text was drawn.
    """

    def __init__(
        self, model: TextModel, settings: TextSettings, prompt: Symbols, *, longest: int | None, scored: bool = False
    ) -> None:
        self._model, self._settings, self._scored = model, settings, scored
        self._prompt, self._open = prompt, longest is None
        self._longest = longest or 0
        self._columns: Floats | None = None
        self.state: State = model.initial_state
        self.pending: Shape = (_DRAW,)  # of the step under way
        self.drawn = self.blocks = self._calls = self._read = 0
        self.stopped = False

    @property
    def reading(self) -> bool:
        """True where some of the prompt is still to be read."""
        return self._read < len(self._prompt)

    @property
    def finished(self) -> bool:
        """True where nothing is left to read or draw."""
        return not self.reading and (self.stopped or self.drawn >= self._longest)

    def shape(self, wanted: int) -> Shape | None:
        """Shape of the next step, of so many symbols where it may choose."""
        if self.finished:
            return None
        if self.reading:
            left = len(self._prompt) - self._read
            block = wanted if self._model.batch > 1 else self._model.sizes[-1]
            return (_ENCODE, left) if self._model.source else (_READ, min(block, left), self._scored)
        if self._model.batch == 1:
            wanted = self._model.sizes[min(self._calls, len(self._model.sizes) - 1)]
        settings = self._settings
        return _DRAW, min(wanted, self._longest - self.drawn), settings.temperature, settings.top_p, self._scored

    def step(self, shape: Shape) -> TextStep:
        """Share in a call of that shape, which has to be made next."""
        self.pending = shape
        count = shape[1]
        if shape[0] != _DRAW:
            return TextStep(self._prompt[self._read : self._read + count], None)
        settings = self._settings
        u = noise.block(settings.seed, settings.stream, self.drawn, count)
        if self._columns is None:
            return TextStep(u, None)
        cond = self._columns[self.drawn : self.drawn + count]
        return TextStep(u, np.pad(cond, ((0, count - len(cond)), (0, 0))))  # beyond the last column are zeros

    def translate(self, columns: Floats) -> None:
        """Take the columns ``[L, C]`` of the source."""
        self._columns, self._read = columns, len(self._prompt)
        self._longest = _BEYOND * len(columns) if self._open else self._longest

    def accept(
        self, symbols: Symbols, logits: Floats | None, state: Sequence[npt.NDArray[Any]]
    ) -> Passage | ModelFailure:
        """Take what a call made of the last step."""
        if logits is not None and not np.isfinite(logits).all():
            return ModelFailure(f"'{self._model.name}' gave NaN after symbol {self._read + self.drawn}")
        self.state = tuple(state)
        if self.pending[0] == _READ:
            self._read += len(symbols)
            self.blocks += 1
            return Passage(symbols, logits if self._scored else None, drawn=False)
        self._calls += 1
        self.drawn += len(symbols)
        stop = self._model.tokenizer.stop
        ends = np.flatnonzero(symbols == (-1 if stop is None else stop))
        if len(ends):
            self.stopped = True
            symbols, logits = symbols[: ends[0]], None if logits is None else logits[: ends[0]]
        return Passage(symbols, logits, drawn=True)


def require_text(model: ServedModel) -> TextModel:
    """Model that is a text model.

    Raises:
        SeqgenError: for one that makes sound.
    """
    if not isinstance(model, TextModel):
        raise SeqgenError(
            f"'{model.name}' is a {model.manifest.kind}: it makes sound", remedy="send it to POST /v1/vocode"
        )
    return model
