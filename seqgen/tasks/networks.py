"""The networks of a run: built as its YAML names them, or taken from other runs with their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from seqgen import config, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density, Generator
from seqgen.latents.variable import LatentVariable
from seqgen.models.encoder import Encoder
from seqgen.spec import Facts

PRETRAINED = "pretrained"


def build(components: Mapping[str, Component], facts: Facts, *, source: str) -> dict[str, nn.Module]:
    """The networks that a run trains, with fresh weights, in the order of the YAML; pretrained ones are left out.

    Raises:
        SeqgenError: for unknown names or options, and for parts that do not fit each other.
    """
    return {
        name: network(component, facts, source=source)
        for name, component in components.items()
        if component.name != PRETRAINED
    }


def network(component: Component, facts: Facts, *, source: str) -> nn.Module:
    """One network with fresh weights: a density or a latent-variable model (which are told the facts), a model or a
    flow."""
    for told in (registry.DENSITIES, registry.LATENT_MODELS):
        if component.name in told:
            kind: Any = told.load(component.name)
            made: nn.Module = kind.build(config.options(component, told, source=source), facts, source=source)
            return made
    for table in (registry.MODELS, registry.FLOWS):
        if component.name in table:
            plain: nn.Module = config.construct(component, table, source=source)
            return plain
    tables = (registry.DENSITIES, registry.LATENT_MODELS, registry.MODELS, registry.FLOWS)
    known = [PRETRAINED, *(name for table in tables for name in table)]
    raise registry.unknown("network", component.name, known, source)


def shortened(networks: Mapping[str, nn.Module], *, segment: int, context: int, remedy: str) -> list[str]:
    """Warnings of networks that reach farther back than training rows let them, so that the ends of their reach learn
    from nothing what they will meet in use.

    Args:
        segment: samples of a row that are learnt from. context: those that are heard before them.
        remedy: what to set, with ``{reach}`` for the samples that a network reaches back.
    """
    found = []
    for name, made in networks.items():
        spec = getattr(made.body if isinstance(made, Generator) else made, "spec", None)
        if spec is None or spec.context is None:
            continue
        per, lanes = (made.symbols_per_sample, made.lanes) if isinstance(made, Generator) else (1, 1)
        reach = -(-spec.context // per) * lanes
        if reach > max(segment, context):
            found.append(
                f"networks.{name} reaches {reach:,} samples back, of which training rows of {segment:,} with "
                f"{context:,} before them show it fewer than a stream will; {remedy.format(reach=reach)}"
            )
    return found


def require_vocab_size(networks: Mapping[str, nn.Module], vocab_size: int) -> None:
    """Refuse networks, and parts of latent-variable models, that read another alphabet than the data's.

    Raises:
        SeqgenError: naming the network and the options to set.
    """
    for name, made in parts(networks).items():
        spec = getattr(made.body if isinstance(made, Generator) else made, "spec", None)
        if isinstance(made, (Encoder, Density)) and not isinstance(made, Generator):
            reads = made.vocab_size
        elif spec is not None:
            reads = spec.vocab_size
        else:
            continue
        if reads != vocab_size:
            raise SeqgenError(
                f"networks.{name} reads {reads} symbols, the data have {vocab_size}",
                remedy=f"set vocab_size and outputs to {vocab_size}",
            )


def parts(networks: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The networks by name, and in the place of each latent-variable model what reads and what makes elements."""
    found = dict[str, nn.Module]()
    for name, made in networks.items():
        if isinstance(made, LatentVariable):
            found |= {f"{name}.encoder": made.encoder, f"{name}.decoder": made.decoder}
        else:
            found[name] = made
    return found
