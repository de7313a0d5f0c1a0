"""``seqgen bench``: how fast a voice is generated and how fast it trains, measured here and now."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqgen.cli import bench_engine, bench_subscale, presets
from seqgen.runtime.native import FORMATS

_HELP = """\
Measure speed on this machine. Compare only figures of one run on one machine.

  seqgen bench voice/                                    # a bundle through the fastest runtime there is
  seqgen bench voice/ --runtime native --format int8
  seqgen bench --compare                                 # native, onnxruntime and torch side by side, WaveRNN-896
  seqgen bench --preset wavernn-512 --streams 8 --json   # random weights, no training needed
  seqgen bench --preset pwn-student --compare            # Parallel WaveNet, and its teacher stepped in torch
  seqgen bench --preset wavernn-896-sparse95-int8        # the native engine: dense or sparseNN; int8, bf16 or f32
  seqgen bench --preset wavenet-30x64-int8               # the same for a WaveNet over µ-law
  seqgen bench --preset wavenet-30x64 --compare          # and through every runtime and weight format
  seqgen bench --preset wavenet-20x64-mol-int8           # and for one over real numbers, ten logistics
  seqgen bench --preset wavernn-896-subscale16-int8      # one stream, sixteen samples at a time
  seqgen bench --preset wavernn-896-subscale16           # the same through torch, whole recordings
  seqgen bench voice/ --runtime torch
  seqgen bench --preset wavernn-512 --train              # training: 32 x 960 samples a step, share of the recurrence
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "bench", help="measure speed", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("bundle", type=Path, nargs="?")
    command.add_argument(
        "--preset",
        help="random weights: wavernn-896, -512, -256, wavenet-20x64, pwn-student or -teacher; or, in the engine "
        "alone, e.g. wavernn-896-sparse95-int8",
    )
    command.add_argument("--runtime", default="", help="native, onnx or torch (default: the fastest there is)")
    command.add_argument(
        "--format", default="", choices=FORMATS, help="weights of the native engine (default: the voice's)"
    )
    command.add_argument("--streams", type=int, default=1, help="streams stepped together")
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--seconds", type=float, default=2.0, help="how long to measure")
    command.add_argument("--compare", action="store_true", help="every runtime and weight format on the same voice")
    command.add_argument("--train", action="store_true", help="measure training instead of generation")
    command.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"], help="with --train")
    command.add_argument("--json", action="store_true", help="print one object")
    command.set_defaults(run=run_bench)


def run_bench(given: argparse.Namespace) -> int:
    """Measure and print."""
    from seqgen.errors import SeqgenError

    if (given.bundle is None) == (given.preset is None) and not (given.compare and given.bundle is None):
        raise SeqgenError("bench needs either a bundle or --preset", remedy="e.g. seqgen bench --preset wavernn-512")
    if given.streams < 1 or given.threads < 1 or given.seconds <= 0:
        raise SeqgenError("--streams, --threads and --seconds must be positive", remedy="give at least 1")
    if given.format and given.runtime not in ("", "native"):
        raise SeqgenError(f"--format is for the native runtime, got --runtime {given.runtime}", remedy="leave one out")
    engine_alone = bench_engine.PRESET.fullmatch(given.preset or "")
    if engine_alone is not None and given.runtime not in ("", "native"):
        everywhere = given.preset.rpartition("-")[0] if engine_alone["layers"] else "wavernn-896"
        raise SeqgenError(
            f"{given.preset} is a preset of the native engine alone, got --runtime {given.runtime}",
            remedy=f"--preset {everywhere} is for every runtime",
        )
    lanes = bench_subscale.PRESET.fullmatch(given.preset or "")
    if given.compare and (given.train or given.runtime or given.format or engine_alone or lanes):
        raise SeqgenError(
            "--compare chooses runtimes and formats itself", remedy="give a bundle or a dense preset alone"
        )
    if given.train and given.preset is None:
        raise SeqgenError("--train measures a preset", remedy="give --preset")
    if given.train and not given.preset.startswith("wavernn-"):
        raise SeqgenError(f"--train measures a recurrence, got --preset {given.preset}", remedy="give a wavernn-...")
    if given.train:
        rows = [_training(given)]
    elif engine_alone:
        rows = [bench_engine.run(given.preset, given.streams, given.seconds, threads=given.threads)]
    elif lanes is not None:
        base = presets.configured(lanes["base"])
        rows = [bench_subscale.run(given.preset, base, given.streams, given.threads, given.seconds)]
    else:
        rows = _generation(given)
    if given.json:
        sys.stdout.write(json.dumps(rows if given.compare else rows[0]) + "\n")
    elif given.compare:
        _print_comparison(rows)
    else:
        sys.stdout.write("".join(f"{key:<20} {value}\n" for key, value in rows[0].items()))
    return 0


