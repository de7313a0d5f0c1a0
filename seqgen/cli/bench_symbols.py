"""Symbols per second of language models, and words per second of translators: in the native engine, and in torch beside
it.

A model that draws one symbol after the other reads all its weights for each, so that the rate at which it does,
``read_gb_per_second``, says how near it is to what the memory or a cache gives; figures of other programs are compared
by it, whatever the size of their models. Streams side by side share a reading.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgen.presets import SymbolPreset
from seqgen.runtime.native import FORMATS, Engine, Format
from seqgen.runtime.native_symbols import draw

if TYPE_CHECKING:
    from seqgen.bundle import Bundle
    from seqgen.generation.autoregressive import AutoRegressive

SYMBOLS = 32  # of one call
LETTERS = 8  # of a word, and the phonemes of it that are drawn


def measure(given: argparse.Namespace, preset: SymbolPreset | None) -> list[dict[str, Any]]:
    """A bundle through a runtime; or a preset in the engine, with the same network in torch beside it."""
    if preset is None:
        return _bundle(given)
    import torch

    from seqgen.cli import random_symbols

    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as scratch:
        density = random_symbols.write(preset, Path(scratch))
        forms: tuple[Format, ...] = ("int8", "bf16", "float32") if given.compare else (preset.format,)
        rows = [engine(preset, Engine(Path(scratch), format=form), given) for form in forms]
        reference = _torch(preset, density, given)
    if given.compare:
        return [*rows, reference]
    faster = rows[0]["symbols_per_second"] / reference["symbols_per_second"]
    beside = {"torch_symbols_per_second": reference["symbols_per_second"], "x_torch": round(faster, 1)}
    return [rows[0] | beside]


def engine(preset: SymbolPreset, model: Engine, given: argparse.Namespace) -> dict[str, Any]:
    """Speed of the engine on a preset; of a translator a word is read and drawn at a time."""
    streams, info = given.streams, model.info
    if preset.encoder is not None:
        states = model.init(1)

        def word(index: int) -> None:
            spelt = np.full((1, LETTERS), index % info.source_classes)
            columns = model.columns(spelt, np.array([LETTERS]))[:, :LETTERS]
            draw(model, np.full((1, LETTERS), 0.5, np.float32), states.copy(), columns)

        return _row(preset.name, model, 1, _timed(word, given.seconds), LETTERS, words=1)
    states, columns = model.init(streams), np.zeros((streams, SYMBOLS, info.channels), np.float32)

    def some(index: int) -> None:
        u = np.stack([model.uniforms(0, row, index * SYMBOLS, SYMBOLS) for row in range(streams)])
        draw(model, u, states, columns)

    return _row(preset.name, model, streams, _timed(some, given.seconds), SYMBOLS)


def _torch(preset: SymbolPreset, density: AutoRegressive, given: argparse.Namespace) -> dict[str, Any]:
    """Speed of the same decoder in torch, symbol by symbol."""
    import torch

    streams = 1 if preset.encoder is not None else given.streams
    state = density.init_state(streams)
    width = density.body.spec.cond_dim
    columns = torch.zeros(streams, LETTERS, width) if width else None
    u = torch.full((streams, LETTERS, 1), 0.5)

    def some(_: int) -> None:
        with torch.no_grad():
            density.generate(u, state, columns)

    return _speed(preset.name, ("torch", "", "float32"), streams, _timed(some, given.seconds), LETTERS)


def _bundle(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Symbols per second of a bundle's runtime, or of each that there is."""
    from seqgen.bundle import Bundle
    from seqgen.runtime import compared

    bundle = Bundle.open(given.bundle)
    chosen = compared(bundle) if given.compare else [(given.runtime, given.format)]
    return [_runtime(given, bundle, name, form) for name, form in chosen]


def _runtime(given: argparse.Namespace, bundle: Bundle, name: str, form: str) -> dict[str, Any]:
    from seqgen.runtime import open_symbols

    runtime = open_symbols(bundle, name, threads=given.threads, **({"format": form} if form else {}))
    state, width = runtime.init(given.streams), bundle.manifest.spec.cond_dim
    columns = np.zeros((given.streams, SYMBOLS, width), np.float32) if width else None
    u = np.random.default_rng(0).random((given.streams, SYMBOLS), np.float32)

    def some(_: int) -> None:
        runtime.sample(u, state, columns)

    taken = _timed(some, given.seconds)
    runs = runtime.name, runtime.isa, runtime.format
    return _speed(bundle.manifest.name, runs, given.streams, taken, SYMBOLS)


def _timed(work: Callable[[int], None], seconds: float) -> list[float]:
    """Seconds of each call after the first one, three at the least."""
    work(0)
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 3:
        began = time.perf_counter()
        work(1 + len(taken))
        taken.append(time.perf_counter() - began)
    return taken


def _row(name: str, model: Engine, streams: int, taken: list[float], symbols: int, *, words: int = 0) -> dict[str, Any]:
    info = model.info
    made = _speed(name, ("native", info.isa.decode(), FORMATS[info.format]), streams, taken, symbols)
    made["weight_mb"] = round(info.weight_bytes / 1e6, 2)
    middle = float(np.median(taken))
    if words:
        return made | {"words_per_second": round(words / middle), "word_ms_p50": round(1e3 * middle / words, 3)}
    return made | {"read_gb_per_second": round(info.weight_bytes * symbols / middle / 1e9, 1)}


def _speed(name: str, runs: tuple[str, str, str], streams: int, taken: list[float], symbols: int) -> dict[str, Any]:
    """Columns that all rows have, ``runs``: runtime, kernels and format; a call makes ``symbols`` of each stream."""
    steps = np.sort(np.array(taken)) / symbols
    return {
        "preset": name,
        **dict(zip(("runtime", "isa", "format"), runs, strict=True)),
        "streams": streams,
        "symbols_per_second": round(streams / float(np.median(steps))),
        "step_us_p50": round(1e6 * float(np.quantile(steps, 0.5)), 2),
        "step_us_p99": round(1e6 * float(np.quantile(steps, 0.99)), 2),
    }
