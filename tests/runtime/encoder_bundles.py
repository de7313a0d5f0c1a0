"""Tiny bundles of feature extractors, with random weights: everything that a trained one has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from seqgen import config
from seqgen.bundle import Bundle
from seqgen.config import Component
from seqgen.export import encoder
from seqgen.spec import Facts
from seqgen.tasks import networks
from seqgen.tasks.run import RunConfig
from seqgen.train.settings import TrainConfig

RATE = 8000
ENCODERS: dict[str, dict[str, Any]] = {
    "plain": {"strides": [5, 2], "kernels": [10, 4], "channels": 20, "hidden": 7},
    "normalized": {"strides": [5, 2], "kernels": [10, 4], "channels": 6, "hidden": 19, "normalization": "layer"},
    "without-overlap": {"strides": [3, 2], "kernels": [3, 2], "channels": 5, "hidden": 4},
    "one-layer": {"strides": [4], "kernels": [9], "channels": 5, "hidden": 4},
}


def run_of(options: dict[str, Any]) -> RunConfig:
    """A run of such an encoder; its data need not exist."""
    return RunConfig(
        name="tiny",
        task=Component("speech", {"train": "data"}),
        networks={"encoder": Component("waveform-encoder", options)},
        train=TrainConfig(steps=1),
        licence="CC0",
    )


def network_of(options: dict[str, Any]) -> torch.nn.Module:
    """An encoder with random weights, always the same; none is zero."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = networks.network(run_of(options).networks["encoder"], Facts(), source="test")
        for parameter in made.parameters():
            if parameter.dim() == 1:
                torch.nn.init.uniform_(parameter, 0.1, 0.5)
    return made


def export(out: Path, name: str = "plain", **options: Any) -> Bundle:
    """The bundle of one of :data:`ENCODERS`."""
    about = encoder.Described("tiny", "CC0", config.dump(run_of(ENCODERS[name])), RATE)
    return encoder.write(network_of(ENCODERS[name]), about, out, **options)
