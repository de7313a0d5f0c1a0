"""Tiny voices with random weights: everything that a trained one has, exported in a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqgen import noise
from seqgen.bundle import Bundle
from seqgen.config import Component
from seqgen.generation.contract import Generator
from seqgen.generation.vocoder import Vocoder
from seqgen.models.frames import with_speaker
from seqgen.models.wavernn import scale
from seqgen.runtime.contract import Runtime
from seqgen.spec import FeatureSpec
from seqgen.tasks import experiment
from seqgen.tasks.contract import Exporting, System
from seqgen.tasks.run import RunConfig
from seqgen.tasks.vocoder.config import facts_of
from seqgen.tasks.vocoder.task import Vocoding
from seqgen.train.settings import TrainConfig

FEATURES = {"sample_rate": 8000, "n_fft": 256, "window": 160, "n_mels": 10}
CONDITIONER = {"name": "frames", "channels": 8, "blocks": 1, "look_ahead": 1}


def run_of(generator: dict[str, Any], *, hop: int = 40, **task: Any) -> RunConfig:
    """An 8 kHz voice with ten mel bands; ``generator``: the density of its YAML, ``task``: further keys of the task."""
    data = {"train": "data/train", "valid": "data/valid", "test": "data/test", "segment": 4 * hop}
    return RunConfig(
        name="tiny",
        task=Component("vocoder", {**data, "features": {**FEATURES, "hop": hop}, **task}),
        networks={"generator": Component(generator["name"], {k: v for k, v in generator.items() if k != "name"})},
        train=TrainConfig(steps=1),
        licence="CC0",
    )


def density(body: dict[str, Any], **options: Any) -> dict[str, Any]:
    """An autoregressive density with one frame of look-ahead."""
    return {"name": "autoregressive", "body": body, "conditioner": CONDITIONER, **options}


def tiny_run(*, hidden: int = 16, hop: int = 40, conditioned: bool = True, **task: Any) -> RunConfig:
    """An 8 kHz WaveRNN voice of ``hidden`` units with ten mel bands and one frame of look-ahead."""
    return run_of(density({"name": "wavernn", "hidden": hidden, "conditioned": conditioned}), hop=hop, **task)


def subscale_run(*, hidden: int = 16, hop: int = 40, **options: int) -> RunConfig:
    """As :func:`tiny_run`, with lanes: ``options`` of the subscale density."""
    lanes = density({"name": "wavernn", "hidden": hidden}, **options) | {"name": "subscale"}
    return run_of(lanes, hop=hop)


def task_of(run: RunConfig, speakers: tuple[str, ...] = ()) -> Vocoding:
    """The task of a vocoder run over recordings of these speakers, which need not exist."""
    options = run.task.options
    features = FeatureSpec(**options["features"])
    facts = facts_of(options.get("codec", "bytes16"), features, speakers)
    task = experiment.task_of(run, facts, source="config")
    assert isinstance(task, Vocoding)
    return task


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


def tiny_system(run: RunConfig, speakers: tuple[str, ...] = (), seed: int = 0) -> tuple[Vocoder, Vocoding]:
    """The untrained voice of a run, and its task (nothing is written)."""
    task = task_of(run, speakers)
    vocoder = task.vocoder(experiment.build(task, source="config").networks)
    lively(vocoder.generator, seed)
    return vocoder, task


def export(generator: Generator, task: Vocoding, directory: Path, **options: Any) -> Bundle:
    """Export a generator under a task's configuration."""
    notes = {"made": "by a test"}
    system = System({"generator": generator}, label="no checkpoint")
    return task.export(system, directory, Exporting(notes=notes, **options))


def export_tiny(directory: Path, run: RunConfig, speakers: tuple[str, ...] = (), seed: int = 0) -> Bundle:
    """Export such a voice into ``directory``."""
    vocoder, task = tiny_system(run, speakers, seed)
    return export(vocoder.generator, task, directory)


def inputs(runtime: Runtime, rows: int, frames: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Uniforms, elements and conditioning (log-mel, then a one-hot) of fresh streams."""
    manifest = runtime.manifest
    samples = frames * manifest.spec.up - manifest.spec.latency
    rng = np.random.Generator(np.random.Philox(seed))
    mel = torch.from_numpy(rng.normal(-5, 2, (rows, frames, manifest.features.n_mels)).astype(np.float32))
    cond = with_speaker(mel, torch.arange(rows) % max(1, len(manifest.speakers)), len(manifest.speakers))
    uniforms = np.stack([noise.block(seed, row, 0, samples * manifest.uniforms_per_sample) for row in range(rows)])
    return uniforms, rng.integers(0, 256, (rows, samples * 2)), cond.numpy()
