"""Toy objectives and batches for the tests of the training loop; ``python -m tests.unit.train_toy`` trains one."""

from __future__ import annotations

import argparse
import itertools
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqgen.latents.contract import Setting
from seqgen.latents.uniform import UniformPrior
from seqgen.latents.vector_quantised import VectorQuantised
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Objective, Part
from seqgen.spec import Facts
from seqgen.train import checkpoint
from seqgen.train.identity import CheckpointIdentity
from seqgen.train.loop import Outcome, Recipe, train
from seqgen.train.settings import TrainConfig
from seqgen.train.source import Source

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


def parts(batch: Batch, *sizes: int) -> list[Batch]:
    """Rows of a batch in parts of these sizes."""
    stops = list(itertools.accumulate(sizes))
    cut = zip([0, *stops], stops, strict=False)
    return [Batch(batch.x[a:b], batch.lengths[a:b], batch.ids[a:b]) for a, b in cut]


class Toys(Source):
    """A source of such batches, made by functions."""

    def __init__(
        self, make: Callable[..., Iterator[Any]] = batches, every: Callable[[], Iterable[Any]] = valid
    ) -> None:
        self.make, self.every = make, every

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Any]:
        return self.make(start, stop, rank, world)

    def whole(self) -> Iterable[Any]:
        return self.every()


