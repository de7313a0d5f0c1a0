"""The law of resuming as library code, to be run over every registered method."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from seqgen.objectives.contract import Objective
from seqgen.train import weights
from seqgen.train.batch import rows
from seqgen.train.checkpoint import Checkpoints
from seqgen.train.identity import CheckpointIdentity
from seqgen.train.loop import Recipe, train
from seqgen.train.report import METRICS
from seqgen.train.settings import TrainConfig
from seqgen.train.source import Source

_STEPS, _EVERY = 4, 2
_CLOCK = ("seconds", "elements_per_second")  # what a record tells of time


class Repeated(Source):
    """One batch again and again."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Any]:
        return (rows(self.batch, rank, world) for _ in range(start, stop))

    def whole(self) -> Iterable[Any]:
        return [self.batch]


def check_resume(objective: Objective, batch: Any, directory: Path) -> None:
    """Law of resuming: a training that is cut off and goes on from its checkpoint ends as one that never stopped, in
    every tensor and every line of its record; and it does move.

    Raises:
        AssertionError: naming what differs.
    """
    whole, cut = directory / "whole", directory / "cut"
    first, second = copy.deepcopy(objective), copy.deepcopy(objective)
    _train(first, batch, whole)
    shutil.copytree(whole, cut)
    checkpoints = Checkpoints(cut)
    shutil.rmtree(checkpoints.path(_STEPS))
    assert checkpoints.steps() == [_STEPS - _EVERY], f"checkpoints at {checkpoints.steps()}"
    _train(second, batch, cut, resume=True)
    expected, found = weights.of(first), weights.of(second)
    differing = [name for name, value in expected.items() if not torch.equal(found[name], value)]
    assert not differing, f"resumed, {differing} are others"
    assert _record(cut) == _record(whole), "resumed, the record of losses is another one"
    before = dict(objective.named_parameters())
    still = [name for name, one in first.named_parameters() if one.requires_grad and torch.equal(one, before[name])]
    assert not still, f"after {_STEPS} steps {still} are where they were"


def _train(objective: Objective, batch: Any, out: Path, *, resume: bool = False) -> None:
    settings = TrainConfig(
        steps=_STEPS, batch_size=len(batch.ids), validate_every=_EVERY, checkpoint_every=_EVERY, log_every=1, ema=0.9
    )
    identity = CheckpointIdentity("", "", "")
    source = Repeated(batch)
    train(
        objective,
        Recipe(settings),
        out=out,
        source=source,
        validation=source,
        identity=identity,
        resume=resume,
        device="cpu",
    )


def _record(out: Path) -> list[dict[str, Any]]:
    lines = (out / METRICS).read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in _CLOCK} for line in lines]
