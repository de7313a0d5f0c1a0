"""Toy objectives and batches for the tests of the training loop; ``python -m tests.unit.train_toy`` trains one."""

from __future__ import annotations

import argparse
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective
from seqgen.train import checkpoint
from seqgen.train.checkpoint import CheckpointIdentity
from seqgen.train.loop import Outcome, train
from seqgen.train.settings import TrainConfig

ROWS, TIME, WIDTH = 8, 5, 3
IDENTITY = CheckpointIdentity("train:\n  steps: 30\n  learning_rate: 0.01\n", "0123456789ab", "features-1")


@dataclass(frozen=True)
class Batch:
    """Rows of unequal length, so that parts of a batch weigh differently."""

    x: Tensor
    lengths: Tensor
    ids: tuple[str, ...]


def batches(start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
    for step in range(start, stop):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(ROWS, TIME, WIDTH, generator=generator)
        lengths = torch.randint(1, TIME + 1, (ROWS,), generator=generator)
        ids = tuple(f"{step}-{row}" for row in range(ROWS))
        yield Batch(x[rank::world], lengths[rank::world], ids[rank::world])


def valid() -> list[Batch]:
    return list(batches(10_000, 10_003, 0, 1))


def growing_valid() -> Callable[[], list[Batch]]:
    """One batch at the first validation, two at the second: fewer than the processes, as many, more."""
    stops = itertools.count(10_001)
    return lambda: list(batches(10_000, next(stops), 0, 1))


def _mean(error: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    real = (torch.arange(error.shape[1])[None] < lengths[:, None]).to(error.dtype)
    return (error * real).sum() / real.sum(), real.sum()


class Regression(Objective):
    """Predicts the sum of a frame; counts the frames it has seen, as an objective with buffers would."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))
        self.register_buffer("seen", torch.zeros(()))

    def loss(self, batch: Batch, player: str, rng: Key) -> Loss:
        error = (self.net(batch.x) - batch.x.sum(-1, keepdim=True))[..., 0] ** 2
        total, weight = _mean(error, batch.lengths)
        return Loss(total, {"root": total.detach().sqrt()}, weight, {"seen": weight.detach()})

    def after_update(self, aux: dict[str, Tensor]) -> None:
        self.seen += aux["seen"]


class Rivals(Objective):
    """Two players: a forger whose loss runs through the judge, and the judge; each update counts."""

    players = MappingProxyType({"judge": ("judge",), "forger": ("forger",)})

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.judge, self.forger = nn.Linear(WIDTH, 1), nn.Linear(WIDTH, WIDTH)
        self.register_buffer("seen", torch.zeros(()))

    def loss(self, batch: Batch, player: str, rng: Key) -> Loss:
        forged = self.judge(self.forger(batch.x))[..., 0]
        error = (forged - 1) ** 2 if player == "forger" else (self.judge(batch.x)[..., 0] - 1) ** 2 + forged**2
        total, weight = _mean(error, batch.lengths)
        return Loss(total, {}, weight, {"seen": weight.detach()})

    def after_update(self, aux: dict[str, Tensor]) -> None:
        self.seen += aux["seen"]


def settings(**changes: Any) -> TrainConfig:
    given = {"steps": 30, "batch_size": ROWS, "learning_rate": 0.01, "warmup": 3, "schedule": "cosine", "ema": 0.9}
    every = {"validate_every": 10, "checkpoint_every": 4, "log_every": 5}
    return TrainConfig(**{**given, **every, **changes})


def run(out: Path, objective: Objective | None = None, **options: Any) -> Outcome:
    """Train with the toy defaults; fields of TrainConfig and arguments of ``train`` may be given."""
    arguments = {"batches": batches, "valid": valid, "identity": IDENTITY, "device": "cpu"}
    names = ("batches", "valid", "identity", "sparsity", "quantise", "resume", "init_from", "on_validate", "device")
    arguments.update({name: options.pop(name) for name in names if name in options})
    return train(objective or Regression(), settings(**options), out=out, **arguments)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_at(fatal: int) -> Any:
    """Batches that kill the process, as ``kill -9`` would, when the step ``fatal`` is asked for."""

    def made(start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(start, stop, rank, world), start):
            if step == fatal:
                die()
            yield batch

    return made


def die_while_writing(count: int) -> None:
    """Kill the process when the ``count``-th checkpoint file is half on the disk."""
    original, written = checkpoint._write, []

    def write(path: Path, data: bytes) -> None:
        written.append(path)
        if len(written) == count:
            original(path, data[: len(data) // 2])
            die()
        original(path, data)

    checkpoint._write = write


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--objective", choices=["regression", "rivals"], default="regression")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--die-at-step", type=int, default=-1)
    parser.add_argument("--die-at-file", type=int, default=0)
    given = parser.parse_args()
    if given.die_at_file:
        die_while_writing(given.die_at_file)
    objective = Regression() if given.objective == "regression" else Rivals()
    with torch.no_grad():  # processes that start from different numbers must still train as one
        for tensor in (*objective.parameters(), *objective.buffers()):
            tensor += int(os.environ.get("RANK", "0"))
    data = growing_valid() if given.objective == "rivals" else valid
    run(given.out, objective, accumulate=given.accumulate, batches=dying_at(given.die_at_step), valid=data)


if __name__ == "__main__":
    main()
