"""Voices of random weights, made with torch: the run of a preset, its exported bundle, its program for the engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen.presets import Preset

if TYPE_CHECKING:
    from seqgen.bundle import Bundle
    from seqgen.train.run import RunConfig


def run_of(preset: Preset) -> RunConfig:
    """The run of a preset's network, of which nothing is trained."""
    from seqgen import config
    from seqgen.train.run import RunConfig

    return config.from_plain(preset.settings, RunConfig, source=f"preset {preset.name}")


def export(preset: Preset, scratch: Path) -> Bundle:
    """A bundle that every runtime opens, made inside the folder ``scratch``."""
    from seqgen.export import voice
    from seqgen.train import run
    from seqgen.train.experiment import Experiment

    configured = run_of(preset)
    made = run.voice(configured, ("one",))
    return voice.write(made, Experiment(scratch, configured, ("one",)), scratch / preset.name, {})


def write_program(preset: Preset, directory: Path) -> None:
    """The native engine's ``program.json`` with its tensors."""
    import torch
    from safetensors.torch import save_file

    from seqgen.export import program
    from seqgen.stream.state import leaves
    from seqgen.train import run, weights

    torch.manual_seed(0)
    vocoder = run.voice(run_of(preset), ("one",)).vocoder
    if preset.kept < 1:
        prune(vocoder.generator.body, preset)
    fresh = {name: leaf.clone() for name, leaf in leaves(vocoder.init_state(1))}
    for file, tensors in ((program.WEIGHTS, weights.of(vocoder.generator)), (program.INITIAL, fresh)):
        save_file({name: value.contiguous() for name, value in tensors.items()}, directory / file)
    program.write(vocoder, directory)


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
