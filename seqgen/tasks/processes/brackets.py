"""The task of nested brackets: a generator is judged by errors of samples that go on beyond what it learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seqgen import config as configs
from seqgen import noise
from seqgen.analysis.sequence_probe import accuracy, both_modes
from seqgen.errors import SeqgenError
from seqgen.files.outputs import write_text
from seqgen.generation.autoregressive import AutoRegressive, language_model
from seqgen.generation.behaviour import channels
from seqgen.generation.contract import Generator
from seqgen.noise import Key
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.drawn import drawn
from seqgen.tasks.networks import require_vocab_size
from seqgen.tasks.processes.hidden_markov import Reals, Symbols
from seqgen.tasks.processes.nested_brackets import NestedBrackets
from seqgen.tasks.processes.sequences import DrawnSequences, measured, written
from seqgen.tasks.table import Figure, Table, ratio

_ORDER = 3  # of the n-grams that are counted


@dataclass(frozen=True)
class BracketsConfig:
    """Sequences of nested brackets.

    Attributes:
        process: what draws them. length: of every sequence that is learnt from. sample_length: of those that a
            generator is to make.
        seed: of validation and test sequences. held_out: validation sequences, and as many test sequences.
        samples: sequences of a generator that an evaluation looks at.
        probed: sequences of each mode that a probe is trained on, and half as many that it is tested on (0: no probe).
    """

    process: NestedBrackets = field(default_factory=NestedBrackets)
    length: int = 50
    sample_length: int = 400
    seed: int = 0
    held_out: int = 1024
    samples: int = 512
    probed: int = 1024

    def __post_init__(self) -> None:
        for name in ("length", "held_out", "samples"):
            if getattr(self, name) < 1:
                raise SeqgenError(f"'{name}' is {getattr(self, name)}", remedy="give 1 or more")
        if self.sample_length < self.length + _ORDER or self.length < _ORDER or self.probed < 0:
            raise SeqgenError(
                f"'sample_length' is {self.sample_length}, 'length' {self.length}, 'probed' {self.probed}",
                remedy=f"give samples {_ORDER} symbols longer than sequences, of {_ORDER} or more, and probed from 0",
            )


class Brackets(Task):
    """Task of nested brackets: networks learn from its sequences; one called ``generator`` is judged by its samples."""

    Config = BracketsConfig
    config: BracketsConfig
    evaluation_options = frozenset({"limit", "temperature", "seed", "keep"})
    sampling_options = frozenset({"out", "length", "temperature", "seed"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        small = {"length": 5, "sample_length": 12, "held_out": 10, "samples": 8, "probed": 8}
        yield cls.example(small, {"valid": 10, "test": 10}, {"generator": language_model(10)})

    def read_facts(self) -> Facts:
        return Facts(vocab_size=self.config.process.symbols, unit="symbol")

    def describe(self) -> str:
        config = self.config
        return f"sequences of {config.length} symbols, nested brackets of {config.process.kinds} kinds"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse models of another alphabet."""
        require_vocab_size(networks, self.facts.vocab_size)

    def adopt(self, network: nn.Module, facts: Facts, where: str) -> None:
        """Refuse networks of another alphabet."""
        if facts.vocab_size != self.facts.vocab_size:
            raise SeqgenError(
                f"{where} was trained on {facts.vocab_size} symbols, these brackets have {self.facts.vocab_size}",
                remedy="give both the same task",
            )

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> DrawnSequences:
        seed = self.run.train.seed if split == "train" else self.config.seed
        key = Key(seed, noise.name_to_stream(f"seqgen.brackets.{split}"))
        rows, count = self.run.train.batch_size, self.config.held_out
        return DrawnSequences(self.config.process.draw, self.config.length, rows=rows, key=key, count=count)

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method on test sequences; of a generator, also its samples' errors by position, and how well a
        probe tells its two modes apart."""
        assert system.objective is not None
        source = self.source("test", system.networks)
        given, figures = measured(source, system.objective, self.run.train.seed, options.limit)
        known = -np.log2(self.config.process.probabilities(given))
        figures["bits_per_symbol_process"] = _share(known)
        generator = system.networks.get("generator")
        if isinstance(generator, Generator) and not options.likelihood_only:
            figures |= self._judged(generator, options) | self._probed(generator)
        return Table(
            title=f"{len(known):,} sequences, checkpoint {system.label}",
            figures=figures,
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "sequences": len(known),
            },
        )

    def _judged(self, generator: Generator, options: Evaluation) -> dict[str, Figure]:
        """Errors of samples, in percent of symbols, by position and beyond the length that was learnt from; and how far
        their trigrams are from the process's, ``KL(samples ‖ process)`` in nats."""
        config = self.config
        length = config.sample_length
        made = drawn(generator, config.samples, length, seed=options.seed, temperature=options.temperature)
        if options.keep is not None:
            write_text(options.keep / "samples.txt", written(made))
        wrong = 100.0 * (config.process.probabilities(made) == 0)
        figures = {
            f"errors_{first + 1}_{last}": _share(wrong[:, first:last], "%")
            for first, last in _blocks(config.length, length)
        }
        figures["errors_beyond"] = _share(wrong[:, config.length :], "%")
        real = self._drawn(config.samples, length, "trigrams")
        for name, part in (("within", slice(0, config.length)), ("beyond", slice(config.length, length))):
            figures[f"trigram_kl_{name}"] = Figure(_divergence(made[:, part], real[:, part], self.facts.vocab_size))
        return figures

    def _probed(self, generator: Generator) -> dict[str, Figure]:
        """Accuracy of fresh probes between the modes, in percent: over sequences as long as those learnt from, and over
        as many symbols at the end of sequences as long as samples are."""
        config = self.config
        if not config.probed or not isinstance(generator, AutoRegressive) or not channels(generator):
            return {}
        found = {}
        for name, length in (("probe_accuracy", config.length), ("probe_accuracy_beyond", config.sample_length)):
            key = Key(config.seed, noise.name_to_stream(f"seqgen.brackets.{name}"))
            given = torch.from_numpy(self._drawn(config.probed + config.probed // 2, length, name))
            modes = both_modes(generator, given, key).last(config.length).split(config.probed)
            right = 100 * accuracy(*modes, key).double().numpy()
            found[name] = ratio(right, np.ones(len(right)), "%")
        return found

    def _drawn(self, count: int, length: int, name: str) -> Symbols:
        """Sequences of the process that nothing learnt from."""
        stream = noise.name_to_stream(f"seqgen.brackets.{name}.given")
        u = noise.block(self.config.seed, stream, 0, count * length).astype(np.float64)
        return self.config.process.draw(u.reshape(count, length))

    def sample(self, system: System, options: Sampling) -> str:
        """Write one sequence, as numbers."""
        generator = system.networks.get("generator")
        if not isinstance(generator, Generator):
            raise SeqgenError("this run trains no generator", remedy="name the run of one")
        made = drawn(generator, 1, options.elements, seed=options.seed, temperature=options.temperature)
        write_text(options.out, written(made))
        return f"{options.out or 'standard output'}: {options.elements} symbols"


def _blocks(length: int, whole: int) -> list[tuple[int, int]]:
    """Blocks of positions that double: as long as was learnt from, as much again, twice that, ….

    Example:
        >>> _blocks(50, 400)
        [(0, 50), (50, 100), (100, 200), (200, 400)]
    """
    bounds = [0, length]
    while bounds[-1] < whole:
        bounds.append(min(2 * bounds[-1], whole))
    return list(pairwise(bounds))


def _share(values: Reals, unit: str = "bits") -> Figure:
    """Mean over all places of all rows, its interval over rows."""
    return ratio(values.sum(axis=1), np.full(len(values), values.shape[1]), unit)


def _divergence(made: Symbols, real: Symbols, symbols: int) -> float:
    """``KL(made ‖ real)`` in nats of the n-grams of both, each counted half a time more than it occurs."""
    histograms = []
    for rows in (made, real):
        windows = np.lib.stride_tricks.sliding_window_view(rows, _ORDER, axis=1)  # [N, T', order]
        code = windows @ symbols ** np.arange(_ORDER)
        counts = np.bincount(code.reshape(-1), minlength=symbols**_ORDER) + 0.5
        histograms.append(counts / counts.sum())
    p, q = histograms
    return float((p * np.log(p / q)).sum())
