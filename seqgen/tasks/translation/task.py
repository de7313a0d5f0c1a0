"""The task of translation: sources and their targets, text both, whatever they are: sentences, spellings, numbers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from seqgen import config as configs
from seqgen.bundle import Bundle
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.files.outputs import write_text
from seqgen.generation.encoder_decoder import EncoderDecoder, SourceDensity, translator
from seqgen.noise import Key
from seqgen.runtime import open_symbols
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Exporting, Sampling, Split, System, Task, TaskExample, Translating
from seqgen.tasks.table import Figure, Gathered, Table
from seqgen.tasks.text import bundles
from seqgen.tasks.text.executed import ExecutedTranslator
from seqgen.tasks.translation import evaluation, lines
from seqgen.tasks.translation.batches import EncodedPairs, PairBatches
from seqgen.tasks.translation.translator import Decoding, Translator
from seqgen.text import pairs as tables
from seqgen.text import tokenizer
from seqgen.text.pairs import Pair
from seqgen.text.tokenizer import Tokenizer
from seqgen.train.identity import NEUTRAL, PLACE
from seqgen.train.report import Report

_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step
_PREVIEWS = 4


@dataclass(frozen=True)
class TranslationConfig:
    """Options of the translation task.

    Attributes:
        data: data directory of pairs, as ``seqgen data prepare pairs`` writes them.
        beam, normalization, longest: how targets are decoded, where nothing else is asked for; see
            :class:`~seqgen.tasks.translation.translator.Decoding`.
        decoded: sources whose targets an evaluation decodes, the first ones (0: all).
        overlap: measures of an evaluation beside errors: ``chrf``, ``bleu``.
        ignoring: characters of a target's symbols that a second count of errors does not look at (``012``: stresses of
            phonemes).
    """

    data: str = field(metadata=PLACE)
    beam: int = field(default=1, metadata=NEUTRAL)
    normalization: float = field(default=0.0, metadata=NEUTRAL)
    longest: int = field(default=200, metadata=NEUTRAL)
    decoded: int = field(default=0, metadata=NEUTRAL)
    overlap: tuple[Literal["chrf", "bleu"], ...] = field(default=(), metadata=NEUTRAL)
    ignoring: str = field(default="", metadata=NEUTRAL)

    def __post_init__(self) -> None:
        self.decoding()
        if self.decoded < 0:
            raise SeqgenError(f"'decoded' is {self.decoded}", remedy="give a number of sources, or 0 for all")

    def decoding(self) -> Decoding:
        """Decoding of targets."""
        return Decoding(self.beam, self.normalization, self.longest)


class Translation(Task):
    """Task of translation: a network called ``generator`` is a density of targets given sources."""

    Config = TranslationConfig
    config: TranslationConfig
    bundle_kind = "translator"
    evaluation_options = frozenset({"data", "limit", "beam"})
    sampling_options = frozenset({"out", "prompt", "length", "temperature", "seed", "beam"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        corpus = directory / "spelt.tsv"
        words = ("zero", "one", "two", "three", "four", "five")
        spelt = (f"{one} {two}\t{a}{b}\n" for a, one in enumerate(words) for b, two in enumerate(words))
        corpus.write_text("".join(spelt) + "one two\t1-2\n", encoding="utf-8")
        out = directory / "pairs"
        tables.prepare(corpus, out, tables.Preparation(valid=0.2, test=0.3))
        held = {
            name: sum(len(pair.targets) for pair in tables.read(out / name / tables.TABLE)) for name in tables.SPLITS
        }
        options = {"data": str(out), "longest": 4, "overlap": ["chrf", "bleu"]}
        example = cls.example(options, {"valid": held["valid"], "test": held["test"]})
        facts = example.task.facts
        networks = {"generator": translator(example.task.tokenizers[0].vocab_size, facts.vocab_size)}
        yield example._replace(networks=networks)
        yield cls.example(options | {"beam": 3, "ignoring": "12"}, example.rows, networks)

    def read_facts(self) -> Facts:
        pairs, target = self.pairs("train"), self._learnt[1]
        return Facts(
            examples=sum(len(pair.targets) for pair in pairs),
            vocab_size=target.vocab_size,
            unit=target.unit,
            tokenizer=target.plain(),
            source_tokenizer=self._learnt[0].plain(),
        )

    @property
    def source_vocab_size(self) -> int:
        """Symbols of the source's alphabet."""
        return self.tokenizers[0].vocab_size

    @cached_property
    def tokenizers(self) -> tuple[Tokenizer, Tokenizer]:
        """Tokenizers of source and target, as they were when the run was trained."""
        made = (self.facts.source_tokenizer, self.facts.tokenizer)
        source, target = (tokenizer.tokenizer(_given(one), source="facts") for one in made)
        tables.require_stop(target, "facts")
        return source, target

    @cached_property
    def _learnt(self) -> tuple[Tokenizer, Tokenizer]:
        """Tokenizers of source and target, as they lie beside the data."""
        folder = Path(self.config.data)
        made = (tokenizer.read(folder / tables.SOURCE), tokenizer.read(folder / tables.TARGET))
        tables.require_stop(made[1], str(folder / tables.TARGET))
        return made

    def pairs(self, split: Split) -> list[Pair]:
        """Pairs of a split."""
        return tables.read(Path(self.config.data) / split / tables.TABLE)

    def describe(self) -> str:
        source, target = self.tokenizers
        kinds = f"{source.vocab_size} and {target.vocab_size} symbols"
        return f"{self.facts.examples:,} pairs of {source.unit}s and {target.unit}s, {kinds}"

    def digest(self, name: str) -> str:
        """Digest of the pairs that are learnt from and chosen by, and of their tokenizers."""
        made, folder = hashlib.sha256(), Path(self.config.data)
        for part in (Path("train", tables.TABLE), Path("valid", tables.TABLE), tables.SOURCE, tables.TARGET):
            try:
                made.update((folder / part).read_bytes())
            except OSError as error:
                raise SeqgenError(f"{folder / part}: {error.strerror}", remedy="check task.data") from None
        return made.hexdigest()[:16]

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse models of other alphabets."""
        expected = (self.source_vocab_size, self.facts.vocab_size)
        for name, network in networks.items():
            if isinstance(network, EncoderDecoder):
                found = (network.encoder.vocab_size, network.decoder.body.spec.vocab_size)
                if found != expected:
                    raise SeqgenError(
                        f"networks.{name} reads {found[0]} symbols of a source and {found[1]} of a target, the data "
                        f"have {expected[0]} and {expected[1]}",
                        remedy=f"set the encoder's vocab_size to {expected[0]}, the body's vocab_size and outputs to "
                        f"{expected[1]}",
                    )

    def adopt(self, network: nn.Module, facts: Facts, where: str) -> None:
        """Refuse networks that learnt symbols of other tokenizers."""
        if (facts.tokenizer, facts.source_tokenizer) != (self.facts.tokenizer, self.facts.source_tokenizer):
            raise SeqgenError(
                f"{where} was trained on symbols of other tokenizers", remedy="train both on the same pairs"
            )

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> PairBatches:
        return self._batches(self.pairs(split))

    def _batches(self, pairs: Sequence[Pair]) -> PairBatches:
        source, target = self.tokenizers
        encoded = EncodedPairs(pairs, source, target, tables.require_stop(target, "facts"))
        return PairBatches(encoded, rows=self.run.train.batch_size, seed=self.run.train.seed)

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method over every pair, then of what is decoded for every source."""
        assert system.objective is not None
        place = Path(self.config.data) / "test" if options.data is None else options.data
        table = place if place.is_file() else place / tables.TABLE
        pairs = tables.read(table)[: options.limit or None]
        batches, found = self._batches(pairs), Gathered()
        for index, batch in enumerate(batches.whole()):
            key = Key(self.run.train.seed, _EVALUATION + index)
            found.add(system.objective.measure(batch, key, index), batch.ids)
        figures, examples, unit = dict(found.figures), dict(found.examples), self.facts.unit
        if (bits := figures.get(f"bits_per_{unit}")) is not None:
            figures[f"nats_per_{unit}"] = Figure(bits.value * math.log(2), bits.half_width * math.log(2))
        how = replace(self.config.decoding(), beam=options.beam or self.config.beam)
        generator = system.networks.get("generator")
        if isinstance(generator, SourceDensity) and not options.likelihood_only:
            made = Translator(generator, *self.tokenizers, how)
            heard = pairs[: self.config.decoded or None]
            judged = evaluation.judged(made, heard, self.config.ignoring, self.config.overlap)
            figures, examples = figures | judged.figures, examples | judged.examples
            if (expected := evaluation.expected(generator, batches.pairs)) is not None:
                figures["within_expected_length"] = expected
        return Table(
            title=f"{len(pairs):,} sources with {len(batches.pairs):,} targets, checkpoint {system.label}",
            figures=figures,
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "data": str(table),
                "sources": len(pairs),
                "targets": len(batches.pairs),
                "beam": how.beam,
                "normalization": how.normalization,
            },
            examples=examples,
        )

    def sample(self, system: System, options: Sampling) -> str:
        """Translate a prompt, by chance."""
        if not options.prompt.strip():
            raise SeqgenError("nothing to translate", remedy="give --prompt TEXT")
        temperature = 0.0 if options.beam else options.temperature
        longest = options.length or self.config.longest
        asked = replace(self.config.decoding(), beam=options.beam or 1, longest=longest)
        how = replace(asked, temperature=temperature, seed=options.seed)
        made = Translator(self._generator(system), *self.tokenizers, how)
        text = "".join(made.pieces(made.line(options.prompt.encode())))
        write_text(options.out, text if options.out is not None else f"{text}\n")
        return f"{options.out or 'standard output'}: {len(text)} characters"

    def translate(
        self, system: System, given: Iterable[bytes], say: Callable[[str], object], options: Translating
    ) -> str:
        """Translate lines as they come."""
        how = Decoding(
            beam=options.beam or (self.config.beam if not options.temperature else 1),
            normalization=self.config.normalization if options.normalization is None else options.normalization,
            longest=options.longest or self.config.longest,
            temperature=options.temperature,
            seed=options.seed,
        )
        return lines.translate(Translator(self._generator(system), *self.tokenizers, how), given, say)

    def previews(self, system: System, report: Report, step: int) -> None:
        generator = system.networks.get("generator")
        if isinstance(generator, SourceDensity):
            how = replace(self.config.decoding(), beam=1)
            made = Translator(generator, *self.tokenizers, how)
            pairs = self.pairs("valid")[:_PREVIEWS]
            for index, pair in enumerate(pairs):
                target = "".join(made.pieces(made.line(pair.source.encode())))
                report.text(f"translation-{index}", f"{pair.source}\t{target}", step)

    def open_bundle(self, bundle: Bundle, runtime: str) -> System:
        opened = open_symbols(bundle, runtime)
        networks = {"generator": ExecutedTranslator(opened)}
        label = f"{bundle.manifest.name} {bundle.manifest.digest[:12]} through {opened}"
        objective = bundles.objective(self.run, networks, self.facts, source=str(bundle.path("config.yaml")))
        return System(networks, objective, label, runtime=opened)

    def export(self, system: System, out: Path, options: Exporting) -> Bundle:
        source, target = self.tokenizers
        return bundles.export(self.run, system, out, options, tokenizer=target, source_tokenizer=source)

    def _generator(self, system: System) -> SourceDensity:
        generator = system.networks.get("generator")
        if not isinstance(generator, SourceDensity):
            raise SeqgenError("this run trains no density of targets given sources", remedy="name the run of one")
        return generator


def _given(component: Component | None) -> Component:
    if component is None:
        raise SeqgenError("facts without tokenizers", remedy="train the run anew")
    return component
