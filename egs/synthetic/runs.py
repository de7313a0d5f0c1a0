"""What the experiments share: one training, and the command line, settings in, a record and its table out."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from seqgen.tasks.vocoder.batches import Batch

from seqgen import config
from seqgen.objectives.contract import Objective
from seqgen.train.checkpoint import CheckpointIdentity
from seqgen.train.loop import train
from seqgen.train.settings import TrainConfig

T = TypeVar("T")
Record = dict[str, Any]
Batches = Callable[[int, int, int, int], Iterator[Batch]]


class Settings(Protocol):
    """Of any experiment."""

    @property
    def train(self) -> TrainConfig: ...


def fit(settings: Settings, objective: Objective, batches: Batches, out: Path) -> None:
    """One training from scratch; what ``out`` held before is removed."""
    shutil.rmtree(out, ignore_errors=True)
    identity = CheckpointIdentity(config.dump(settings), config.digest(settings), "")
    train(objective, settings.train, out=out, batches=batches, identity=identity, device="cpu")


def command(
    description: str | None, kind: type[T], run: Callable[[T, Path], Record], table: Callable[[Record], str]
) -> None:
    """Read settings of a ``kind`` from a YAML file, run the experiment in a directory, write ``results.json``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", type=Path, help="YAML file")
    parser.add_argument("--out", type=Path, required=True, help="directory for the runs and results.json")
    given = parser.parse_args()
    results = run(config.load(given.settings, kind), given.out)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(table(results))
