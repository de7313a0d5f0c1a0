"""A problem of 27 sequences for actor, critic and discriminator, where everything is known by enumeration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.distributions.categorical import Categorical
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.noise import Key
from seqgen.objectives.actual import Actual, Rollout
from seqgen.objectives.contract import Part
from seqgen.spec import Facts, StreamSpec
from seqgen.stream.contract import Streamable
from seqgen.tasks.processes.hidden_markov import every_sequence

A, T = 3, 3
EVERY = torch.from_numpy(every_sequence(A, T))  # [27, 3]
REAL = torch.ones(1, T, dtype=torch.float64)
ESTIMATORS = ("all-actions", "reinforce", "advantage")


@dataclass(frozen=True)
class Batch:
    x: Tensor
    lengths: Tensor


class Table(Streamable[Tensor]):
    """A row of numbers for each sequence of symbols read so far: any function of a prefix at all."""

    def __init__(self, outputs: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn((A ** (T + 2) - 1) // (A - 1), outputs, generator=generator, dtype=torch.float64)
        self.rows = nn.Parameter(rows)
        self.spec = StreamSpec(in_dim=0, out_dim=outputs, context=None, vocab_size=A)
        self.double()

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        return torch.zeros(batch, dtype=torch.int64)

    def step(self, x: Tensor, state: Tensor, cond: Any = None) -> tuple[Tensor, Tensor]:
        rows = []
        for symbol in x.unbind(dim=1):
            state = state * A + 1 + symbol
            rows.append(self.rows[state])
        return torch.stack(rows, dim=1), state


def place(*symbols: int) -> int:
    """The row of a prefix."""
    row = 0
    for symbol in symbols:
        row = row * A + 1 + symbol
    return row


def made(**options: Any) -> Actual:
    generator = AutoRegressive(Table(A, 1), Categorical(Categorical.Config(A)), None, start=0, symbols_per_sample=1)
    networks = {"generator": generator, "critic": Table(A, 2), "discriminator": Table(1, 3)}
    return Actual(Actual.Config(**{"likelihood": 0.0, "reward_limit": 100.0, **options}), networks, Facts(vocab_size=A))


def batch(x: Tensor, lengths: Tensor | None = None) -> Batch:
    return Batch(x, torch.full((len(x),), T) if lengths is None else lengths)


def rollout(objective: Actual, y: Tensor) -> Rollout:
    return objective.rollout(y, REAL.expand(len(y), T))


def rewards(objective: Actual) -> Tensor:
    """What the discriminator says of each whole sequence, [27]."""
    return objective.discriminator(EVERY)[:, -1, 0].detach()


def sums(accuracy: float = 0.0, reward: float = 0.0) -> dict[str, Tensor]:
    """What losses tell of one row."""
    return {"accuracy": torch.tensor(accuracy), "reward": torch.tensor(reward), "rows": torch.tensor(1.0)}


def probabilities(objective: Actual) -> Tensor:
    """Of each sequence, [27]; differentiable."""
    return objective.generator.log_prob(EVERY).sum(dim=1).exp()


def prefixes() -> Iterator[tuple[int, ...]]:
    for length in range(T):
        yield from (tuple(row) for row in every_sequence(A, length).tolist())


@torch.no_grad()
def exact_q(objective: Actual) -> dict[tuple[int, ...], Tensor]:
    """Expected reward after each action, by enumeration: prefix -> [A]."""
    p, r, found = probabilities(objective), rewards(objective), {}
    for prefix in prefixes():
        values = []
        for action in range(A):
            start = torch.tensor([*prefix, action])
            inside = (EVERY[:, : len(start)] == start).all(dim=1)
            values.append((p * r)[inside].sum() / p[inside].sum())
        found[prefix] = torch.stack(values)
    return found


def know(objective: Actual, q: dict[tuple[int, ...], Tensor]) -> None:
    """Write Q into the critic's table."""
    with torch.no_grad():
        for prefix, values in q.items():
            objective.critic.rows[place(0, *prefix)] = values


def actor_gradient(objective: Actual, gradient: str = "all-actions") -> Tensor:
    """The expectation of the ascent direction over sequences of the generator, row by row through the loss."""
    objective.config = type(objective.config)(**{**vars(objective.config), "gradient": gradient})
    objective.zero_grad(set_to_none=True)
    for p, y in zip(probabilities(objective).detach(), EVERY, strict=True):
        part = Part(batch(y[None]), Key(0, 0), rollout(objective, y[None]))
        (-p * objective(part, "actor").total).backward()
    found: Tensor = objective.generator.body.rows.grad
    return found


def expected_reward_gradient(objective: Actual) -> Tensor:
    (found,) = torch.autograd.grad(probabilities(objective) @ rewards(objective), [objective.generator.body.rows])
    return found
