"""Samples per second of a network of random weights in torch, without an exported voice.

Golden vectors of a bundle would take longer than the measurement where samples are made one by one by many layers.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import TYPE_CHECKING, Any

from seqgen.cli import random_voices
from seqgen.presets import Preset

if TYPE_CHECKING:
    from seqgen.generation.vocoder import Vocoder


def measure(given: argparse.Namespace, preset: Preset) -> list[dict[str, Any]]:
    """Whole recordings of a preset."""
    import torch

    torch.manual_seed(0)
    voice = random_voices.vocoder_of(preset)
    return [recordings(preset, voice, streams=given.streams, threads=given.threads, seconds=given.seconds)]


def recordings(preset: Preset, voice: Vocoder, *, streams: int, threads: int, seconds: float) -> dict[str, Any]:
    """Time a second of audio at a time, its start included, during which not all lanes are under way."""
    import torch

    from seqgen import noise
    from seqgen.stream.conditioning import Frames

    torch.set_num_threads(threads)
    generator, spec = voice.generator, preset.features
    rate = spec.sample_rate
    features = torch.full((streams, -(-rate // spec.hop) + generator.right, spec.bands), -4.0)
    elements = generator.symbols_per_sample * (rate + generator.ahead)
    shape = (streams, elements, generator.num_uniforms)
    u = torch.from_numpy(noise.block(0, 0, 0, streams * elements * generator.num_uniforms)).reshape(shape)
    frames = Frames(features, torch.zeros(streams, dtype=torch.int64))
    taken: list[float] = []
    while sum(taken) < seconds:
        began = time.perf_counter()
        voice.make(u, frames)
        taken.append(time.perf_counter() - began)
    return {
        **_speed(preset, streams, threads, streams * rate * len(taken) / sum(taken)),
        "steps_per_second_of_audio": -(-(rate + generator.ahead) // generator.lanes),
        "resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def step(given: argparse.Namespace, preset: Preset) -> dict[str, Any]:
    """Time the first frames of fresh streams, sample by sample."""
    import torch

    torch.set_num_threads(given.threads)
    generator = random_voices.vocoder_of(preset).generator.eval()
    assert generator.conditioner is not None
    spec = generator.conditioner.spec
    frames = generator.alignment.look_ahead + 1
    samples = generator.alignment.first_samples(frames)
    features = torch.full((given.streams, frames, spec.in_dim), -4.0)
    elements = (samples + generator.ahead) * generator.symbols_per_sample
    u = torch.rand(given.streams, elements, generator.num_uniforms, generator=torch.Generator().manual_seed(0))
    chunks: list[float] = []
    with torch.no_grad():
        generator.generate(u, generator.init_state(given.streams), features)
        while sum(chunks) < given.seconds or len(chunks) < 3:
            began = time.perf_counter()
            generator.generate(u, generator.init_state(given.streams), features)
            chunks.append(time.perf_counter() - began)
    rate = given.streams * samples * len(chunks) / sum(chunks)
    return {**_speed(preset, given.streams, given.threads, rate), "chunk": samples}


def _speed(preset: Preset, streams: int, threads: int, rate: float) -> dict[str, Any]:
    """Columns that all rows begin with; ``rate``: samples per second of all streams together."""
    return {
        "preset": preset.name,
        "runtime": "torch",
        "isa": "",
        "format": "float32",
        "streams": streams,
        "threads": threads,
        "samples_per_second": round(rate),
        "x_real_time": round(rate / preset.features.sample_rate, 3),
    }
