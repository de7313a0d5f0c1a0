"""The text task: symbols of documents, judged in bits for each symbol, character and byte of the raw text."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import nn

from seqgen.bundle import Bundle
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import language_model
from seqgen.generation.contract import Density
from seqgen.runtime import open_symbols
from seqgen.runtime.symbols import SymbolRuntime
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Exporting, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.experiment import Experiment
from seqgen.tasks.networks import require_vocab_size, shortened
from seqgen.tasks.table import Figure, Table
from seqgen.tasks.text import bundles, evaluation, samples, sampling
from seqgen.tasks.text.batches import Stretches
from seqgen.tasks.text.sentences import Sentences
from seqgen.text import directory
from seqgen.text.directory import TextData
from seqgen.text.prepare import Preparation, prepare
from seqgen.text.tokenizer import Tokenizer, tokenizer
from seqgen.train.identity import PLACE
from seqgen.train.report import Report

_PREVIEW = 200  # symbols


@dataclass(frozen=True)
class TextConfig:
    """Options of the text task.

    Attributes:
        data: text data directory (``seqgen data prepare text``), with train, valid and test below it.
        segment: symbols of a row that are learnt from. context: symbols before them that are heard only (0: a row
            begins as a document does, so that its first symbols are learnt with a short past).
        sentence: symbols of a sentence, where rows are made of whole ones (0: they are not). A row then has ``segment``
            lines that follow each other, each cut or filled up to so many symbols.
    """

    data: str = field(metadata=PLACE)
    segment: int = 128
    context: int = 0
    sentence: int = 0

    def __post_init__(self) -> None:
        if self.segment < 1 or min(self.context, self.sentence) < 0:
            raise SeqgenError(
                f"'segment' is {self.segment}, 'context' {self.context}, 'sentence' {self.sentence}",
                remedy="give 1 or more, and 0 or more of the others",
            )
        if self.sentence and self.context:
            raise SeqgenError("'context' with rows of sentences", remedy="leave it out, or task.sentence")


class Text(Task):
    """Task of texts: networks learn from documents; a network called ``generator`` is a language model."""

    Config = TextConfig
    config: TextConfig
    evaluation_options = frozenset({"data", "limit", "temperature", "seed", "samples", "length", "oracle"})
    bundle_kind = "language-model"
    sampling_options = frozenset({"out", "prompt", "length", "temperature", "seed", "runtime"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        text = directory / "text.txt"
        text.write_text("the quick brown fox jumps over the lazy dog\n" * 5, encoding="utf-8")
        held = directory / "other.txt"
        held.write_text("another fox, ångström\n" * 3, encoding="utf-8")
        cut, lines = directory / "cut", directory / "lines"
        prepare(text, cut, Preparation("characters", valid_share=0.2, test_share=0.3))
        prepare(text, lines, Preparation("characters", documents="lines", valid=held, test=held))
        model = language_model(29)
        yield cls.example({"data": str(cut), "segment": 16}, {"valid": 3, "test": 5}, {"generator": model})
        yield cls.example({"data": str(cut), "segment": 16, "context": 5}, {"valid": 3, "test": 5})
        yield cls.example({"data": str(lines), "segment": 20}, {"valid": 6, "test": 6}, {"generator": model})
        verse = directory / "verse.txt"
        verse.write_text("".join(f"line {n}\n\n" for n in range(60)), encoding="utf-8")
        prepare(verse, directory / "verse", Preparation("characters", valid_share=0.2, test_share=0.4))
        yield cls.example({"data": str(directory / "verse"), "segment": 2, "sentence": 8}, {"valid": 4, "test": 12})

    def read_facts(self) -> Facts:
        data = self._data
        made = data.tokenizer
        return Facts(
            examples=len(data.encoded("train").symbols),
            vocab_size=made.vocab_size + (self.config.sentence > 0),  # padding is the last symbol
            unit=made.unit,
            tokenizer=made.plain(),
        )

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of the training data, which the facts hold."""
        if self.facts.tokenizer is None:
            raise SeqgenError("the facts of this run know no tokenizer", remedy="train it again")
        return tokenizer(self.facts.tokenizer)

    @cached_property
    def _data(self) -> TextData:
        return TextData.open(Path(self.config.data))

    def warnings(self, networks: Mapping[str, nn.Module]) -> list[str]:
        settings = self.config
        remedy = "set task.segment or task.context to {reach} or more"
        return shortened(networks, segment=settings.segment, context=settings.context, remedy=remedy)

    def describe(self) -> str:
        return f"{self.facts.examples:,} {self.facts.unit}s of {self.facts.vocab_size} kinds"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse models of another alphabet, and rows that are not as long as a density needs its sequences."""
        require_vocab_size(networks, self.facts.vocab_size)
        for name, made in networks.items():
            length = made.length if isinstance(made, Density) else 0
            if length and (length != self.config.segment or self.config.context):
                raise SeqgenError(
                    f"networks.{name} takes sequences of {length} symbols, rows have {self.config.segment} and "
                    f"{self.config.context} before them",
                    remedy=f"set task.segment to {length} and task.context to 0",
                )

    def adopt(self, network: nn.Module, facts: Facts, where: str) -> None:
        """Refuse networks that learnt other symbols, or gave them other numbers."""
        if facts.tokenizer != self.facts.tokenizer:
            raise SeqgenError(
                f"{where} was trained on other symbols ({_named(facts.tokenizer)}) than these data have "
                f"({_named(self.facts.tokenizer)})",
                remedy="prepare both texts by one tokenizer: give both runs the same data",
            )

    def require_sensible(self) -> None:
        """Refuse stretches that are longer than every document."""
        if self.config.sentence:
            return  # their source does
        longest = int(np.diff(self._data.encoded("train").bounds).max())
        if self.config.segment > longest:
            raise SeqgenError(
                f"'task.segment' is {self.config.segment} {self.facts.unit}s, the longest document that is learnt from "
                f"has {longest}",
                remedy="train on shorter stretches, or on longer documents",
            )

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> Stretches | Sentences:
        if self._data.tokenizer.signature != self.tokenizer.signature:
            raise SeqgenError(
                f"{self.config.data} was prepared by another tokenizer ({_named(self._data.tokenizer.plain())}) than "
                f"this run's ({_named(self.facts.tokenizer)})",
                remedy="give the data that the run was begun with, or start a new run",
            )
        return self._stretches(self._data.encoded(split), networks)

    def _stretches(self, encoded: directory.Encoded, networks: Mapping[str, nn.Module]) -> Stretches | Sentences:
        settings, options = self.run.train, self.config
        rows = {"segment": options.segment, "rows": settings.batch_size, "seed": settings.seed}
        if options.sentence:
            return Sentences(encoded, self.tokenizer, length=options.sentence, **rows)
        return Stretches(
            encoded,
            context=options.context,
            **rows,
            exact=any(isinstance(made, Density) and made.length for made in networks.values()),
        )

    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Bits of the whole text, each document as one stream; and what else the method says of stretches of it."""
        split = self._data.split("test") if options.data is None else directory.Split.open(options.data)
        stretches = None
        if system.objective is not None and options.data is None:
            stretches = self.source("test", system.networks)
        elif system.objective is not None:
            stretches = self._stretches(evaluation.encoded(split, self.tokenizer), system.networks)
        table = evaluation.evaluate(self.run, system, self.tokenizer, split, stretches, options)
        return replace(table, figures={**table.figures, **self._judged(system, split, options)})

    def _judged(self, system: System, split: directory.Split, options: Evaluation) -> dict[str, Figure]:
        """Figures of samples, where any are to be drawn."""
        if not options.samples or options.likelihood_only:
            if options.oracle is not None or options.length:
                raise SeqgenError("samples are to be judged, but none drawn", remedy="give --samples, the number")
            return {}
        length = options.length or self.config.segment
        given = samples.stretches(evaluation.encoded(split, self.tokenizer), length, options.samples)
        drawn = samples.Drawing(options.samples, length, options.seed, options.temperature)
        return samples.judged(_generator(system), self._oracle(options.oracle), given, drawn, self.facts.unit)

    def _oracle(self, place: Path | None) -> Density | None:
        """Language model of another experiment, over the same symbols."""
        if place is None:
            return None
        other = Experiment.open(place)
        network, _ = other.network("generator")
        self.adopt(network, other.facts, f"--oracle {place}")
        if not isinstance(network, Density):
            raise SeqgenError(f"--oracle {place} has no likelihood", remedy="name the run of a language model")
        return network

    def digest(self, name: str) -> str:
        """Digest of the symbols that are learnt from and validated on, and of what made them."""
        found = hashlib.sha256(self._data.tokenizer.signature.encode())
        for split in ("train", "valid"):
            encoded = self._data.encoded(split)
            for part in encoded:
                found.update(memoryview(part))
        return found.hexdigest()[:16]

    def sample(self, system: System, options: Sampling) -> str:
        """Go on from a prompt; text is passed on as it is made."""
        with tempfile.TemporaryDirectory() as scratch:
            if options.runtime and system.runtime is None:
                exported = self.export(system, Path(scratch) / "model", Exporting())
                system = self.open_bundle(exported, options.runtime)
            made = sampling.write(_model(system), self.tokenizer, options)
        through = f" through {system.runtime}" if system.runtime is not None else ""
        return f"{options.out or 'standard output'}: {made} {self.facts.unit}s{through}"

    def open_bundle(self, bundle: Bundle, runtime: str) -> System:
        opened = open_symbols(bundle, runtime)
        label = f"{bundle.manifest.name} {bundle.manifest.digest[:12]} through {opened}"
        return System({}, label=label, runtime=opened)

    def export(self, system: System, out: Path, options: Exporting) -> Bundle:
        return bundles.export(self.run, system, out, options, tokenizer=self.tokenizer)

    def previews(self, system: System, report: Report, step: int) -> None:
        if isinstance(system.networks.get("generator"), Density):
            options = replace(Sampling(), length=_PREVIEW)
            made = sampling.pieces(_generator(system), self.tokenizer, options)
            report.text("sample", "".join(piece.text for piece in made), step)


def _model(system: System) -> Density | SymbolRuntime:
    """Model that goes on from a prompt: a trained network, or the runtime of a bundle."""
    return system.runtime if isinstance(system.runtime, SymbolRuntime) else _generator(system)


def _generator(system: System) -> Density:
    generator = system.networks.get("generator")
    if not isinstance(generator, Density):
        raise SeqgenError("this run trains no language model", remedy="name the run of a generator")
    return generator


def _named(component: Component | None) -> str:
    if component is None:
        return "none"
    made = tokenizer(component)
    return f"{component.name}, {made.vocab_size} symbols, {made.signature}"
