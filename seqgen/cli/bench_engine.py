"""Samples per second of the native engine on random weights of a named shape, e.g. ``wavernn-896-sparse95-int8``.

The voice is made with torch and thrown away; a process of its own, without torch, loads and measures it. Every matrix
of a sparse preset, those of the heads included, keeps 5 % of its blocks, at random places; the input columns, biases
and the conditioning network (24 kHz, 80 bands, 12.5 ms) stay dense, and conditioning is part of what is timed.
``wavernn-896-subscale16-int8`` is dense and makes 16 samples of a stream side by side; its frames have 10 ms, whole
steps of its lanes. ``wavenet-30x64-int8`` has 30 layers of 64 residual channels, as many gated ones (128 rows) and 256
behind the skips, over µ-law; ``wavenet-30x64-mol-int8`` the same over levelled real numbers with ten logistics.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.cli import presets
from seqgen.errors import SeqgenError
from seqgen.runtime.native import Engine, Format

PRESET = re.compile(
    r"(?:wavernn-(?P<hidden>\d+)-(?P<kind>dense|sparse(?P<percent>\d+)|subscale(?P<lanes>\d+))"
    rf"|{presets.WAVENET})-(?P<form>int8|bf16|f32)"
)
FORMS: dict[str, Format] = {"int8": "int8", "bf16": "bf16", "f32": "float32"}
BLOCKS = {"int8": (16, 4), "bf16": (16, 2), "f32": (16, 1)}
LANES_HOP = 240
FRAMES = 4  # of one call: 50 ms of audio, or 40
READ_BYTES = 512 << 10  # fits the second-level cache of any processor with one, and no first-level cache


def shape_of(preset: str) -> re.Match[str]:
    """The parts of a preset's name.

    Raises:
        SeqgenError: for a name of another form.
    """
    found = PRESET.fullmatch(preset)
    if found is None:
        raise SeqgenError(
            f"unknown preset '{preset}'",
            remedy="e.g. wavernn-896-sparse95-int8, wavernn-896-subscale16-int8, wavenet-20x64-mol-int8",
        )
    return found


def write_voice(preset: str, directory: Path) -> None:
    """Random weights of the preset as ``program.json`` with its tensors."""
    import torch
    from safetensors.torch import save_file

    from seqgen.config import Component
    from seqgen.export import program
    from seqgen.stream.state import leaves
    from seqgen.generation.subscale.generator import SubscaleConfig
    from seqgen.train import weights
    from seqgen.train.run import build

    shape = shape_of(preset)
    if shape["layers"]:
        run = presets.wavenet(preset, int(shape["layers"]), int(shape["residual"]), mixture=bool(shape["mixture"]))
    else:
        model = Component("wavernn", {"hidden": int(shape["hidden"])})
        lanes = SubscaleConfig(lanes=int(shape["lanes"] or 1))
        run = presets.run_of(preset, model, hop=LANES_HOP if shape["lanes"] else presets.HOP, subscale=lanes)
    torch.manual_seed(0)
    vocoder = build(run, ("one",)).vocoder
    if shape["percent"]:
        prune(vocoder.generator.body, 1 - int(shape["percent"]) / 100, BLOCKS[shape["form"]])
    fresh = {name: leaf.clone() for name, leaf in leaves(vocoder.init_state(1))}
    for file, tensors in ((program.WEIGHTS, weights.of(vocoder.generator)), (program.INITIAL, fresh)):
        save_file({name: value.contiguous() for name, value in tensors.items()}, directory / file)
    program.write(vocoder, directory)


def prune(body: Any, density: float, block: tuple[int, int]) -> None:
    """Keep a share of the blocks of every matrix but the input columns, the same number in each, at random places."""
    import torch

    for name, matrix in body.named_parameters():
        if matrix.dim() == 2 and name != "input":
            rows, columns = (size // side for size, side in zip(matrix.shape, block, strict=True))
            keep = torch.zeros(rows * columns)
            keep[torch.randperm(rows * columns)[: round(rows * columns * density)]] = 1
            with torch.no_grad():
                matrix *= torch.kron(keep.view(rows, columns), torch.ones(block))


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
    """What is measured: weights as ``form``, ``streams`` side by side, for ``seconds``; ``isa`` None: the best here."""

    form: Format
    streams: int
    seconds: float
    threads: int = 1
    isa: str | None = None


def begin(engine: Engine, states: Any, features: Any) -> None:
    """Bring fresh streams to where every call makes all samples of its frames: what they wait for is no part of it."""
    streams = len(states)
    given = {"stream_ids": np.arange(streams, dtype=np.uint64), "positions": np.zeros(streams, np.uint64)}
    while (samples := engine.samples(states[0], FRAMES)) < FRAMES * engine.info.hop:
        audio = np.empty((streams, samples), np.float32)
        engine.run(states, features, samples, drawing=True, given=given, made={"audio": audio}, temperature=1.0)


def measure(preset: str, directory: Path, wanted: Measurement) -> dict[str, Any]:
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
    # Of WaveNets some weights are read for several samples at a time, so that there is no such bound.
    bound = {} if preset.startswith("wavenet") else {"l2_bound_share": round(rate * read / read_rate(), 3)}
    return {
        "preset": preset,
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


def measure_apart(preset: str, directory: Path, wanted: Measurement) -> dict[str, Any]:
    """:func:`measure` in a process of its own, whose memory is that of the engine and numpy.

    Raises:
        SeqgenError: with what the process said.
    """
    given = [preset, str(directory), json.dumps(asdict(wanted))]
    command = [sys.executable, "-m", "seqgen.cli.bench_engine", *given]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise SeqgenError(f"the measuring process failed: {made.stderr.strip()}", remedy="choose other options")
    result: dict[str, Any] = json.loads(made.stdout)
    return result


def run(preset: str, streams: int, seconds: float, *, threads: int = 1, isa: str | None = None) -> dict[str, Any]:
    """Make the voice, and measure it in a process that has never loaded torch.

    Raises:
        SeqgenError: for an unknown preset, or what the engine refuses.
    """
    form = FORMS[shape_of(preset)["form"]]
    with tempfile.TemporaryDirectory() as scratch:
        write_voice(preset, Path(scratch))
        return measure_apart(preset, Path(scratch), Measurement(form, streams, seconds, threads, isa))


if __name__ == "__main__":
    name, folder, options = sys.argv[1:]
    try:
        found = measure(name, Path(folder), Measurement(**json.loads(options)))
    except SeqgenError as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(found) + "\n")
