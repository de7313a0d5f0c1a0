"""The seasonal task: symbols of a process whose entropy is known, so that what a model has learnt is told exactly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor, nn

from seqgen import config as configs
from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.files.outputs import write_text
from seqgen.generation.autoregressive import language_model
from seqgen.generation.contract import Density, Generator
from seqgen.noise import Key
from seqgen.objectives.contract import Measure
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.networks import require_vocab_size
from seqgen.tasks.processes.batch import Batch, numbered
from seqgen.tasks.table import Figure, Gathered, Table
from seqgen.train.source import Source

_STREAMS = {split: noise.name_to_stream(name) for split, name in
            (("train", "train"), ("valid", "validation"), ("test", "held out"))}  # fmt: skip
_ROWS = 16  # rows of a batch that is validated on


@dataclass(frozen=True)
class Seasonal:
    """Gaussian process with a season, cut into equal levels: ``x_t = a x_{t-season} + ε_t``.

    Level ``j`` of L is ``2j/(L-1) - 1``. Cells are small against the noise, so the entropy of the levels is that of
    the density less the logarithm of a cell's width: ``½ log2(2πe·deviation²) - log2(2/(L-1))`` without the past, and
    ``½ log2(1/(1 - a²))`` less given the season before (with 256 levels 0.0006 bits remain, the noise that the cells
    add to the past).

    Attributes:
        season: symbols from one to the next that it tells of. coefficient: a.
        deviation: standard deviation of x. levels: L.

    Raises:
        SeqgenError: for numbers that make no such process.
    """

    season: int = 64
    coefficient: float = 0.95
    deviation: float = 0.25
    levels: int = 256

    def __post_init__(self) -> None:
        if self.season < 1 or self.levels < 2 or self.deviation <= 0 or not -1 < self.coefficient < 1:
            raise SeqgenError(
                f"seasonal process: got {self}",
                remedy="choose season >= 1, levels >= 2, deviation > 0 and a coefficient inside -1 to 1",
            )

    @property
    def marginal_entropy(self) -> float:
        """Entropy of one symbol in bits, nothing known."""
        return 0.5 * math.log2(2 * math.pi * math.e * self.deviation**2) - math.log2(2 / (self.levels - 1))

    @property
    def entropy_rate(self) -> float:
        """Entropy of one symbol in bits, given all before."""
        return self.marginal_entropy - 0.5 * math.log2(1 / (1 - self.coefficient**2))

    def draw(self, rows: int, length: int, key: Key, block: int) -> Tensor:
        """Stationary rows of levels, int64 ``[rows, length]``; other blocks of a stream are independent."""
        seasons = -(-length // self.season)
        count = rows * seasons * self.season
        u = noise.block(key.seed, key.stream, block * count, count)
        fresh = ndtri(np.clip(u, 2.0**-25, None)).reshape(seasons, rows, self.season)
        x = [self.deviation * fresh[0]]
        for new in fresh[1:]:
            x.append(self.coefficient * x[-1] + self.deviation * math.sqrt(1 - self.coefficient**2) * new)
        row = np.concatenate(x, axis=1)[:, :length]
        top = self.levels - 1
        return torch.from_numpy(np.rint((row.clip(-1, 1) + 1) * (top / 2)).astype(np.int64))


@dataclass(frozen=True)
class SeasonalConfig:
    """Rows of a seasonal process.

    Attributes:
        process: what draws them. length: symbols of a row. held_out: rows to validate on, and as many to be judged by.
    """

    process: Seasonal = field(default_factory=Seasonal)
    length: int = 512
    held_out: int = 64

    def __post_init__(self) -> None:
        if self.length < 1 or self.held_out < 2:
            raise SeqgenError(
                f"'length' is {self.length}, 'held_out' {self.held_out}", remedy="give 1 or more, and 2 or more"
            )


@dataclass(frozen=True)
class SeasonalRows(Source):
    """Rows drawn as they are asked for: none comes twice, and the batch of a number is a function of the number.

    Attributes:
        process: what draws them. length: symbols of a row. rows: of a training batch. held_out: rows of the whole.
        key: of what is drawn.
    """

    process: Seasonal
    length: int
    rows: int
    held_out: int
    key: Key

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        for number in range(start, stop):
            x = self.process.draw(self.rows, self.length, self.key, number)
            first = number * self.rows
            yield _batch(x[rank::world], numbered(range(first + rank, first + self.rows, world)))

    def whole(self) -> Iterator[Batch]:
        x = self.process.draw(self.held_out, self.length, self.key, 0)
        for first in range(0, self.held_out, _ROWS):
            part = x[first : first + _ROWS]
            yield _batch(part, numbered(range(first, first + len(part))))


def _batch(x: Tensor, ids: tuple[str, ...]) -> Batch:
    return Batch(x, torch.full((len(x),), x.shape[1]), ids)


class SeasonalSymbols(Task):
    """Networks learn the symbols of a seasonal process; a density called ``generator`` is judged in bits per symbol
    beside the entropy that no model can get below."""

    Config = SeasonalConfig
    config: SeasonalConfig
    evaluation_options = frozenset({"limit"})
    sampling_options = frozenset({"out", "length", "temperature", "seed"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        options = {"process": {"season": 4, "levels": 8}, "length": 12, "held_out": 18}
        yield cls.example(options, {"valid": 18, "test": 18}, {"generator": language_model(8)})

    def read_facts(self) -> Facts:
        levels = self.config.process.levels
        return Facts(vocab_size=levels, start=float(levels // 2), unit="symbol")

    def describe(self) -> str:
        process = self.config.process
        without = f"{process.marginal_entropy:.4f} without the past"
        return f"a process of {process.entropy_rate:.4f} bits per symbol ({without})"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse models of another alphabet."""
        require_vocab_size(networks, self.facts.vocab_size)

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> SeasonalRows:
        settings = self.run.train
        # What is learnt from follows the run's seed; what is judged by is the same for every run.
        key = Key(settings.seed if split == "train" else 0, _STREAMS[split])
        return SeasonalRows(self.config.process, self.config.length, settings.batch_size, self.config.held_out, key)

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Bits per symbol of rows not seen, two seasons into each, beside the known entropies."""
        density, process = _density(system), self.config.process
        past = 2 * process.season
        x = process.draw(self.config.held_out, past + self.config.length, Key(0, _STREAMS["test"]), 0)
        x = x[: options.limit] if options.limit else x
        bits = -density.log_prob(x)[:, past:].double() / math.log(2)
        found = Gathered()
        counts = torch.full((len(x),), self.config.length)
        found.add({"bits_per_symbol": Measure(bits.sum(dim=1), counts)}, numbered(range(len(x))))
        judged = found.figures["bits_per_symbol"]
        return Table(
            title=f"{len(x)} rows of {self.config.length} symbols, checkpoint {system.label}",
            figures={
                "bits_per_symbol": judged,
                "excess": Figure(judged.value - process.entropy_rate, judged.half_width, "bits"),
                "entropy_rate": Figure(process.entropy_rate, unit="bits"),
                "marginal_entropy": Figure(process.marginal_entropy, unit="bits"),
            },
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "rows": len(x),
                "symbols": len(x) * self.config.length,
                "context": density.body.spec.context if isinstance(density, Generator) else None,
                "parameters": sum(parameter.numel() for parameter in density.parameters()),
            },
            examples=found.examples,
        )

    @torch.no_grad()
    def sample(self, system: System, options: Sampling) -> str:
        """Draw one row of symbols, written as numbers."""
        density, length = _density(system), options.elements
        u = noise.block(options.seed, 0, 0, length * density.num_uniforms)
        made = density.sample(torch.from_numpy(u).view(1, length, -1), None, options.temperature)
        text = " ".join(str(int(symbol)) for symbol in made[0]) + "\n"
        write_text(options.out, text)
        return f"{options.out or 'standard output'}: {length} symbols"


def _density(system: System) -> Density:
    density = system.networks.get("generator")
    if not isinstance(density, Density):
        raise SeqgenError("this run trains no density", remedy="name the run of one, called generator")
    return density
