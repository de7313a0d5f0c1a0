"""Frames per second of a feature extractor's runtimes, and how much faster than real time that is."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.bundle import Bundle
from seqgen.presets import EncoderPreset
from seqgen.runtime import compared, open_encoder

SECONDS = 0.5  # of audio of each stream that a call encodes


def measure(given: argparse.Namespace, preset: EncoderPreset | None) -> list[dict[str, Any]]:
    """A bundle, or that of a preset, through a runtime or through each that there is."""
    if preset is None:
        return _bundle(given, Bundle.open(given.bundle))
    from seqgen.cli import random_encoders  # a bundle needs no torch

    with tempfile.TemporaryDirectory() as scratch:
        return _bundle(given, random_encoders.export(preset, Path(scratch)))


def _bundle(given: argparse.Namespace, bundle: Bundle) -> list[dict[str, Any]]:
    chosen = compared(bundle) if given.compare else [(given.runtime, given.format)]
    return [_runtime(given, bundle, name, form) for name, form in chosen]


def _runtime(given: argparse.Namespace, bundle: Bundle, name: str, form: str) -> dict[str, Any]:
    runtime = open_encoder(bundle, name, threads=given.threads, **({"format": form} if form else {}))
    if runtime.name == "torch":
        import torch

        torch.set_num_threads(given.threads)
    manifest = runtime.manifest
    frames = max(1, round(SECONDS * manifest.sample_rate / manifest.hop))
    audio = np.random.default_rng(0).uniform(-1, 1, (given.streams, frames * manifest.hop)).astype(np.float32)
    state = runtime.init(given.streams)
    _, state = runtime.step(audio, state)
    taken: list[tuple[float, float]] = []
    while sum(wall for wall, _ in taken) < given.seconds or len(taken) < 3:
        began, busy = time.perf_counter(), time.process_time()
        _, state = runtime.step(audio, state)
        taken.append((time.perf_counter() - began, time.process_time() - busy))
    wall, busy = (float(np.median(column)) for column in zip(*taken, strict=True))
    made = given.streams * frames
    return {
        "preset": manifest.name,
        "runtime": runtime.name,
        "isa": runtime.isa,
        "format": runtime.format,
        "streams": given.streams,
        "frames_per_second": round(made / wall),
        "x_real_time": round(made * manifest.hop / manifest.sample_rate / wall, 1),
        "x_real_time_of_processor": round(made * manifest.hop / manifest.sample_rate / busy, 1),
    }
