"""Runtime of language models and translators over onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqgen.bundle import Bundle
from seqgen.runtime.contract import Floats, State
from seqgen.runtime.onnx_session import session
from seqgen.runtime.symbols import SymbolRuntime, Symbols

if TYPE_CHECKING:
    import onnxruntime

PIECE = 1024
"""Positions that one call scores at most: its memory grows with them, its speed hardly beyond these."""


class OnnxSymbols(SymbolRuntime):
    """Runtime that runs ``loop.onnx`` (sampling), ``step.onnx`` (likelihood) and ``encoder.onnx`` (columns), each
    loaded when first used.

    Args:
        bundle: a verified bundle. threads: cores one call may use.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle)
        self._threads = threads
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def _session(self, name: str) -> onnxruntime.InferenceSession:
        found = self._sessions.get(name)
        if found is None:
            found = self._sessions[name] = session(self.bundle, name, self._threads)
        return found

    def _run(
        self, graph: str, inputs: dict[str, npt.NDArray[Any]], state: State, cond: Floats | None
    ) -> tuple[npt.NDArray[Any], State]:
        names = [f"state.{leaf.name}" for leaf in self.manifest.state]
        feeds = inputs | dict(zip(names, state, strict=True))
        if cond is not None:
            feeds["columns"] = np.asarray(cond, np.float32)
        made, *after = self._session(graph).run(None, feeds)
        return made, tuple(after)

    def columns(self, source: Symbols, lengths: npt.NDArray[np.int64]) -> Floats:
        self.require_source(source, lengths)
        feeds = {"source": np.asarray(source, np.int64), "lengths": np.asarray(lengths, np.int64)}
        made: Floats = self._session("encoder.onnx").run(None, feeds)[0]
        return made

    def step(self, x: Symbols, state: State, cond: Floats | None = None) -> tuple[Floats, State]:
        self.require_fit(x, state, cond)
        made: list[Floats] = [np.zeros((len(x), 0, self.manifest.vocab_size), np.float32)]
        for start in range(0, x.shape[1] if len(x) else 0, PIECE):
            piece = slice(start, start + PIECE)
            part = None if cond is None else cond[:, piece]
            logits, state = self._run("step.onnx", {"x": np.asarray(x[:, piece], np.int64)}, state, part)
            made.append(logits)
        return made[1] if len(made) == 2 else np.concatenate(made, axis=1), state

    def sample(
        self, u: Floats, state: State, cond: Floats | None = None, temperature: float = 1.0
    ) -> tuple[Symbols, State]:
        given = np.asarray(u, np.float32)
        self.require_fit(given, state, cond)
        if not given.size:  # onnxruntime dies of an empty Scan
            return np.zeros(given.shape, np.int64), state
        inputs = {"uniforms": given, "temperature": np.asarray(temperature, np.float32)}
        return self._run("loop.onnx", inputs, state, cond)
