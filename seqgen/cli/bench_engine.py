"""Samples per second of the native engine alone, conditioning included.

A preset's voice is made with torch and thrown away; a process of its own, without torch, loads and measures it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.errors import SeqgenError
from seqgen.presets import Preset
from seqgen.runtime.native import Engine, Format

FRAMES = 4  # of one call: 50 ms of audio, or 40
READ_BYTES = 512 << 10  # fits the second-level cache of any processor with one, and no first-level cache


def read_rate() -> float:
    """Bytes per second that one core reads from its second-level cache, by a dot product: the best of many."""
    numbers = np.ones(READ_BYTES // 4, np.float32)
    best = float("inf")
    for _ in range(200):
        began = time.perf_counter()
        np.dot(numbers, numbers)  # both sides are one array, which comes from the cache once
        best = min(best, time.perf_counter() - began)
    return READ_BYTES / best


def resident_mb() -> float:
    """The most memory that this process had, its libraries included; what it was started from does not count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


@dataclass(frozen=True)
class Measurement:
    """Options of a measurement of the engine.

    Attributes:
        form: how weights are held. streams: side by side. seconds: how long. threads: of the engine.
        isa: kernels by name; ``None``: the best here.
        bounded: whether each sample reads all weights, so that the speed of reading them is a bound.
    """

    form: Format
    streams: int
    seconds: float
    threads: int = 1
    isa: str | None = None
    bounded: bool = True


def begin(engine: Engine, states: Any, features: Any) -> None:
    """Bring fresh streams to where every call makes all samples of its frames: what they wait for is no part of it."""
    streams = len(states)
    given = {"stream_ids": np.arange(streams, dtype=np.uint64), "positions": np.zeros(streams, np.uint64)}
    while (samples := engine.samples(states[0], FRAMES)) < FRAMES * engine.info.hop:
        audio = np.empty((streams, samples), np.float32)
        engine.run(states, features, samples, drawing=True, given=given, made={"audio": audio}, temperature=1.0)


def measure_here(name: str, directory: Path, wanted: Measurement) -> dict[str, Any]:
    """Time calls of ``FRAMES`` frames after a warm-up; rates in samples per second, steps in microseconds."""
    engine = Engine(directory, format=wanted.form, isa=wanted.isa, threads=wanted.threads)
    streams = wanted.streams
    info = engine.info
    features = np.random.default_rng(0).normal(-5, 2, (streams, FRAMES, info.channels)).astype(np.float32)
    states, samples = engine.init(streams), FRAMES * info.hop
    begin(engine, states, features)
    audio = np.empty((streams, samples), np.float32)
    ids, positions = np.arange(streams, dtype=np.uint64), np.zeros(streams, np.uint64)
    given = {"stream_ids": ids, "positions": positions}
    taken: list[float] = []
    while sum(taken) < wanted.seconds + (taken[0] if taken else 0):
        began = time.perf_counter()
        engine.run(states, features, samples, drawing=True, given=given, made={"audio": audio}, temperature=1.0)
        taken.append(time.perf_counter() - began)
        positions += np.uint64(info.uniforms_per_sample * samples)
    steps = np.sort(np.array(taken[1:])) / samples
    rate = streams / float(np.mean(steps))
    read = info.weight_bytes / streams / info.lanes
    bound = {"l2_bound_share": round(rate * read / read_rate(), 3)} if wanted.bounded else {}
    return {
        "preset": name,
        "runtime": "native",
        "isa": info.isa.decode(),
        "format": wanted.form,
        "streams": streams,
        "threads": info.threads,
        "samples_per_second": round(rate),
        "x_real_time": round(rate / info.sample_rate, 2),
        "step_us_p50": round(1e6 * float(np.quantile(steps, 0.5)), 3),
        "step_us_p99": round(1e6 * float(np.quantile(steps, 0.99)), 3),
        **bound,
        "resident_mb": resident_mb(),
    }


def measure_apart(name: str, directory: Path, wanted: Measurement) -> dict[str, Any]:
    """Figures of :func:`measure_here` from a process of its own, whose memory is that of the engine and numpy.

    Raises:
        SeqgenError: with what the process said.
    """
    given = [name, str(directory), json.dumps(asdict(wanted))]
    command = [sys.executable, "-m", "seqgen.cli.bench_engine", *given]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise SeqgenError(f"the measuring process failed: {made.stderr.strip()}", remedy="choose other options")
    result: dict[str, Any] = json.loads(made.stdout)
    return result


def measure(given: argparse.Namespace, preset: Preset) -> list[dict[str, Any]]:
    """Make the preset's voice, and measure it in a process that has never loaded torch.

    Raises:
        SeqgenError: for what the engine refuses.
    """
    from seqgen.cli import random_voices  # in the measuring process torch stays unknown

    assert preset.format is not None
    wanted = Measurement(preset.format, given.streams, given.seconds, given.threads, bounded=preset.bounded)
    with tempfile.TemporaryDirectory() as scratch:
        random_voices.write_program(preset, Path(scratch))
        return [measure_apart(preset.name, Path(scratch), wanted)]


if __name__ == "__main__":
    name, folder, options = sys.argv[1:]
    try:
        found = measure_here(name, Path(folder), Measurement(**json.loads(options)))
    except SeqgenError as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(found) + "\n")
