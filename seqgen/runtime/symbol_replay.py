"""Replay of the golden vectors of language models and translators."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from seqgen.manifest import TranslatorManifest
from seqgen.runtime.contract import Floats
from seqgen.runtime.symbols import SymbolRuntime
from seqgen.runtime.verdict import FLIP_BOUND, PARAMS_TOLERANCE, Verdict

Symbols = npt.NDArray[np.int64]


def replay_symbols(runtime: SymbolRuntime) -> Verdict:
    """Run the golden vectors of a language model or translator through a runtime, as one block and as two.

    ``given [B, T]`` are scored, ``drawn [B, N]`` are made of ``uniforms [B, N]``; a translator conditions both on what
    it makes of ``source [B, S]``.
    """
    translates = isinstance(runtime.manifest, TranslatorManifest)
    golden = runtime.golden_vectors("logits", "drawn", *(["columns"] if translates else []))
    given, uniforms = golden["given"], golden["uniforms"]
    state, error, cond = runtime.init(len(given)), 0.0, None
    if translates:
        made = runtime.columns(golden["source"], golden["lengths"])
        error = _distance(made, golden["columns"])
        cond = columns_for(made, max(given.shape[1], uniforms.shape[1]))
    logits, _ = runtime.step(given, state, _cut(cond, 0, given.shape[1]))
    error = max(error, _distance(logits[:, : golden["logits"].shape[1]], golden["logits"]))
    drawn, _ = runtime.sample(uniforms, state, _cut(cond, 0, uniforms.shape[1]))
    chunked = _in_pieces(runtime, given, uniforms, cond, logits, drawn)
    flips = unexplained = 0
    if not np.array_equal(drawn, golden["drawn"]):
        told, _ = runtime.step(drawn, state, _cut(cond, 0, drawn.shape[1]))
        bound = FLIP_BOUND if runtime.format == "float32" else 0.0
        flips, unexplained = _departures(drawn, golden["drawn"], told, uniforms, bound)
    return Verdict(str(runtime), error, flips, unexplained, chunked)


def columns_for(columns: Floats, positions: int) -> Floats:
    """Columns of so many positions, with zeros behind the last one: ``[B, L, C] → [B, positions, C]``."""
    missing = max(0, positions - columns.shape[1])
    return np.pad(columns[:, :positions], ((0, 0), (0, missing), (0, 0)))


def _cut(cond: Floats | None, start: int, stop: int) -> Floats | None:
    return None if cond is None else cond[:, start:stop]


def _distance(made: Floats, expected: Floats) -> float:
    """Largest difference, relative to the largest number where that is above 1."""
    if made.shape != expected.shape:
        return np.inf
    return float(np.abs(made - expected).max(initial=0) / max(1.0, np.abs(expected).max(initial=0)))


def _in_pieces(
    runtime: SymbolRuntime, given: Symbols, uniforms: Floats, cond: Floats | None, logits: Floats, drawn: Symbols
) -> bool:
    """Test that a stream in uneven pieces has the same logits but for rounding, and the very same symbols."""
    state, scored = runtime.init(len(given)), []
    bounds = [0, 1, given.shape[1] // 3, given.shape[1]]
    for start, stop in pairwise(bounds):
        made, state = runtime.step(given[:, start:stop], state, _cut(cond, start, stop))
        scored.append(made)
    half = uniforms.shape[1] // 2
    first, state = runtime.sample(uniforms[:, :half], runtime.init(len(given)), _cut(cond, 0, half))
    second, _ = runtime.sample(uniforms[:, half:], state, _cut(cond, half, uniforms.shape[1]))
    same = np.array_equal(np.concatenate([first, second], axis=1), drawn)
    return same and _distance(np.concatenate(scored, axis=1), logits) <= PARAMS_TOLERANCE


def _departures(drawn: Symbols, expected: Symbols, logits: Floats, uniforms: Floats, bound: float) -> tuple[int, int]:
    """Streams that leave the golden one through a rounding flip, and those that leave it without excuse."""
    flips = unexplained = 0
    for row in range(len(drawn)):
        different = np.flatnonzero(drawn[row] != expected[row])
        if different.size:
            at = different[0]
            told = logits[row, at].astype(np.float64)
            edges = np.cumsum(np.exp(told - told.max()))
            u = uniforms[row, at]
            low, high = np.searchsorted(edges / edges[-1], [u - bound, u + bound], side="right")
            excused = low <= drawn[row, at] <= high and low <= expected[row, at] <= high
            flips, unexplained = flips + excused, unexplained + (not excused)
    return int(flips), int(unexplained)
