"""The grammar task: short sequences of a known hidden Markov model, so that a generator can be judged exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seqgen import config as configs
from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.files.outputs import write_text
from seqgen.generation.autoregressive import language_model
from seqgen.generation.contract import Generator
from seqgen.metrics.diversity import duplicates
from seqgen.noise import Key
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.drawn import drawn, scored
from seqgen.tasks.networks import require_vocab_size
from seqgen.tasks.processes.hidden_markov import HiddenMarkov, Reals, Symbols, every_sequence
from seqgen.tasks.processes.sequences import DrawnSequences, measured, written
from seqgen.tasks.table import Figure, Table, ratio
from seqgen.train.report import Report

_ENUMERABLE = 200_000  # sequences that are gone through one by one
_UNIT = "nats/sequence"


@dataclass(frozen=True)
class GrammarConfig:
    """A hidden Markov model, and how much is drawn from it.

    Attributes:
        symbols: size of the alphabet. length: of every sequence. states: of the model.
        sharpness: how sure its steps are (0: all alike, 1: any probabilities are as likely as any others).
        seed: of its probabilities, and of the validation and test sequences.
        held_out: validation sequences, and as many test sequences. Training sequences are drawn without end.
        samples: sequences of a generator that an evaluation looks at.
    """

    symbols: int = 4
    length: int = 8
    states: int = 12
    sharpness: float = 5.0
    seed: int = 0
    held_out: int = 4096
    samples: int = 16_384

    def __post_init__(self) -> None:
        for name in ("symbols", "length", "states", "held_out", "samples"):
            if getattr(self, name) < 1:
                raise SeqgenError(f"'{name}' is {getattr(self, name)}", remedy="give 1 or more")


class Grammar(Task):
    """Task of a known process: networks learn from its sequences, one called ``generator`` is judged by it."""

    Config = GrammarConfig
    config: GrammarConfig
    evaluation_options = frozenset({"limit", "temperature", "seed", "keep"})
    sampling_options = frozenset({"out", "length", "temperature", "seed"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        options = {"symbols": 3, "length": 4, "states": 4, "held_out": 10, "samples": 16}
        yield cls.example(options, {"valid": 10, "test": 10}, {"generator": language_model(3)})

    def read_facts(self) -> Facts:
        return Facts(vocab_size=self.config.symbols, unit="symbol")

    def describe(self) -> str:
        config = self.config
        return f"sequences of {config.length} from {config.symbols} symbols, drawn from {config.states} hidden states"

    @property
    def process(self) -> HiddenMarkov:
        """Hidden Markov process that the sequences are drawn from."""
        config = self.config
        return HiddenMarkov.of_seed(config.states, config.symbols, sharpness=config.sharpness, seed=config.seed)

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse models of another alphabet."""
        require_vocab_size(networks, self.facts.vocab_size)

    def adopt(self, network: nn.Module, facts: Facts, where: str) -> None:
        """Refuse networks of another alphabet."""
        if facts.vocab_size != self.facts.vocab_size:
            raise SeqgenError(
                f"{where} was trained on {facts.vocab_size} symbols, this grammar has {self.facts.vocab_size}",
                remedy="give both the same task",
            )

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> DrawnSequences:
        # All runs of a grammar are judged by the same sequences.
        seed = self.run.train.seed if split == "train" else self.config.seed
        key = Key(seed, noise.name_to_stream(f"seqgen.grammar.{split}"))
        process, length = self.process, self.config.length

        def draw(u: Reals) -> Symbols:
            return process.draw(u.reshape(len(u), length, 2))

        rows, count = self.run.train.batch_size, self.config.held_out
        return DrawnSequences(draw, 2 * length, rows=rows, key=key, count=count)

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method on the test sequences; of a generator how likely it finds them, and how likely the
        process finds its samples."""
        assert system.objective is not None
        source = self.source("test", system.networks)
        given, figures = measured(source, system.objective, self.run.train.seed, options.limit)
        generator = system.networks.get("generator")
        if isinstance(generator, Generator):
            figures |= self._judged(generator, given, options)
        return Table(
            title=f"{len(given):,} sequences, checkpoint {system.label}",
            figures=figures,
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "sequences": len(given),
            },
        )

    def _judged(self, generator: Generator, given: Symbols, options: Evaluation) -> dict[str, Figure]:
        """Figures of a generator in nats a sequence: estimates with intervals, and exact values where all sequences can
        be gone through.

        They are ``nll`` of given sequences, ``oracle_nll`` of its samples under the process, its ``entropy``, as means
        of log-ratios ``KL(p ‖ p_data)`` over its samples and ``KL(p_data ‖ p)`` over given sequences, and the share of
        ``duplicates`` among as many samples as there are given sequences, beside that among these. All are of the
        generator at the temperature that is asked for.

        Raises:
            SeqgenError: at another temperature than 1, for a generator whose likelihood is known at 1 alone.
        """
        likely, known = scored(generator, given, options.temperature), self.process.log_prob(given)
        figures = {"nll": _mean(-likely), "nll_process": _mean(-known), "kl_process_generator": _mean(known - likely)}
        if not options.likelihood_only:
            made = self._drawn(generator, self.config.samples, options)
            likely, known = scored(generator, made, options.temperature), self.process.log_prob(made)
            figures |= {"oracle_nll": _mean(-known), "entropy": _mean(-likely)}
            figures["kl_generator_process"] = _mean(likely - known)
            count = min(len(made), len(given))
            figures["duplicates"] = Figure(duplicates(made[:count]))
            figures["duplicates_process"] = Figure(duplicates(given[:count]))
            if options.keep is not None:
                write_text(options.keep / "samples.txt", written(made))
        return figures | self._exact(generator, options.temperature)

    def _exact(self, generator: Generator, temperature: float = 1.0) -> dict[str, Figure]:
        """Divergences and entropies by enumeration; nothing where there are too many sequences."""
        if self.config.symbols**self.config.length > _ENUMERABLE:
            return {}
        every = every_sequence(self.config.symbols, self.config.length)
        log_p, log_data = scored(generator, every, temperature), self.process.log_prob(every)
        p, data = np.exp(log_p), np.exp(log_data)
        values = {
            "exact_kl_generator_process": p @ (log_p - log_data),
            "exact_kl_process_generator": data @ (log_data - log_p),
            "exact_oracle_nll": -(p @ log_data),
            "exact_entropy": -(p @ log_p),
            "exact_entropy_process": -(data @ log_data),
        }
        return {name: Figure(float(value), unit=_UNIT) for name, value in values.items()}

    def _drawn(self, generator: Generator, count: int, options: Evaluation | Sampling) -> Symbols:
        return drawn(generator, count, self.config.length, seed=options.seed, temperature=options.temperature)

    def sample(self, system: System, options: Sampling) -> str:
        """Write sequences, one a line, until they have the length that is asked for."""
        generator = system.networks.get("generator")
        if not isinstance(generator, Generator):
            raise SeqgenError("this run trains no generator", remedy="name the run of one")
        count = -(-options.elements // self.config.length)
        write_text(options.out, written(self._drawn(generator, count, options)))
        return f"{options.out or 'standard output'}: {count} sequences"

    def previews(self, system: System, report: Report, step: int) -> None:
        """Exact figures of a generator, where there are any."""
        generator = system.networks.get("generator")
        if isinstance(generator, Generator) and (exact := self._exact(generator)):
            report.scalars("exact", step, {name.removeprefix("exact_"): one.value for name, one in exact.items()})


def _mean(values: Reals) -> Figure:
    return ratio(values, np.ones(len(values)), _UNIT)