def mean(error: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of ``error [B, T]`` over what is real, and how much that is."""
    real = (torch.arange(error.shape[1])[None] < lengths[:, None]).to(error.dtype)
    return (error * real).sum() / real.sum(), real.sum()


class Toy(Objective):
    """A method whose networks are its own."""

    def __init__(self) -> None:
        super().__init__(None, {}, Facts())
        torch.manual_seed(0)

    def asked(self, batch: Any, player: str, rng: Key) -> Loss:
        """The loss as the loop asks for it."""
        with torch.no_grad():
            part = Part(batch, rng, self.begin(batch, rng))
        return self(part, player)


class Regression(Toy):
    """Predicts the sum of a frame; counts the frames it has seen, as an objective with buffers would."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))
        self.register_buffer("seen", torch.zeros(()))

    def loss(self, batch: Batch, player: str, rng: Key, shared: Any) -> Loss:
        error = (self.net(batch.x) - batch.x.sum(-1, keepdim=True))[..., 0]
        total, weight = mean(error**2, batch.lengths)
        distance, _ = mean(error.detach().abs(), batch.lengths)
        return Loss(total, {"distance": distance}, weight, {"seen": weight.detach()})

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        self.seen += aux["seen"]


class Rivals(Toy):
    """Two players: a forger whose loss runs through the judge, and the judge; each update counts."""

    players = MappingProxyType({"judge": ("judge",), "forger": ("forger",)})

    def __init__(self) -> None:
        super().__init__()
        self.judge, self.forger = nn.Linear(WIDTH, 1), nn.Linear(WIDTH, WIDTH)
        self.register_buffer("seen", torch.zeros(()))

    def loss(self, batch: Batch, player: str, rng: Key, shared: Any) -> Loss:
        forged = self.judge(self.forger(batch.x))[..., 0]
        error = (forged - 1) ** 2 if player == "forger" else (self.judge(batch.x)[..., 0] - 1) ** 2 + forged**2
        total, weight = mean(error, batch.lengths)
        return Loss(total, {}, weight, {"seen": weight.detach()})

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        self.seen += aux["seen"]


class Standing(Rivals):
    """Rivals of whom the judge stands still for two steps of four or so, by what all processes have seen."""

    def frozen(self, player: str) -> bool:
        return player == "judge" and int(self.seen) // 100 % 2 == 1

    def loss(self, batch: Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        return loss._replace(terms={"still": loss.total.new_tensor(self.frozen(player))})


class Contrast(Toy):
    """Each row's later frames are to be told from those of all other rows; buffers follow, and dropout is drawn."""

    couples_rows = True

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(WIDTH, 8), nn.Dropout(0.3), nn.Linear(8, 4))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("centre", torch.zeros(4))

    def loss(self, batch: Batch, player: str, rng: Key, shared: Any) -> Loss:
        found = self.net(batch.x)
        early, late = found[:, :2].mean(dim=1), found[:, 2:].mean(dim=1)
        total = functional.cross_entropy(early @ late.T, torch.arange(len(early)))
        aux = {"seen": total.new_tensor(len(early)), "centre": early.detach().mean(dim=0)}
        return Loss(total, {}, total.new_tensor(len(early)), aux)

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        self.seen += aux["seen"]
        self.centre.lerp_(aux["centre"], 0.1)


class Natural(Toy):
    """``½ Σ_i m_i (x_i - w_i)²`` along its natural gradient ``(w - x)``, whatever the metric m is; a gain beside it
    follows its own gradient."""

    directed: bool = True

    def __init__(self) -> None:
        super().__init__()
        self.place, self.gain = nn.Parameter(torch.zeros(WIDTH)), nn.Parameter(torch.ones(()))
        self.register_buffer("metric", torch.tensor([0.25, 2.0, 8.0]))

    def loss(self, batch: Batch, player: str, rng: Key, shared: Any) -> Loss:
        away = self.place - batch.x
        error = 0.5 * (self.metric * away**2).sum(-1) + 0.5 * (self.gain * batch.x[..., 0] - batch.x[..., 1]) ** 2
        total, weight = mean(error, batch.lengths)
        columns = [mean(column, batch.lengths)[0] for column in away.detach().unbind(dim=-1)]
        return Loss(total, {}, weight, directions={"place": torch.stack(columns)} if self.directed else None)


class Codes(Toy):
    """Frames are told from two codebooks of averages, which begin where the first outputs of all rows lie, and whose
    entries of little use move."""

    def __init__(self) -> None:
        super().__init__()
        options = VectorQuantised.Config(dim=4, classes=6, groups=2, learning="averages", decay=0.8, revival=0.4)
        self.enter, self.posterior, self.leave = nn.Linear(WIDTH, 4), VectorQuantised(options), nn.Linear(4, WIDTH)

    def loss(self, batch: Batch, player: str, rng: Key, shared: Any) -> Loss:
        z, real = self.enter(batch.x), torch.arange(TIME) < batch.lengths[:, None]
        setting = Setting(UniformPrior(UniformPrior.Config(2, 6)), None, real)
        frames = self.posterior.draw(z, torch.zeros(1, *z.shape[:2], 0), setting).frames[0]
        error = (self.leave(frames) - batch.x).square().sum(dim=-1) * real
        each = error.sum(dim=1) + self.posterior.penalty(z, setting)
        return Loss(each.mean(), {}, each.new_tensor(len(each)), self.posterior.noted(z.detach(), setting))

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        self.posterior.after_update(aux)


TOYS: Mapping[str, type[Toy]] = MappingProxyType(
    {"regression": Regression, "standing": Standing, "contrast": Contrast, "natural": Natural, "codes": Codes}
)


def settings(**changes: Any) -> TrainConfig:
    given = {"steps": 30, "batch_size": ROWS, "learning_rate": 0.01, "warmup": 3, "schedule": "cosine", "ema": 0.9}
    every = {"validate_every": 10, "checkpoint_every": 4, "log_every": 5}
    return TrainConfig(**{**given, **every, **changes})


_RECIPE = ("players", "sparsity", "quantization")
_TRAIN = ("identity", "resume", "init_from", "on_validate", "device")


def run(out: Path, objective: Objective | None = None, **options: Any) -> Outcome:
    """Train with the toy defaults.

    ``options`` are fields of TrainConfig and of Recipe, and arguments of ``train``. The functions ``batches`` and
    ``valid`` make a source (``valid=None``: no validation).
    """
    make, every = options.pop("batches", batches), options.pop("valid", valid)
    source = options.pop("source", Toys(make))
    validation = options.pop("validation", Toys(every=every) if every is not None else None)
    recipe = {name: options.pop(name) for name in _RECIPE if name in options}
    given = {name: options.pop(name) for name in _TRAIN if name in options}
    arguments = {"identity": IDENTITY, "device": "cpu", "source": source, "validation": validation, **given}
    return train(objective or Regression(), Recipe(settings(**options), **recipe), out=out, **arguments)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def failing_at(fatal: int) -> Any:
    """Batches that raise when the step ``fatal`` is asked for."""

    def made(start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(start, stop, rank, world), start):
            if step == fatal:
                raise RuntimeError("gone")
            yield batch

    return made


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
    parser.add_argument("--objective", choices=TOYS, default="regression")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--die-at-step", type=int, default=-1)
    parser.add_argument("--die-at-file", type=int, default=0)
    given = parser.parse_args()
    if given.die_at_file:
        die_while_writing(given.die_at_file)
    objective = TOYS[given.objective]()
    with torch.no_grad():  # processes that start from different numbers must still train as one
        for tensor in (*objective.parameters(), *objective.buffers()):
            if tensor.is_floating_point():
                tensor += int(os.environ.get("RANK", "0"))
    data = valid if given.objective == "regression" else growing_valid()
    run(given.out, objective, accumulate=given.accumulate, batches=dying_at(given.die_at_step), valid=data)


if __name__ == "__main__":
    main()
