"""The task of vectors: a fixed number of sequences of real frames that a known process has drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seqgen import config as configs
from seqgen import noise, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Split, System, Task, TaskExample
from seqgen.tasks.passes import Passes
from seqgen.tasks.processes.hidden_markov import Symbols
from seqgen.tasks.processes.vector_processes import VectorProcess
from seqgen.tasks.table import Gathered, Table

_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step


@dataclass(frozen=True)
class VectorsConfig:
    """A process, and how much is drawn from it.

    Attributes:
        process: registered one and its options. examples: sequences that are learnt from, again in each pass.
        held_out: validation sequences, and as many test ones. seed: of all of them.
    """

    process: Component = field(default_factory=lambda: Component("pinwheel"))
    examples: int = 500
    held_out: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.examples, self.held_out) < 1:
            raise SeqgenError(f"{self.examples} examples, {self.held_out} held out", remedy="give 1 or more of each")


@dataclass(frozen=True)
class Batch:
    """B sequences of T frames of D numbers.

    Attributes:
        x: frames one after the other, ``[B, T·D, 1]`` float32. lengths: T·D for each. ids: of the sequences.
        index: ``[B]`` int64, numbers of the sequences among those that are learnt from; -1 of one that is held out.
        label: ``[B]`` int64, their classes.
    """

    x: Tensor
    lengths: Tensor
    ids: tuple[str, ...]
    index: Tensor
    label: Tensor
    skip: None = None
    cond: None = None


class DrawnVectors(Passes):
    """Sequences of a split, all of them in each pass, in another order each time; passes follow without a gap.

    Args:
        process: what drew them. count: sequences. rows: of a batch. key: of what they are drawn by.
        seed: of the orders. learnt: whether these are the sequences that are learnt from.

    Attributes:
        x, label, quiet: as they were drawn (:class:`~seqgen.tasks.processes.vector_processes.Vectors`).
    """

    def __init__(
        self, process: VectorProcess, count: int, *, rows: int, key: Key, seed: int = 0, learnt: bool = False
    ) -> None:
        super().__init__(rows=rows, seed=seed)
        self.learnt = learnt
        u = noise.block(*key, 0, count * process.num_uniforms).astype(np.float64)
        self.x, self.label, self.quiet = process.draw(u.reshape(count, process.num_uniforms))

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, numbers: Symbols) -> Batch:
        """The sequences of these numbers."""
        x = torch.from_numpy(self.x[numbers]).float().flatten(1)  # [B, T·D]
        index = torch.from_numpy(numbers)
        return Batch(
            x[..., None],
            torch.full((len(x),), x.shape[1]),
            tuple(f"{number:06d}" for number in numbers),
            index if self.learnt else torch.full_like(index, -1),
            torch.from_numpy(self.label[numbers]),
        )


class VectorSequences(Task):
    """Task of real vectors: a model learns the frames that a known process has drawn."""

    Config = VectorsConfig
    config: VectorsConfig
    evaluation_options = frozenset({"limit", "seed", "evidence_samples"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        for name in registry.VECTOR_PROCESSES:
            options = {"process": {"name": name}, "examples": 10, "held_out": 6}
            yield cls.example(options, {"valid": 6, "test": 6})

    @cached_property
    def process(self) -> VectorProcess:
        """What the sequences are drawn by."""
        made: VectorProcess = configs.construct(self.config.process, registry.VECTOR_PROCESSES, source="task.process")
        return made

    def read_facts(self) -> Facts:
        return Facts(examples=self.config.examples, shape=(self.process.frames, self.process.dim), unit="number")

    def describe(self) -> str:
        frames, dim = self.facts.shape
        return f"{self.facts.examples:,} sequences of {frames} frames of {dim} numbers"

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> DrawnVectors:
        count = self.config.examples if split == "train" else self.config.held_out
        key = Key(self.config.seed, noise.name_to_stream(f"seqgen.vectors.{split}"))
        settings = self.run.train
        return DrawnVectors(
            self.process, count, rows=settings.batch_size, key=key, seed=settings.seed, learnt=split == "train"
        )

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method on the test sequences."""
        system = system.measured_by(options.evidence_samples)
        assert system.objective is not None
        source, found, seen = self.source("test", dict(system.networks)), Gathered(), 0
        for index, batch in enumerate(source.whole()):
            if options.limit and seen >= options.limit:
                break
            found.add(system.objective.measure(batch, Key(options.seed, _EVALUATION + index), index), batch.ids)
            seen += len(batch.ids)
        return Table(
            title=f"{seen:,} sequences, checkpoint {system.label}",
            figures=found.figures,
            record={"config_digest": configs.digest(self.run), "checkpoint": system.label, "sequences": seen},
            examples=found.examples,
        )