def _generation(given: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for the runtime asked for, or one for each runtime and weight format, on the same voice."""
    from seqgen.bundle import Bundle
    from seqgen.runtime import fastest, runnable

    with tempfile.TemporaryDirectory() as scratch:
        if given.bundle is not None:
            bundle = Bundle.open(given.bundle)
        else:
            bundle = _exported(given.preset or "wavernn-896", Path(scratch))
        chosen = [(given.runtime, given.format)]
        if given.compare:
            formats = ("int8", "bf16", "float32") if fastest(bundle) == "native" else ()
            others = [name for name in runnable(bundle) if name != "native"]
            chosen = [*(("native", one) for one in formats), *((name, "") for name in others)]
        rows = [_measured(given, bundle, runtime, form) for runtime, form in chosen]
        if given.compare and given.preset == "pwn-student":
            rows.append(_stepped(given, "pwn-teacher"))
        return rows


def _exported(preset: str, scratch: Path) -> Any:
    """A bundle of a preset with random weights."""
    from seqgen.export import voice
    from seqgen.train import run
    from seqgen.train.experiment import Experiment

    configured = presets.configured(preset)
    made = run.voice(configured, ("one",))
    return voice.write(made, Experiment(scratch, configured, ("one",)), scratch / preset, {})


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
    }


def _stepped(given: argparse.Namespace, preset: str) -> dict[str, Any]:
    """A generator of random weights that torch steps sample by sample, without a bundle (whose golden vectors would
    take longer than the measurement)."""
    import torch

    from seqgen.train import run

    torch.set_num_threads(given.threads)
    configured = presets.configured(preset)
    generator = run.voice(configured, ("one",)).generator.eval()
    assert generator.conditioner is not None
    spec = generator.conditioner.spec
    frames = -(-generator.latency // spec.up) + 1
    samples = frames * spec.up - generator.latency
    features = torch.full((given.streams, frames, spec.in_dim), -4.0)
    elements = (samples + generator.ahead) * generator.symbols_per_sample
    u = torch.rand(given.streams, elements, generator.num_uniforms, generator=torch.Generator().manual_seed(0))
    chunks: list[float] = []
    with torch.no_grad():
        generator.sample(u, generator.init_state(given.streams), features)
        while sum(chunks) < given.seconds or len(chunks) < 3:
            began = time.perf_counter()
            generator.sample(u, generator.init_state(given.streams), features)
            chunks.append(time.perf_counter() - began)
    rate = given.streams * samples * len(chunks) / sum(chunks)
    return {
        "preset": preset,
        "runtime": "torch",
        "isa": "",
        "format": "float32",
        "streams": given.streams,
        "threads": given.threads,
        "chunk": samples,
        "samples_per_second": round(rate),
        "x_real_time": round(rate / configured.features.sample_rate, 3),
    }


def _print_comparison(rows: list[dict[str, Any]]) -> None:
    """A table with the fastest row's speed as the measure of the others."""
    best = max(row["samples_per_second"] for row in rows)
    wide = max(len(row["preset"]) for row in rows) + 2
    sys.stdout.write(
        f"{'voice':<{wide}}{'runtime':<9}{'weights':<9}{'kernels':<9}{'samples/s':>11}{'x real time':>13}"
        f"{'slower by':>11}\n"
    )
    for row in rows:
        shares = f"{row['samples_per_second']:>11,}{row['x_real_time']:>13.2f}{best / row['samples_per_second']:>11.1f}"
        sys.stdout.write(f"{row['preset']:<{wide}}{row['runtime']:<9}{row['format']:<9}{row['isa']:<9}{shares}\n")


def _paced(runtime: Any, streams: int, threads: int, seconds: float) -> tuple[list[float], int]:
    """Seconds of each chunk after a warm-up, and samples per chunk: of two frames, or of eight (what a server asks for)
    for each thread where a voice makes a chunk at once."""
    import numpy as np

    from seqgen import noise

    spec, width = runtime.manifest.spec, runtime.manifest.uniforms_per_sample
    chunk = 2 if runtime.manifest.feeds_back else 8 * threads
    frames = -(-spec.latency // spec.up) + chunk
    cond = np.full((streams, frames, spec.in_dim), -4.0, np.float32)
    first = frames * spec.up - spec.latency
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


def _training(given: argparse.Namespace) -> dict[str, Any]:
    """Steps of 32 x 960 samples at 24 kHz; the recurrence alone is measured beside them on the same shapes."""
    import torch

    from seqgen.train import memory
    from seqgen.train.run import build

    memory.keep_freed_pages()
    torch.set_num_threads(given.threads)
    rows, length = 32, 960
    system = build(presets.configured(given.preset), ("one",))
    step = _training_step(system, rows, length, half=given.precision == "bf16-mixed")
    recurrence = _recurrence(system, rows, length, half=given.precision == "bf16-mixed")
    whole, alone = [], []
    _timed(step), _timed(recurrence)
    while sum(whole) < given.seconds or len(whole) < 3:
        whole.append(_timed(step))
        alone.append(_timed(recurrence))
    middle, inside = sorted(whole)[len(whole) // 2], sorted(alone)[len(alone) // 2]
    return {
        "preset": given.preset,
        "precision": given.precision,
        "threads": given.threads,
        "batch": f"{rows} x {length}",
        "samples_per_second": round(rows * length / middle),
        "step_seconds": round(middle, 3),
        "outside_recurrence": round(1 - inside / middle, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _training_step(system: Any, rows: int, length: int, *, half: bool) -> Callable[[], None]:
    """One update on random data of the right shapes."""
    import torch

    generator = system.generator
    net = generator.conditioner
    frames = system.left + -(-length // net.spec.up) + system.right
    x = torch.randint(256, (rows, length * generator.symbols_per_sample))
    features, speaker = torch.randn(rows, frames, net.spec.in_dim), torch.zeros(rows, dtype=torch.int64)
    optimiser = torch.optim.AdamW(generator.parameters())

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = -generator.log_prob(x, features, speaker, left=system.left).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def _recurrence(system: Any, rows: int, length: int, *, half: bool) -> Callable[[], None]:
    """Forward and backward pass of the recurrence alone."""
    import torch

    from seqgen.nets.gru import gru_sequence

    weight = dict(system.generator.body.named_parameters())["recurrent"]
    gates = torch.randn(rows, length, weight.shape[0], requires_grad=True)
    hidden = torch.zeros(rows, weight.shape[1])

    def recurrence() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            states = gru_sequence(gates, hidden, weight, groups=2)
        states.sum().backward()

    return recurrence


def _timed(function: Any) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
