"""Tiny voices with random weights: everything that a trained one has, exported in a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from seqgen.train.experiment import Experiment
from seqgen.train.run import DataConfig, RunConfig, System

from seqgen import noise
from seqgen.bundle import Bundle
from seqgen.config import Component
from seqgen.export import voice
from seqgen.models.frames import with_speaker
from seqgen.models.wavernn import scale
from seqgen.runtime.contract import Runtime
from seqgen.spec import FeatureSpec
from seqgen.train.settings import TrainConfig


def tiny_run(*, hidden: int = 16, hop: int = 40, conditioned: bool = True) -> RunConfig:
    """An 8 kHz WaveRNN voice of ``hidden`` units with ten mel bands and one frame of look-ahead."""
    return RunConfig(
        name="tiny",
        data=DataConfig(train="data/train", valid="data/valid", test="data/test", segment=4 * hop),
        features=FeatureSpec(sample_rate=8000, n_fft=256, window=160, hop=hop, n_mels=10),
        model=Component("wavernn", {"hidden": hidden, "conditioned": conditioned}),
        train=TrainConfig(steps=1),
        conditioner=Component("frames", {"channels": 8, "blocks": 1, "look_ahead": 1}),
        licence="CC0",
    )


def lively(module: torch.nn.Module, seed: int) -> None:
    """Random weights and biases that make sharp, input-dependent distributions; a fresh network's are nearly flat."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            fan = parameter.shape[-1] if parameter.dim() > 1 else 10
            gain = 3.0 if name.endswith(("o2.weight", "o4.weight")) else 1.0
            if name.endswith("input"):
                gain = 1 / float(scale(torch.tensor(255), parameter))  # inputs of whatever unit count alike
            parameter.copy_(gain * torch.randn(parameter.shape, generator=generator) / fan**0.5)


def tiny_system(run: RunConfig, speakers: tuple[str, ...] = (), seed: int = 0) -> tuple[System, Experiment]:
    """The untrained system of a run, and the experiment it would belong to (nothing is written)."""
    experiment = Experiment(Path("exp/tiny"), run, speakers)
    system = experiment.build()
    lively(system.generator, seed)
    return system, experiment


def export_tiny(directory: Path, run: RunConfig, speakers: tuple[str, ...] = (), seed: int = 0) -> Bundle:
    """Export such a voice into ``directory``."""
    system, experiment = tiny_system(run, speakers, seed)
    return voice.write(system.voice, experiment, directory, {"made": "by a test"})


def inputs(runtime: Runtime, rows: int, frames: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Uniforms, elements and conditioning (log-mel, then a one-hot) of fresh streams."""
    manifest = runtime.manifest
    samples = frames * manifest.spec.up - manifest.spec.latency
    rng = np.random.Generator(np.random.Philox(seed))
    mel = torch.from_numpy(rng.normal(-5, 2, (rows, frames, manifest.features.n_mels)).astype(np.float32))
    cond = with_speaker(mel, torch.arange(rows) % max(1, len(manifest.speakers)), len(manifest.speakers))
    uniforms = np.stack([noise.block(seed, row, 0, samples * manifest.uniforms_per_sample) for row in range(rows)])
    return uniforms, rng.integers(0, 256, (rows, samples * 2)), cond.numpy()
