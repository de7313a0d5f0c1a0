"""Tiny bundles of models that draw symbols, with random weights: everything that a trained one has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from seqgen import config
from seqgen.bundle import Bundle
from seqgen.config import Component
from seqgen.export import symbols
from seqgen.generation.contract import Density
from seqgen.spec import Facts
from seqgen.tasks import networks
from seqgen.tasks.run import RunConfig
from seqgen.text.tokenizer import Tokenizer, tokenizer
from seqgen.train.settings import TrainConfig

LETTERS = tokenizer(Component("characters", {"characters": "abcdefghij é\N{SNOWMAN}"}))
BODIES: dict[str, dict[str, Any]] = {
    "one-layer": {"name": "recurrent", "hidden": 12, "embedding": 5},
    "two-layers": {"name": "recurrent", "hidden": 7, "embedding": 5, "layers": 2},
}


def component(body: dict[str, Any], size: int) -> Component:
    """An autoregressive density over so many symbols."""
    return Component("autoregressive", {"body": {**body, "vocab_size": size, "outputs": size}})


def run_of(generator: Component) -> RunConfig:
    """A run of such a density; its text need not exist."""
    places = dict.fromkeys(("train", "valid", "test"), "text.txt")
    return RunConfig(
        name="tiny",
        task=Component("characters", places),
        networks={"generator": generator},
        train=TrainConfig(steps=1),
        licence="CC0",
    )


def density_of(run: RunConfig, facts: Facts) -> Density:
    """The run's density with random weights, always the same, distinct enough that symbols differ."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = networks.network(run.networks["generator"], facts, source="test")
        assert isinstance(made, Density)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(2)
    return made


def export(out: Path, body: dict[str, Any], made: Tokenizer = LETTERS) -> Bundle:
    """The bundle of a language model over this body."""
    run = run_of(component(body, made.vocab_size))
    about = symbols.About("tiny", "CC0", config.dump(run), made)
    return symbols.write(density_of(run, Facts(vocab_size=made.vocab_size)), about, out)
