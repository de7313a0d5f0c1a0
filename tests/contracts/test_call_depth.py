"""Frames of the library between the training loop's step and the network: few, so that one can follow."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import seqgen
from seqgen.distributions.categorical import Categorical
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.models.recurrent import Recurrent
from seqgen.objectives.likelihood import Likelihood
from seqgen.spec import Facts
from seqgen.tasks.text.batches import Batch
from seqgen.train.identity import CheckpointIdentity
from seqgen.train.loop import Recipe, train
from seqgen.train.settings import TrainConfig
from seqgen.train.source import Source

LIBRARY = Path(seqgen.__file__).parent
MOST = 6
SIZES = Recurrent.Config(vocab_size=5, outputs=5, hidden=4, embedding=2)


class Watched(Recurrent):
    """A network that notes the functions of the library between the loop's step and itself, the nearest first."""

    seen: tuple[str, ...] = ()

    def step(self, x: Tensor, state: Any, cond: Any = None) -> tuple[Tensor, Any]:
        inside = [frame for frame in inspect.stack() if LIBRARY in Path(frame.filename).parents]
        names = [frame.function for frame in inside]
        if "_step" in names:
            self.seen = tuple(names[: names.index("_step")])
        return super().step(x, state, cond)


class Rows(Source):
    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        for _ in range(start, stop):
            yield Batch(torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3, 3]), ("a", "b"))

    def whole(self) -> Iterable[Batch]:
        return self.batches(0, 1, 0, 1)


def test_few_frames_lead_from_the_step_to_the_network(tmp_path: Path) -> None:
    body = Watched(SIZES)
    generator = AutoRegressive(body, Categorical(Categorical.Config(classes=5)), None, start=0, symbols_per_sample=1)
    objective = Likelihood(Likelihood.Config(), {"generator": generator}, Facts(vocab_size=5))
    recipe = Recipe(TrainConfig(steps=1, batch_size=2))
    train(objective, recipe, out=tmp_path, source=Rows(), identity=CheckpointIdentity("", "", ""), device="cpu")
    assert body.seen, "the network was not called from a step"
    assert len(body.seen) <= MOST, " < ".join(body.seen)
