"""Language models and translators through the native engine, without onnxruntime and without torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqgen.runtime.contract import Floats, State
from seqgen.runtime.native import MAX_STREAMS, Engine, EngineRuntime
from seqgen.runtime.symbols import SymbolRuntime, Symbols

Blobs = npt.NDArray[np.uint8]
_PREVIOUS = slice(16, 20)
"""Bytes of a state blob that hold the last symbol: ``StateHeader`` of the engine's ``body.hpp``."""


def score(engine: Engine, x: Symbols, states: Blobs, columns: Floats) -> Floats:
    """Logits of given symbols, float32 ``[B, T, V]``; ``states`` are moved on."""
    logits = np.empty((*x.shape, engine.info.classes), np.float32)
    given = np.ascontiguousarray(x, np.int32)
    for rows in _groups(len(x)):
        engine.run(states[rows], columns[rows], x.shape[1], drawing=False, given={"symbols": given[rows]},
                   made={"logits": logits[rows]})  # fmt: skip
    return logits


def draw(engine: Engine, u: Floats, states: Blobs, columns: Floats, temperature: float = 1.0) -> Symbols:
    """Symbols that uniforms ``u [B, T]`` draw, int64 ``[B, T]``; ``states`` are moved on."""
    drawn = np.empty(u.shape, np.int32)
    given = np.ascontiguousarray(u, np.float32)
    for rows in _groups(len(u)):
        engine.run(states[rows], columns[rows], u.shape[1], drawing=True, given={"uniforms": given[rows]},
                   made={"drawn": drawn[rows]}, temperature=temperature)  # fmt: skip
    return drawn.astype(np.int64)


def _groups(rows: int) -> list[slice]:
    """Slices of as many rows as one call takes."""
    return [slice(first, first + MAX_STREAMS) for first in range(0, rows, MAX_STREAMS)]


class NativeSymbols(EngineRuntime, SymbolRuntime):
    """Runtime that runs ``program.json`` in the native engine. The state is the symbol before, int64 ``[B]``, and all
    that the engine knows of a stream (that symbol included), uint8 ``[B, state_bytes]``.

    Args:
        bundle: a verified bundle. threads: 1, or 2 where the machine grants two cores. format, isa: see
            :class:`~seqgen.runtime.native.Engine`.

    Raises:
        SeqgenError: where the engine is not built or cannot run the bundle.
    """

    def described(self) -> bool:
        info, spec = self.engine.info, self.manifest.spec
        given = info.sample_rate, info.classes, info.channels
        return bool(given == (0, self.manifest.vocab_size, spec.cond_dim))

    def init(self, batch: int) -> State:
        """Fresh streams."""
        return _state(self.engine.init(batch))

    def columns(self, source: Symbols, lengths: npt.NDArray[np.int64]) -> Floats:
        self.require_source(source, lengths)
        return self.engine.columns(source, lengths)

    def step(self, x: Symbols, state: State, cond: Floats | None = None) -> tuple[Floats, State]:
        blobs = self._begun(x, state, cond)
        return score(self.engine, x, blobs, self._columns(x.shape, cond)), _state(blobs)

    def sample(
        self, u: Floats, state: State, cond: Floats | None = None, temperature: float = 1.0
    ) -> tuple[Symbols, State]:
        given = np.asarray(u, np.float32)
        blobs = self._begun(given, state, cond)
        return draw(self.engine, given, blobs, self._columns(given.shape, cond), temperature), _state(blobs)

    def _begun(self, given: npt.NDArray[np.generic], state: State, cond: Floats | None) -> Blobs:
        """A copy of the states' blobs, to be moved on, where all that is given fits."""
        self.require_fit(given, state, cond)
        blobs = state[-1].copy()
        self.require_own(blobs)
        # Of the two places that tell the symbol before, the first leaf counts: a decoder learns it after the step.
        blobs[:, _PREVIOUS] = state[0].astype(np.uint32)[:, None].view(np.uint8)
        return blobs

    def _columns(self, shape: tuple[int, ...], cond: Floats | None) -> Floats:
        return np.empty((*shape, 0), np.float32) if cond is None else np.asarray(cond, np.float32)


def _state(blobs: Blobs) -> State:
    previous = np.ascontiguousarray(blobs[:, _PREVIOUS]).view(np.uint32)[:, 0]
    return previous.astype(np.int64), blobs
