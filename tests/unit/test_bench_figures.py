"""Figures of speed on a clock that is told what everything takes: rates, shares and quantiles that follow from it."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import seqgen.runtime
from seqgen import presets
from seqgen.cli import bench_engine, bench_generation, bench_torch, bench_training, random_voices
from seqgen.nets import training_library
from seqgen.spec import StreamSpec
from tests.unit import train_toy as toy


class Clock:
    """A performance counter that moves when something is done, by what is next in a list (the last again and again)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *takes: float) -> None:
        self.now, self.takes = 1000.0, list(takes)
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def work(self, *_: Any, **__: Any) -> None:
        self.now += self.takes.pop(0) if len(self.takes) > 1 else self.takes[0]


class Paced:
    """A runtime that makes silence, each call taking its time."""

    name, isa, format = "native", "avx2", "int8"

    def __init__(self, clock: Clock, *, feeds_back: bool) -> None:
        spec = StreamSpec(in_dim=10, out_dim=1, up=40, latency=50, context=None)
        self.manifest = SimpleNamespace(spec=spec, uniforms_per_sample=2, feeds_back=feeds_back, ahead=0)
        self.clock, self.asked = clock, []  # type: ignore[var-annotated]

    def init(self, batch: int) -> int:
        return batch

    def sample(self, uniforms: Any, state: int, cond: Any, temperature: float = 1.0) -> Any:
        self.asked.append(uniforms.shape)
        self.clock.work()
        return np.zeros((state, uniforms.shape[1] // 2), np.float32), state


@pytest.mark.parametrize(("feeds_back", "threads", "chunk"), [(True, 1, 80), (True, 4, 80), (False, 3, 24 * 40)])
def test_a_voices_speed_is_samples_of_all_streams_over_time(
    feeds_back: bool, threads: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call, which sets things up, is no part of it."""
    unit = 1 / 128  # sums of these are exact
    clock = Clock(monkeypatch, 9.0, unit, 3 * unit, 2 * unit, 2 * unit)
    runtime = Paced(clock, feeds_back=feeds_back)
    monkeypatch.setattr(seqgen.runtime, "open_runtime", lambda *_, **__: runtime)
    given = argparse.Namespace(streams=3, threads=threads, seconds=8 * unit, compare=False)
    bundle = SimpleNamespace(manifest=SimpleNamespace(name="voice", sample_rate=8000))
    found = bench_generation._measured(given, bundle, "native", "int8")
    rate = 3 * chunk / (2 * unit)
    assert runtime.asked[1:] == [(3, 2 * chunk)] * 4
    assert found["samples_per_second"] == round(rate)
    assert found["x_real_time"] == pytest.approx(rate / 8000, abs=5e-4)
    assert found["step_us_p50"] == pytest.approx(2 * unit / chunk * 1e6, abs=0.01)
    assert found["step_us_p99"] == pytest.approx(3 * unit / chunk * 1e6, abs=0.01)
    assert (found["streams"], found["threads"], found["chunk"], found["isa"]) == (3, threads, chunk, "avx2")


def test_training_speed_is_of_the_middle_step_and_its_recurrence(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 1.0)
    steps, inside = iter([9.0, 0.5, 0.2, 0.25]), iter([9.0, 0.1, 0.15, 0.9])

    def taking(times: Iterator[float]) -> Any:
        def work() -> None:
            clock.now += next(times)

        return work

    monkeypatch.setattr(random_voices, "vocoder_of", lambda _: SimpleNamespace(generator=None))
    monkeypatch.setattr(bench_training, "_training_step", lambda *_, **__: taking(steps))
    monkeypatch.setattr(bench_training, "_recurrence", lambda *_, **__: taking(inside))
    given = argparse.Namespace(threads=1, precision="32-true", seconds=0.9, compare=False, batch=None, compiled=False)
    (found,) = bench_training.measure(given, SimpleNamespace(name="preset", batch=(32, 960)))  # type: ignore[arg-type]
    assert found["batch"] == "32 x 960"
    assert found["samples_per_second"] == 32 * 960 / 0.25
    assert found["step_seconds"] == 0.25
    assert found["outside_recurrence"] == pytest.approx(1 - 0.15 / 0.25)


@pytest.mark.skipif(not training_library.available(), reason="the native engine is not built")
def test_recurrences_of_engine_and_torch_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, ran = Clock(monkeypatch, 1.0), []

    def step() -> None:
        ran.append(not training_library.available())
        clock.now += 1.0 if training_library.available() else 4.0

    monkeypatch.setattr(random_voices, "vocoder_of", lambda _: SimpleNamespace(generator=None))
    monkeypatch.setattr(bench_training, "_training_step", lambda *_, **__: step)
    monkeypatch.setattr(bench_training, "_recurrence", lambda *_, **__: step)
    monkeypatch.setattr(bench_training, "_work", lambda _: 8e9)
    monkeypatch.setattr(bench_training, "_peak", lambda **_: 16e9)
    given = argparse.Namespace(
        threads=1, precision="bf16-mixed", seconds=0.9, compare=True, batch=(2, 8), compiled=False
    )
    rows = bench_training.measure(given, SimpleNamespace(name="preset"))  # type: ignore[arg-type]
    assert [(row["runtime"], row["step_seconds"], row["gflops"], row["share_of_peak"]) for row in rows] == [
        ("engine", 1.0, 8.0, 0.5), ("torch", 4.0, 2.0, 0.125)
    ]  # fmt: skip
    assert ran == [False, True] * 8


class PacedEngine:
    """An engine that makes silence, each call taking its time."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.calls = clock, 0
        self.info = SimpleNamespace(hop=50, channels=4, uniforms_per_sample=2, weight_bytes=1200, lanes=2, isa=b"neon",
                                    threads=1, sample_rate=16000)  # fmt: skip

    def init(self, streams: int) -> list[int]:
        return [0] * streams

    def samples(self, state: int, frames: int) -> int:
        return frames * self.info.hop - (0 if self.calls else 70)

    def run(self, *_: Any, **__: Any) -> None:
        self.calls += 1
        self.clock.work()


def test_an_engines_speed_is_of_the_mean_step_and_what_it_reads_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two starts and one warm-up nothing is counted; a stream's step reads the weights once for all its lanes."""
    unit = 2.0**-10
    clock = Clock(monkeypatch, 9.0, 4 * unit, unit, 3 * unit, 2 * unit, 2 * unit)
    monkeypatch.setattr(bench_engine, "Engine", lambda *_, **__: PacedEngine(clock))
    monkeypatch.setattr(bench_engine, "read_rate", lambda: 1e9)
    wanted = bench_engine.Measurement("int8", streams=4, seconds=8 * unit)
    found = bench_engine.measure_here("preset", Path(), wanted)
    step = 2 * unit / (bench_engine.FRAMES * 50)
    assert found["samples_per_second"] == round(4 / step)
    assert found["x_real_time"] == pytest.approx(4 / step / 16000, abs=0.01)
    assert found["step_us_p50"] == pytest.approx(1e6 * step, abs=1e-3)
    assert found["step_us_p99"] == pytest.approx(1e6 * (step * (1 + 0.5 * 0.97)), abs=1e-2)
    assert found["l2_bound_share"] == pytest.approx(4 / step * 1200 / 4 / 2 / 1e9, abs=1e-3)


def test_torchs_speed_is_of_whole_seconds_of_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.5, 1.5, 1.0)
    preset = presets.find(presets.DEFAULT)
    generator = SimpleNamespace(right=2, symbols_per_sample=2, ahead=24, lanes=4, num_uniforms=1)
    voice: Any = SimpleNamespace(generator=generator, make=clock.work)
    found = bench_torch.recordings(preset, voice, streams=3, threads=1, seconds=2.5)
    rate = preset.features.sample_rate
    assert found["samples_per_second"] == 3 * rate
    assert found["x_real_time"] == 3.0
    assert found["steps_per_second_of_audio"] == (rate + 24) // 4


def test_a_trainings_record_counts_real_elements_over_the_time_of_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since the line before: reading, learning and logging, but neither validating nor writing."""
    clock = Clock(monkeypatch, 0.5)

    def batches(start: int, stop: int, rank: int, world: int) -> Iterator[toy.Batch]:
        for batch in toy.batches(start, stop, rank, world):
            clock.now += 0.5
            yield batch

    def valid() -> list[toy.Batch]:
        clock.now += 100
        return toy.valid()

    toy.run(tmp_path / "x", steps=8, batches=batches, valid=valid, log_every=2, validate_every=4, checkpoint_every=0)
    lines = [json.loads(line) for line in (tmp_path / "x" / "metrics.jsonl").read_text().splitlines()]
    told = [line for line in lines if line["split"] == "train"]
    counts = [int(batch.lengths.sum()) for batch in toy.batches(0, 8, 0, 1)]
    assert [line["step"] for line in told] == [2, 4, 6, 8]
    speeds = [line["elements_per_second"] for line in told]
    assert speeds == pytest.approx([sum(counts[first : first + 2]) / 1.0 for first in (0, 2, 4, 6)])
    assert [line["seconds"] for line in told] == pytest.approx([1, 2, 103, 104])
