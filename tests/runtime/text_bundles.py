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
    "rectified": {"name": "bytenet", "channels": 6, "cycles": 2, "dilations": [1, 2]},
    "long-short-term": {"name": "recurrent", "hidden": 7, "embedding": 5, "layers": 2, "cell": "lstm"},
    "attending": {"name": "transformer", "channels": 8, "heads": 2, "layers": 2, "window": 6},
    "multiplicative": {"name": "bytenet", "channels": 6, "cycles": 1, "dilations": [1, 3], "block": "multiplicative"},
}


def component(body: dict[str, Any], size: int) -> Component:
    """An autoregressive density over so many symbols."""
    return Component("autoregressive", {"body": {**body, "vocab_size": size, "outputs": size}})


def run_of(generator: Component) -> RunConfig:
    """A run of such a density; its text need not exist."""
    return RunConfig(
        name="tiny",
        task=Component("text", {"data": "data"}),
        networks={"generator": generator},
        train=TrainConfig(steps=1),
        licence="CC0",
    )


def density_of(run: RunConfig, facts: Facts) -> Density:
    """The run's density with random weights, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = networks.network(run.networks["generator"], facts, source="test")
        assert isinstance(made, Density)
    return made


def export(out: Path, body: dict[str, Any], made: Tokenizer = LETTERS) -> Bundle:
    """The bundle of a language model over this body."""
    run = run_of(component(body, made.vocab_size))
    about = symbols.About("tiny", "CC0", config.dump(run), made)
    return symbols.write(density_of(run, Facts(vocab_size=made.vocab_size)), about, out)


NUMBERS = tokenizer(Component("characters", {"characters": "0123456789"}))
COLUMNS = 12
DECODER = {"name": "bytenet", "channels": 6, "cycles": 1, "dilations": [1, 2], "cond_dim": COLUMNS}
ENCODERS: dict[str, dict[str, Any]] = {
    "recurrent": {"name": "recurrent-encoder", "hidden": COLUMNS // 2, "embedding": 5, "layers": 2},
    "convolutions": {"name": "bytenet-encoder", "channels": 6, "cycles": 1, "dilations": [1, 2], "out_dim": COLUMNS},
    # What is forgotten in training alone, which an export must not bring back.
    "dropout": {"name": "bytenet-encoder", "channels": 6, "cycles": 1, "out_dim": COLUMNS, "dropout": 0.5},
}


def translating(encoder: dict[str, Any], body: dict[str, Any] = DECODER, **unfolding: Any) -> Component:
    """A density of words given numbers."""
    size = LETTERS.vocab_size
    return Component(
        "encoder-decoder",
        {
            "encoder": {**encoder, "vocab_size": NUMBERS.vocab_size},
            "body": {**body, "vocab_size": size, "outputs": size},
            "unfolding": unfolding or {"factor": 1.5, "offset": 2.0},
        },
    )


def export_translator(out: Path, generator: Component) -> Bundle:
    """The bundle of a translator."""
    run = run_of(generator)
    about = symbols.About("tiny", "CC0", config.dump(run), LETTERS, NUMBERS)
    return symbols.write(density_of(run, Facts(vocab_size=LETTERS.vocab_size)), about, out)
