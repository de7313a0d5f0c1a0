"""Text models without a network: their distributions are a plain function of what was read, exact for any chunking."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from seqgen.config import Component
from seqgen.manifest import PREVIOUS
from seqgen.runtime.symbols import SymbolRuntime
from seqgen.spec import StateLeaf
from seqgen.text.tokenizer import tokenizer
from serving.streams.text import TextModel

BYTES = tokenizer(Component("bytes", {}))
LETTERS = "abcdefghijklmnopqrstuvwxyz äöüß€\n"


class FakeSymbolRuntime(SymbolRuntime):
    """Runtime whose next symbol hangs on the last ones read; or, of a ``script``, is its next one, whatever was read.

    Options: seconds of ``delay`` a call; ``fail_at`` a symbol drawn; ``nan`` logits; a ``gate`` to wait for.
    """

    def __init__(self, bundle: Any, tokenizer: Any, source: Any, script: list[int] | None = None) -> None:
        self.bundle, self.manifest = bundle, bundle.manifest
        self.tokenizer, self.source_tokenizer, self.script = tokenizer, source, script
        self.delay, self.nan = 0.0, False
        self.fail_at = -1
        self.gate: threading.Event | None = None
        self.calls: list[tuple[str, int, int]] = []

    def init(self, batch: int) -> Any:
        return np.zeros(batch, np.int64), np.zeros(batch, np.int64), np.zeros(batch, np.int64)

    def columns(self, source: Any, lengths: Any) -> Any:
        """Every symbol of the source is a column."""
        self._called("columns", source)
        return source[:, :, None].astype(np.float32)

    def step(self, x: Any, state: Any, cond: Any = None) -> Any:
        self._called("step", x)
        logits = []
        for at in range(x.shape[1]):
            logits.append(self._logits(state, None if cond is None else cond[:, at]))
            state = self._after(x[:, at], state)
        return np.stack(logits, 1), state

    def sample(self, u: Any, state: Any, cond: Any = None, temperature: float = 1.0) -> Any:
        self._called("sample", u)
        made = []
        for at in range(u.shape[1]):
            p = self._logits(state, None if cond is None else cond[:, at]).astype(np.float64) / max(temperature, 1e-3)
            p = np.exp(p - p.max(1, keepdims=True))
            below = np.cumsum(p / p.sum(1, keepdims=True), 1)
            symbols = np.minimum((below > u[:, at : at + 1]).argmax(1), self.manifest.vocab_size - 1)
            if (symbols == self.fail_at).any():
                raise ArithmeticError("the fake model was told to fail")
            made.append(symbols)
            state = self._after(symbols, state)
        return np.stack(made, 1), state

    def _called(self, what: str, given: Any) -> None:
        self.calls.append((what, *given.shape))
        if self.gate is not None:
            assert self.gate.wait(60)
        time.sleep(self.delay)

    def _logits(self, state: Any, column: Any) -> Any:
        previous, memory, position = state
        size = self.manifest.vocab_size
        if self.script is not None:
            logits = np.full((len(previous), size), -50.0)
            logits[np.arange(len(previous)), [self.script[p % len(self.script)] for p in position]] = 50
        else:
            seen = (memory * 31 + previous * 7) % 1009
            logits = np.sin(seen[:, None] * 0.7 + np.arange(size) * 1.3) * 2
        if column is not None:
            logits = logits * 0.01
            logits[np.arange(len(previous)), column[:, 0].astype(int)] = 50
        return (logits * (np.nan if self.nan else 1)).astype(np.float32)

    def _after(self, symbols: Any, state: Any) -> Any:
        previous, memory, position = state
        return symbols, (memory * 31 + previous * 7 + 1) % 1009, position + 1


def fake_text(
    *, name: str = "lm", script: bytes | None = None, batch: int = 16, letters: str = "", translator: bool = False
) -> TextModel:
    """A text model over :class:`FakeSymbolRuntime`; it is reached as ``.runtime``."""
    of = tokenizer(Component("characters", {"characters": letters})) if letters else BYTES
    manifest = SimpleNamespace(
        name=name,
        digest="1" * 64,
        kind="translator" if translator else "language-model",
        licence="CC0",
        vocab_size=of.vocab_size,
        state=(PREVIOUS, StateLeaf("memory", (), "int64"), StateLeaf("position", (), "int64")),
    )
    bundle: Any = SimpleNamespace(manifest=manifest)
    symbols = None if script is None else [int(one) for one in of.encode(script).symbols]
    runtime = FakeSymbolRuntime(bundle, of, of if translator else None, symbols)
    return TextModel(bundle, runtime, batch=batch)
