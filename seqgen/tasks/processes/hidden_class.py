"""The task of a hidden class: sequences about slow curves, so that a code is known to hold what lasts, or not to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seqgen import config as configs
from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import language_model
from seqgen.generation.contract import Density
from seqgen.noise import Key
from seqgen.spec import Facts
from seqgen.tasks.codes import classes_told
from seqgen.tasks.contract import Evaluation, Split, System, Task, TaskExample
from seqgen.tasks.drawn import scored
from seqgen.tasks.networks import require_vocab_size
from seqgen.tasks.processes.sequences import DrawnSequences, measured
from seqgen.tasks.processes.templates import Templates
from seqgen.tasks.table import Table, ratio


@dataclass(frozen=True)
class HiddenClassConfig:
    """Sequences of noisy templates.

    Attributes:
        process: what draws them. seed: of validation and test sequences. held_out: validation sequences, and as many
            test sequences. probed: training sequences whose codes classifiers of the class learn from (0: none).
    """

    process: Templates = field(default_factory=Templates)
    seed: int = 0
    held_out: int = 1024
    probed: int = 4096

    def __post_init__(self) -> None:
        if self.held_out < 1 or self.probed < 0:
            raise SeqgenError(
                f"'held_out' is {self.held_out}, 'probed' {self.probed}", remedy="give 1 or more, and 0 or more"
            )


class HiddenClass(Task):
    """Task of sequences with a hidden class: what a model gives them is judged beside their known probabilities, and
    its codes by how well the class is told from them."""

    Config = HiddenClassConfig
    config: HiddenClassConfig
    evaluation_options = frozenset({"limit"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        small = {"process": {"classes": 2, "symbols": 3, "length": 6}, "held_out": 10, "probed": 12}
        yield cls.example(small, {"valid": 10, "test": 10}, {"generator": language_model(3)})

    def read_facts(self) -> Facts:
        return Facts(vocab_size=self.config.process.symbols, unit="symbol")

    def describe(self) -> str:
        process = self.config.process
        return f"sequences of {process.length} from {process.symbols} symbols, of {process.classes} hidden classes"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse models of another alphabet."""
        require_vocab_size(networks, self.facts.vocab_size)

    def adopt(self, network: nn.Module, facts: Facts, where: str) -> None:
        """Refuse networks of another alphabet."""
        if facts.vocab_size != self.facts.vocab_size:
            raise SeqgenError(
                f"{where} was trained on {facts.vocab_size} symbols, this process has {self.facts.vocab_size}",
                remedy="give both the same task",
            )

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> DrawnSequences:
        process = self.config.process
        seed = self.run.train.seed if split == "train" else self.config.seed
        return DrawnSequences(
            process.draw,
            1 + process.length,
            rows=self.run.train.batch_size,
            key=Key(seed, noise.name_to_stream(f"seqgen.hidden_class.{split}")),
            count=self.config.held_out,
            labels=process.labels,
        )

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method on test sequences, their known cost in nats, and how often the class is told: from
        codes, and from the sequences themselves by who knows the process."""
        assert system.objective is not None
        source, process = self.source("test", system.networks), self.config.process
        given, figures = measured(source, system.objective, self.run.train.seed, options.limit)
        under = process.log_prob(given)  # [N, C]
        ones, label = np.ones(len(given)), np.concatenate([batch.label.numpy() for batch in source.whole()])
        known = np.logaddexp.reduce(under, axis=1) - np.log(process.classes)
        generator = system.networks.get("generator")
        if isinstance(generator, Density):
            figures["nats_per_sequence"] = ratio(-scored(generator, given), ones, "nats")
        figures["nats_per_sequence_process"] = ratio(-known, ones, "nats")
        if self.config.probed:
            learnt = self.source("train", system.networks)
            learnt.count = self.config.probed
            figures |= classes_told(system.networks, learnt.whole(), source.whole(), most=self.config.probed)
        figures["class_by_process"] = ratio(100.0 * (under.argmax(axis=1) == label), ones, "%")
        return Table(
            title=f"{len(given):,} sequences, checkpoint {system.label}",
            figures=figures,
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "sequences": len(given),
            },
        )
