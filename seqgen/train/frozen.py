"""Trained networks of other runs that an objective reads and never changes: a teacher, a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from seqgen.errors import SeqgenError
from seqgen.spec import require_same_signature
from seqgen.train.experiment import Experiment
from seqgen.train.run import RunConfig


@dataclass(frozen=True)
class Frozen:
    """A network with its best checkpoint's weights; ``left``, ``right``: frames of context that it needs."""

    network: nn.Module
    left: int = 0
    right: int = 0


def networks(wanted: Mapping[str, str], options: Any, run: RunConfig, speakers: tuple[str, ...]) -> dict[str, Frozen]:
    """The networks whose runs ``options`` names, each frozen and in evaluation mode.

    Args:
        wanted: option -> what the run that it names must have trained, a "voice" or a "classifier".
        options, run, speakers: of the run that needs them.

    Raises:
        SeqgenError: where a directory holds no such run, or one of other speakers, features or another sample rate.
    """
    found = {}
    for name, kind in wanted.items():
        place = getattr(options, name)
        if place:
            experiment = Experiment.open(Path(place))
            where = f"objective.{name} {place}"
            found[name] = (_voice if kind == "voice" else _classifier)(experiment, run, speakers, where)
            found[name].network.requires_grad_(False).eval()
    return found


def _voice(experiment: Experiment, run: RunConfig, speakers: tuple[str, ...], where: str) -> Frozen:
    _require_same_rate(experiment, run, where)
    require_same_signature(run.features, experiment.run.features, where=where)
    if experiment.speakers != speakers:
        raise SeqgenError(
            f"{where} was trained on the speakers {', '.join(experiment.speakers)}; this run has {', '.join(speakers)}",
            remedy="train both on the same data directory",
        )
    voice, _ = experiment.voice()
    return Frozen(voice.generator, voice.left, voice.right)


def _classifier(experiment: Experiment, run: RunConfig, speakers: tuple[str, ...], where: str) -> Frozen:
    _require_same_rate(experiment, run, where)
    system, _ = experiment.load()
    network = getattr(system.objective, "classifier", None)
    if system.made is not None or network is None:
        raise SeqgenError(
            f"{where} is a run of objective {experiment.run.objective.name}", remedy="name a run of `classification`"
        )
    return Frozen(network)


def _require_same_rate(experiment: Experiment, run: RunConfig, where: str) -> None:
    there, here = experiment.run.features.sample_rate, run.features.sample_rate
    if there != here:
        raise SeqgenError(
            f"{where} has a sample rate of {there} Hz, this run {here} Hz", remedy="give both the same features"
        )
