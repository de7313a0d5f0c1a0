"""The task of patterns: each sequence is one of a few known ones in autoregressive noise, so that what codes tell of
which one it is can be held against what the sequence itself tells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import logsumexp, ndtri
from torch import nn

from seqgen import config as configs
from seqgen import noise
from seqgen.analysis.linear_probe import Examples, ProbeConfig, probe
from seqgen.errors import SeqgenError
from seqgen.latents.variable import LatentVariable
from seqgen.noise import Key
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Split, System, Task, TaskExample
from seqgen.tasks.networks import require_vocab_size
from seqgen.tasks.processes.batch import Batch, numbered
from seqgen.tasks.table import Figure, Gathered, Table, ratio
from seqgen.train.source import Source

_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step
_WAVES = 4

Reals = npt.NDArray[np.float64]
Symbols = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PatternProcess:
    """Process ``x_t = m_c(t) + n_t,  n_t = a n_{t-1} + √(1 - a²) s ε_t``, cut into equal levels, its class c as likely
    as any other.

    Level ``j`` of L is ``2j/(L-1) - 1``. A class's pattern m_c is a sum of four waves of random phases and of whole
    numbers of periods in a sequence, of standard deviation ``amplitude``.

    Attributes:
        classes: how many. length: T. levels: L. amplitude: of a pattern. deviation: s. coefficient: a.
        seed: of the patterns.

    Raises:
        SeqgenError: for numbers that make no such process.
    """

    classes: int = 8
    length: int = 64
    levels: int = 256
    amplitude: float = 0.25
    deviation: float = 0.12
    coefficient: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = min(self.classes, self.levels, self.length) < 2 or min(self.amplitude, self.deviation) <= 0
        if sizes or not -1 < self.coefficient < 1:
            raise SeqgenError(
                f"process of patterns: got {self}",
                remedy="choose 2 or more classes, elements and levels, an amplitude and a deviation above 0 and a "
                "coefficient inside -1 to 1",
            )

    @property
    def num_uniforms(self) -> int:
        """Uniforms of one sequence: of its class, then of its noise."""
        return 1 + self.length

    @cached_property
    def patterns(self) -> Reals:
        """Patterns of the classes, ``[C, T]``."""
        u = noise.block(self.seed, noise.name_to_stream("seqgen.patterns"), 0, self.classes * _WAVES * 2)
        periods, phases = np.moveaxis(u.reshape(self.classes, _WAVES, 2), -1, 0)
        whole = 1 + np.floor(periods * max(1, self.length // 8))
        turns = np.arange(self.length)[:, None, None] * whole / self.length + phases  # [T, C, waves]
        made: Reals = np.sin(2 * math.pi * turns).sum(axis=-1).T * (self.amplitude * math.sqrt(2 / _WAVES))
        return made

    def draw(self, u: Reals) -> tuple[Symbols, Symbols]:
        """Sequences and their classes, ``[B, num_uniforms] → [B, T], [B]``."""
        classes = np.minimum((u[:, 0] * self.classes).astype(np.int64), self.classes - 1)
        fresh = self.deviation * ndtri(np.clip(u[:, 1:], 2.0**-25, None))
        x = self.patterns[classes]
        for t in range(self.length):
            own = fresh[:, t] * (math.sqrt(1 - self.coefficient**2) if t else 1)
            fresh[:, t] = own + (self.coefficient * fresh[:, t - 1] if t else 0)
        top = self.levels - 1
        return np.rint(((x + fresh).clip(-1, 1) + 1) * (top / 2)).astype(np.int64), classes

    def log_prob(self, x: Symbols) -> Reals:
        """``ln p(x | c)`` of sequences in nats, ``[B, T] → [B, C]``: the density at the middle of each cell times its
        width, which is near where cells are small against the noise."""
        width = 2 / (self.levels - 1)
        apart = (x * width - 1)[:, None] - self.patterns  # [B, C, T]
        fresh = apart[..., 1:] - self.coefficient * apart[..., :-1]
        scale = self.deviation * math.sqrt(1 - self.coefficient**2)
        first = -0.5 * (apart[..., 0] / self.deviation) ** 2 - math.log(self.deviation)
        rest = -0.5 * (fresh / scale) ** 2 - math.log(scale)
        made: Reals = first + rest.sum(axis=-1) + self.length * (math.log(width) - 0.5 * math.log(2 * math.pi))
        return made


@dataclass(frozen=True)
class LabelledBatch(Batch):
    """B sequences with their classes, ``label [B]``."""

    label: torch.Tensor | None = None


@dataclass(frozen=True)
class DrawnPatterns(Source):
    """Source of sequences that the process draws, each a function of the noise's key and of its number.

    Attributes:
        process: what draws them. rows: of a batch. count: sequences of the whole. key: of the noise.
    """

    process: PatternProcess
    rows: int
    count: int
    key: Key

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[LabelledBatch]:
        return (self._rows(range(number * self.rows + rank, (number + 1) * self.rows, world))
                for number in range(start, stop))  # fmt: skip

    def whole(self) -> Iterator[LabelledBatch]:
        firsts = range(0, self.count, self.rows)
        return (self._rows(range(first, min(first + self.rows, self.count))) for first in firsts)

    def _rows(self, numbers: range) -> LabelledBatch:
        each = self.process.num_uniforms
        x, label = self.process.draw(noise.uniforms(*self.key, each * np.array(numbers)[:, None] + np.arange(each)))
        lengths = torch.full((len(numbers),), x.shape[1])
        return LabelledBatch(torch.from_numpy(x), lengths, numbered(numbers), label=torch.from_numpy(label))


@dataclass(frozen=True)
class PatternsConfig:
    """Options of the task of patterns.

    Attributes:
        process: what draws the sequences, without end for training.
        held_out: sequences to validate on, and as many to be judged by.
    """

    process: PatternProcess = field(default_factory=PatternProcess)
    held_out: int = 2000

    def __post_init__(self) -> None:
        if self.held_out < 2:
            raise SeqgenError(f"'held_out' is {self.held_out}", remedy="give 2 or more")


class Patterns(Task):
    """Task of patterns: networks learn from sequences of classes that they are not told; what a latent-variable model's
    codes tell of the class is judged by a linear probe."""

    Config = PatternsConfig
    config: PatternsConfig
    evaluation_options = frozenset({"limit"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        options = {"process": {"classes": 3, "length": 8, "levels": 16}, "held_out": 30}
        yield cls.example(options, {"valid": 30, "test": 30})

    def read_facts(self) -> Facts:
        levels = self.config.process.levels
        return Facts(vocab_size=levels, start=float(levels // 2), unit="symbol")

    def describe(self) -> str:
        process = self.config.process
        return f"sequences of {process.length} from {process.levels} levels, of {process.classes} patterns in noise"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse models of another alphabet."""
        require_vocab_size(networks, self.facts.vocab_size)

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> DrawnPatterns:
        # What is learnt from follows the run's seed; what is judged by is the same for every run.
        key = Key(self.run.train.seed if split == "train" else 0, noise.name_to_stream(f"seqgen.patterns.{split}"))
        return DrawnPatterns(self.config.process, self.run.train.batch_size, self.config.held_out, key)

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method beside those of the process, and of a probe of codes, which learns from every other
        sequence and is judged by the rest."""
        assert system.objective is not None
        model = next((one for one in system.networks.values() if isinstance(one, LatentVariable)), None)
        source, found = self.source("test", system.networks), Gathered()
        x, labels, codes, count = [], [], [], 0
        for index, batch in enumerate(source.whole()):
            if options.limit and count >= options.limit:
                break
            count += len(batch.ids)
            found.add(system.objective.measure(batch, Key(self.run.train.seed, _EVALUATION + index), index), batch.ids)
            assert batch.label is not None
            x.append(batch.x.numpy())
            labels.append(batch.label.numpy())
            if model is not None:
                params, setting = model.encoded(batch)
                codes.append(model.posterior.code(params, setting).flatten(1).numpy())
        told = _known(self.config.process, np.concatenate(x), np.concatenate(labels))
        if codes:
            told |= _probed(np.concatenate(codes), np.concatenate(labels), self.config.process.classes)
        return Table(
            title=f"{count:,} sequences, checkpoint {system.label}",
            figures=found.figures | told,
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "sequences": count,
            },
        )


def _known(process: PatternProcess, x: Symbols, labels: Symbols) -> dict[str, Figure]:
    """What the process says of sequences: their likelihood, and what they tell of their class, in nats."""
    given = process.log_prob(x)  # [N, C]
    whole, ones = logsumexp(given, axis=1) - math.log(process.classes), np.ones(len(x))
    told = given[np.arange(len(x)), labels] - whole
    return {
        "nll_process": ratio(-whole, ones, "nats"),
        "information_of_class": ratio(told, ones, "nats")._replace(
            cap=math.log(process.classes), cap_formula=f"ln {process.classes}"
        ),
    }


def _probed(codes: npt.NDArray[Any], labels: Symbols, classes: int) -> dict[str, Figure]:
    """How often a linear probe tells the class by the code, and the nats of it that this shows, ``ln C + E ln q(c |
    z)``."""
    named, groups = labels.astype(str), np.arange(len(labels))
    train, test = (Examples(codes[part::2].astype(np.float32), named[part::2], groups[part::2]) for part in range(2))
    judged, ones = probe(train, test, ProbeConfig()), np.ones(len(test.labels))
    return {
        "class_probe": ratio(100 * judged.right, ones, "%"),
        "class_probe_information": ratio(math.log(classes) - judged.surprise, ones, "nats"),
    }
