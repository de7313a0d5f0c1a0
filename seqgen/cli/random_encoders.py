"""Feature extractors of random weights in a preset's shape, as bundles."""

from __future__ import annotations

from pathlib import Path

import torch

from seqgen import config
from seqgen.bundle import Bundle
from seqgen.presets import EncoderPreset
from seqgen.spec import Facts
from seqgen.tasks import experiment, networks
from seqgen.tasks.contract import Exporting, System
from seqgen.tasks.run import RunConfig


def export(preset: EncoderPreset, scratch: Path) -> Bundle:
    """A bundle that every runtime opens, made inside the folder ``scratch``."""
    source = f"preset {preset.name}"
    run = config.from_plain(preset.settings, RunConfig, source=source)
    facts = Facts(shape=(1,), sample_rate=preset.sample_rate)
    torch.manual_seed(0)
    system = System(networks.build(run.networks, facts, source=source), label="random weights")
    return experiment.task_of(run, facts, source=source).export(system, scratch / preset.name, Exporting())
