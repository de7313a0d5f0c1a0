"""The counting task: sequences that count upwards, with slips now and then."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Split, System, Task, TaskExample
from seqgen.tasks.networks import require_vocab_size
from seqgen.tasks.table import Figure, Gathered, Table
from seqgen.train.source import Source


@dataclass(frozen=True)
class Batch:
    """B sequences: ``x [B, T]`` int64 symbols, ``lengths [B]``, ``ids`` of the rows; nothing to be conditioned on."""

    x: Tensor
    lengths: Tensor
    ids: tuple[str, ...]
    cond: None = None


@dataclass(frozen=True)
class CountingConfig:
    """``symbols`` of the alphabet, ``length`` of a sequence, ``slips``: probability that a count is left out,
    ``held_out`` sequences to validate on, and as many to test on."""

    symbols: int = 5
    length: int = 12
    slips: float = 0.1
    held_out: int = 32

    def __post_init__(self) -> None:
        if min(self.symbols, self.length, self.held_out) < 1 or not 0 <= self.slips <= 1:
            raise SeqgenError(f"counting: got {self}", remedy="give sizes from 1 and a probability of slips")


@dataclass(frozen=True)
class Counts(Source):
    """Counting sequences, each a function of the key and of its number."""

    config: CountingConfig
    rows: int
    key: Key

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        return (self._batch(range(n * self.rows + rank, (n + 1) * self.rows, world)) for n in range(start, stop))

    def whole(self) -> Iterator[Batch]:
        count = self.config.held_out
        return (self._batch(range(n, min(n + self.rows, count))) for n in range(0, count, self.rows))

    def _batch(self, numbers: range) -> Batch:
        length = self.config.length
        places = length * torch.tensor(numbers)[:, None] + torch.arange(length)
        u = torch.from_numpy(noise.uniforms(*self.key, places.numpy()))  # [B, T]
        steps = torch.where(u < self.config.slips, 2, 1)
        steps[:, 0] = (u[:, 0] * self.config.symbols).to(torch.int64)
        x = steps.cumsum(dim=1) % self.config.symbols
        return Batch(x, torch.full((len(x),), length), tuple(f"{number:06d}" for number in numbers))


class Counting(Task):
    """Networks learn to count; whatever a method measures is set beside what cannot be foreseen."""

    Config = CountingConfig
    config: CountingConfig

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        return [cls.example({"symbols": 4, "length": 6, "held_out": 9}, {"valid": 9, "test": 9})]

    def read_facts(self) -> Facts:
        return Facts(vocab_size=self.config.symbols, unit="symbol")

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse models of another alphabet."""
        require_vocab_size(networks, self.facts.vocab_size)

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> Counts:
        settings = self.run.train
        return Counts(self.config, settings.batch_size, Key(settings.seed, noise.name_to_stream(f"counting.{split}")))

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        assert system.objective is not None
        found = Gathered()
        for index, batch in enumerate(self.source("test", system.networks).whole()):
            found.add(system.objective.measure(batch, Key(0, index), index), batch.ids)
        return Table(
            title=f"{self.config.held_out} counts, checkpoint {system.label}",
            figures={**found.figures, "least_nats_per_symbol": Figure(self._least())},
            record={"checkpoint": system.label},
            examples=found.examples,
        )

    def _least(self) -> float:
        """The entropy of a symbol given those before."""
        first, slips = math.log(self.config.symbols), self.config.slips
        each = -sum(p * math.log(p) for p in (slips, 1 - slips) if p)
        return (first + (self.config.length - 1) * each) / self.config.length
