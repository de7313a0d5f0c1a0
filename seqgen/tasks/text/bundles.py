"""Bundles of the tasks over text: written from what a run has trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from seqgen import config, registry
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.export import symbols
from seqgen.generation.contract import Density
from seqgen.objectives.contract import Objective
from seqgen.spec import Facts
from seqgen.tasks.contract import Exporting, System
from seqgen.tasks.run import RunConfig
from seqgen.text.tokenizer import Tokenizer

GENERATOR = "generator"
"""The network that is exported."""


def export(
    run: RunConfig,
    system: System,
    out: Path,
    options: Exporting,
    *,
    tokenizer: Tokenizer,
    source_tokenizer: Tokenizer | None = None,
) -> Bundle:
    """Write the bundle of a run's language model or translator.

    Raises:
        SeqgenError: where the run trains none, or it cannot be exported.
    """
    density = system.networks.get(GENERATOR)
    if not isinstance(density, Density):
        raise SeqgenError("this run trains nothing that makes text", remedy="name the run of a generator")
    whole = replace(run, networks={**run.networks, **system.definitions})
    about = symbols.About(
        name=run.name,
        licence=run.licence,
        config=config.dump(whole),
        tokenizer=tokenizer,
        source_tokenizer=source_tokenizer,
        provenance={"config_digest": config.digest(run), "checkpoint": system.label, **options.notes},
    )
    return symbols.write(density, about, out, options.precision, engine_only=options.engine_only)


def objective(run: RunConfig, networks: Mapping[str, nn.Module], facts: Facts, *, source: str) -> Objective:
    """The objective of a run over the networks of its bundle, which its evaluation measures by.

    Raises:
        SeqgenError: where it needs others.
    """
    kind = registry.OBJECTIVES.load(run.objective.name)
    made: Objective = kind(config.options(run.objective, registry.OBJECTIVES, source=source), networks, facts)
    return made.eval()
