"""Actor, critic and discriminator trained by several processes; each writes what it holds in the end.

``python -m tests.unit.actual_processes OUT``, under torchrun.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from seqgen.generation.autoregressive import language_model
from seqgen.generation.examples import body
from seqgen.objectives.actual import Actual
from seqgen.objectives.contract import Rows
from seqgen.spec import Facts
from seqgen.train import weights
from seqgen.train.settings import PlayerConfig
from tests.unit import train_toy as toy

SYMBOLS, STEPS = 4, 8


def batches(start: int, stop: int, rank: int, world: int) -> Iterator[Rows]:
    """Rows of unequal length; those of a process are its share."""
    for step in range(start, stop):
        generator = torch.Generator().manual_seed(step)
        x = torch.randint(SYMBOLS, (toy.ROWS, 5), generator=generator)
        lengths = torch.randint(1, 6, (toy.ROWS,), generator=generator)
        yield Rows(x[rank::world], lengths[rank::world])


def main(out: Path) -> None:
    """Train, and write all tensors of this process."""
    rank = int(os.environ.get("RANK", "0"))
    torch.manual_seed(rank)  # processes that start from different numbers must still train as one
    judges = {"critic": body(SYMBOLS, SYMBOLS), "discriminator": body(SYMBOLS, 1)}
    networks = {"generator": language_model(SYMBOLS), **judges}
    objective = Actual(Actual.Config("reinforce", target_rate=0.2), networks, Facts(vocab_size=SYMBOLS))
    with torch.no_grad():
        objective.mean_reward.value += rank
        for parameter in (*objective.target_critic.parameters(), *objective.target_generator.parameters()):
            parameter += rank
    players = {"discriminator": PlayerConfig(repeat=2), "actor": PlayerConfig(after=2)}
    toy.run(out, objective, steps=STEPS, batches=batches, valid=None, players=players)
    save_file({name: value.contiguous() for name, value in weights.of(objective).items()}, out / f"{rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
