"""The finite task: blocks of symbols of a known distribution, against which a density is held exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seqgen import config as configs
from seqgen import noise, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.files.outputs import write_text
from seqgen.generation.contract import Density
from seqgen.noise import Key
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.drawn import drawn, scored
from seqgen.tasks.processes.finite_targets import Reals, Symbols, Target
from seqgen.tasks.processes.hidden_markov import every_sequence
from seqgen.tasks.processes.sequences import DrawnSequences, measured, written
from seqgen.tasks.table import Figure, Table, ratio

_ENUMERABLE = 100_000  # blocks that are gone through one by one
_UNIT = "nats/block"


@dataclass(frozen=True)
class FiniteConfig:
    """A distribution, and how much is drawn from it.

    Attributes:
        target: registered one and its options.
        held_out: validation blocks, and as many test blocks. Training blocks are drawn without end.
        samples: blocks of a density that an evaluation looks at. seed: of the validation and test blocks.
    """

    target: Component = field(default_factory=lambda: Component("dirichlet"))
    held_out: int = 4096
    samples: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("held_out", "samples"):
            if getattr(self, name) < 1:
                raise SeqgenError(f"'{name}' is {getattr(self, name)}", remedy="give 1 or more")


class Finite(Task):
    """Task of a known distribution over blocks: a density called ``generator`` is judged by it."""

    Config = FiniteConfig
    config: FiniteConfig
    evaluation_options = frozenset({"limit", "temperature", "seed"})
    sampling_options = frozenset({"out", "length", "temperature", "seed"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        kind = registry.DENSITIES.load("factorised")
        generator = kind(kind.Config(vocab_size=3, length=4))
        options = {"target": {"name": "dirichlet", "vocab_size": 3, "length": 4}, "held_out": 10, "samples": 16}
        yield cls.example(options, {"valid": 10, "test": 10}, {"generator": generator})

    @cached_property
    def target(self) -> Target:
        """The distribution."""
        made: Target = configs.construct(self.config.target, registry.TARGETS, source="task.target")
        return made

    def read_facts(self) -> Facts:
        return Facts(vocab_size=self.target.vocab_size, unit="symbol")

    def describe(self) -> str:
        target = self.target
        return f"blocks of {target.length} from {target.vocab_size} symbols with {target.entropy:.3f} nats"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse densities of another alphabet, or of blocks of another length."""
        target = self.target
        for name, one in networks.items():
            if not isinstance(one, Density):
                continue
            if one.vocab_size != target.vocab_size or one.length not in (0, target.length):
                raise SeqgenError(
                    f"networks.{name} is one of blocks of {one.length} from {one.vocab_size} symbols, the target's "
                    f"have {target.length} from {target.vocab_size}",
                    remedy=f"set length to {target.length}, vocab_size to {target.vocab_size}",
                )

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> DrawnSequences:
        # All runs of a target are judged by the same blocks.
        seed = self.run.train.seed if split == "train" else self.config.seed
        key = Key(seed, noise.name_to_stream(f"seqgen.finite.{split}"))
        rows, count = self.run.train.batch_size, self.config.held_out
        return DrawnSequences(self.target.draw, self.target.num_uniforms, rows=rows, key=key, count=count)

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method on the test blocks; of a density how likely it finds them, what share of its samples
        the target can draw, and by enumeration, where that can be, how likely it finds all blocks."""
        assert system.objective is not None
        source = self.source("test", system.networks)
        given, figures = measured(source, system.objective, self.run.train.seed, options.limit)
        density = system.networks.get("generator")
        if isinstance(density, Density):
            figures |= self._judged(density, given, options)
        target = self.target
        figures |= {
            "entropy": Figure(target.entropy, unit=_UNIT),
            "factorised_optimum": Figure(target.factorised, unit=_UNIT),
        }
        return Table(
            title=f"{len(given):,} blocks, checkpoint {system.label}",
            figures=figures,
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "blocks": len(given),
                "parameters": sum(parameter.numel() for parameter in density.parameters()) if density else 0,
            },
        )

    def _judged(self, density: Density, given: Symbols, options: Evaluation) -> dict[str, Figure]:
        likely, known = scored(density, given), self.target.log_prob(given)
        figures = {"nll": _mean(-likely), "divergence": _mean(known - likely)}
        if not options.likelihood_only:
            made = self._drawn(density, self.config.samples, options)
            possible = np.isfinite(self.target.log_prob(made)).astype(np.float64)
            figures["possible_samples"] = ratio(possible, np.ones(len(made)))
        if self.target.vocab_size**self.target.length <= _ENUMERABLE:
            every = every_sequence(self.target.vocab_size, self.target.length)
            p, log_q = np.exp(self.target.log_prob(every)), scored(density, every)
            figures["exact_nll"] = Figure(float(-(p @ log_q)), unit=_UNIT)
            figures["exact_mass"] = Figure(float(np.exp(log_q).sum()))
        return figures

    def _drawn(self, density: Density, count: int, options: Evaluation | Sampling) -> Symbols:
        return drawn(density, count, self.target.length, seed=options.seed, temperature=options.temperature)

    def sample(self, system: System, options: Sampling) -> str:
        """Write blocks, one a line, until they have the length that is asked for."""
        density = system.networks.get("generator")
        if not isinstance(density, Density):
            raise SeqgenError("this run trains no density", remedy="name the run of one")
        count = -(-options.elements // self.target.length)
        write_text(options.out, written(self._drawn(density, count, options)))
        return f"{options.out or 'standard output'}: {count} blocks"


def _mean(values: Reals) -> Figure:
    return ratio(values, np.ones(len(values)), _UNIT)
