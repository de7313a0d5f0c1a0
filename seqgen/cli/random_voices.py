"""Voices of random weights, made with torch: the run of a preset, its exported bundle, its program for the engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen.presets import Preset

if TYPE_CHECKING:
    from seqgen.bundle import Bundle
    from seqgen.generation.vocoder import Vocoder
    from seqgen.tasks.run import RunConfig
    from seqgen.tasks.vocoder.task import Vocoding


def run_of(preset: Preset) -> RunConfig:
    """The run of a preset's network, of which nothing is trained."""
    from seqgen import config
    from seqgen.tasks.run import RunConfig

    return config.from_plain(preset.settings, RunConfig, source=f"preset {preset.name}")


def task_of(preset: Preset) -> Vocoding:
    """The task of that run, of recordings of one speaker."""
    from seqgen.tasks import experiment
    from seqgen.tasks.vocoder.config import facts_of
    from seqgen.tasks.vocoder.task import Vocoding

    facts = facts_of(preset.codec, preset.features, ("one",))
    task = experiment.task_of(run_of(preset), facts, source=f"preset {preset.name}")
    assert isinstance(task, Vocoding)
    return task


def vocoder_of(preset: Preset) -> Vocoder:
    """The voice, with weights from torch's generator."""
    from seqgen.tasks import networks

    task = task_of(preset)
    return task.vocoder(networks.build(task.run.networks, task.facts, source=f"preset {preset.name}"))


def export(preset: Preset, scratch: Path) -> Bundle:
    """A bundle that every runtime opens, made inside the folder ``scratch``."""
    from seqgen.tasks.contract import Exporting, System

    system = System({"generator": vocoder_of(preset).generator}, label="random weights")
    return task_of(preset).export(system, scratch / preset.name, Exporting())


def write_program(preset: Preset, directory: Path) -> None:
    """The native engine's ``program.json`` with its tensors."""
    import torch
    from safetensors.torch import save_file

    from seqgen.export import program
    from seqgen.stream.state import leaves
    from seqgen.train import weights

    torch.manual_seed(0)
    vocoder = vocoder_of(preset)
    if preset.kept < 1:
        prune(vocoder.generator.body, preset)
    fresh = {name: leaf.clone() for name, leaf in leaves(vocoder.init_state(1))}
    for file, tensors in ((program.WEIGHTS, weights.of(vocoder.generator)), (program.INITIAL, fresh)):
        save_file({name: value.contiguous() for name, value in tensors.items()}, directory / file)
    program.write(vocoder, directory, preset.features.sample_rate)


def prune(body: Any, preset: Preset) -> None:
    """Keep the preset's share of the blocks of every matrix, the same number in each, at random places."""
    import torch

    for name, matrix in body.named_parameters():
        if matrix.dim() == 2 and name not in preset.dense:
            rows, columns = (size // side for size, side in zip(matrix.shape, preset.block, strict=True))
            keep = torch.zeros(rows * columns)
            keep[torch.randperm(rows * columns)[: round(rows * columns * preset.kept)]] = 1
            with torch.no_grad():
                matrix *= torch.kron(keep.view(rows, columns), torch.ones(preset.block))
