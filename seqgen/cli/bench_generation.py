"""Samples per second of a voice through a runtime, or through each there is."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from seqgen import presets
from seqgen.presets import Preset


def measure(given: argparse.Namespace, preset: Preset | None) -> list[dict[str, Any]]:
    """One row for the runtime asked for, or one for each runtime and weight format, on the same voice.

    Without a preset the voice is ``given.bundle``. Beside a preset that is compared stand the networks of its kind that
    torch steps sample by sample.
    """
    from seqgen.bundle import Bundle
    from seqgen.cli import bench_torch, random_voices

    with tempfile.TemporaryDirectory() as scratch:
        bundle = Bundle.open(given.bundle) if preset is None else random_voices.export(preset, Path(scratch))
        chosen = _everywhere(bundle) if given.compare else [(given.runtime, given.format)]
        rows = [_measured(given, bundle, runtime, form) for runtime, form in chosen]
        beside = preset.beside if preset is not None and given.compare else ()
        return [*rows, *(bench_torch.step(given, presets.find(name)) for name in beside)]


def _everywhere(bundle: Any) -> list[tuple[str, str]]:
    """Runtimes that open a bundle, the native one with each way to hold weights."""
    from seqgen.runtime import fastest, runnable

    formats = ("int8", "bf16", "float32") if fastest(bundle) == "native" else ()
    return [*(("native", one) for one in formats), *((name, "") for name in runnable(bundle) if name != "native")]


def _measured(given: argparse.Namespace, bundle: Any, name: str, form: str) -> dict[str, Any]:
    from seqgen.runtime import open_runtime

    threads = given.threads if not given.compare or name != "native" else 1
    runtime = open_runtime(bundle, name, threads=threads, **({"format": form} if form else {}))
    chunks, samples = _paced(runtime, given.streams, threads, given.seconds)
    rate = given.streams * samples * len(chunks) / sum(chunks)
    per_step = sorted(1e6 * chunk / samples for chunk in chunks)
    return {
        "preset": bundle.manifest.name,
        "runtime": runtime.name,
        "isa": runtime.isa,
        "format": runtime.format,
        "streams": given.streams,
        "threads": threads,
        "chunk": samples,
        "samples_per_second": round(rate),
        "x_real_time": round(rate / bundle.manifest.sample_rate, 3),
        "step_us_p50": round(per_step[len(per_step) // 2], 2),
        "step_us_p99": round(per_step[min(len(per_step) - 1, int(0.99 * len(per_step)))], 2),
        "resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        **_reading(runtime, given.seconds),
    }


def _reading(runtime: Any, seconds: float) -> dict[str, int]:
    """Words of a text that a voice that speaks makes phones of in a second, on one core."""
    from seqgen.cli.bench_reading import words_per_second
    from seqgen.manifest import VoiceManifest
    from seqgen.runtime.voice import Voice

    if not isinstance(runtime.manifest, VoiceManifest):
        return {}
    return {"words_per_second": words_per_second(Voice(runtime).pronouncer, seconds)}


def _paced(runtime: Any, streams: int, threads: int, seconds: float) -> tuple[list[float], int]:
    """Seconds of each chunk after a warm-up, and samples per chunk: of two frames, or of eight (what a server asks for)
    for each thread where a voice makes a chunk at once."""
    import numpy as np

    from seqgen import noise

    spec, width = runtime.manifest.spec, runtime.manifest.uniforms_per_sample
    chunk = 2 if runtime.manifest.feeds_back else 8 * threads
    frames = spec.alignment.look_ahead + chunk
    cond = np.full((streams, frames, spec.in_dim), -4.0, np.float32)
    first = spec.alignment.first_samples(frames)
    ahead = runtime.manifest.ahead
    uniforms = np.stack([noise.block(0, row, 0, (first + ahead) * width) for row in range(streams)])
    _, state = runtime.sample(uniforms, runtime.init(streams), cond)
    samples = chunk * spec.up
    uniforms = np.stack([noise.block(1, row, 0, (samples + ahead) * width) for row in range(streams)])
    chunks: list[float] = []
    while sum(chunks) < seconds or len(chunks) < 3:
        began = time.perf_counter()
        _, state = runtime.sample(uniforms, state, cond[:, :chunk])
        chunks.append(time.perf_counter() - began)
    return chunks, samples
